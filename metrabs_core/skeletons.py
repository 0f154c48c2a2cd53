"""Skeletons: joint names, edges, left/right mirroring, and conversion between conventions.

Joint names are the short lower-case ones that MeTRAbs users know (``lsho`` is the left shoulder). A leading ``l`` or
``r`` marks the side of the person, not of the picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from metrabs_core.errors import UserError


@dataclass(frozen=True)
class Skeleton:
    """A list of named joints and the bones between them.

    Attributes:
        name: name of the convention, as accepted by the ``skeleton`` argument at inference.
        joint_names: joint names in the order of the pose arrays.
        edges: pairs of joint indices, one per bone.
    """

    name: str
    joint_names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]

    @property
    def n_joints(self) -> int:
        """Number of joints J."""
        return len(self.joint_names)

    @property
    def mirror(self) -> tuple[int, ...]:
        """Index of each joint's counterpart on the other side; joints on the midline map to themselves."""
        return tuple(self.index(_other_side(name, self.joint_names)) for name in self.joint_names)

    @property
    def root(self) -> int:
        """Index of the joint that poses are relative to: the pelvis, or the first joint where there is none."""
        return self.index("pelv") if "pelv" in self.joint_names else 0

    def index(self, joint_name: str) -> int:
        """Position of a joint in the pose arrays. Raises ValueError if the skeleton lacks it."""
        return self.joint_names.index(joint_name)

    def pelvis(self, points: np.ndarray) -> np.ndarray:
        """Pelvis [..., 3] of joints [..., J, 3]: the middle between the hips where there is no such joint.

        Of a skeleton without hips it is the middle of all joints.
        """
        for names in (("pelv",), ("lhip", "rhip"), self.joint_names):
            if set(names) <= set(self.joint_names):
                return points[..., [self.index(name) for name in names], :].mean(axis=-2)
        raise AssertionError("A skeleton has joints.")


def _other_side(name: str, names: tuple[str, ...]) -> str:
    swapped = {"l": "r", "r": "l"}.get(name[0], name[0]) + name[1:]
    return swapped if swapped in names else name


def _skeleton(name: str, joints: str, bones: str) -> Skeleton:
    """Build a skeleton from space-separated joint names and ``a-b-c`` chains of bones."""
    joint_names = tuple(joints.split())
    edges = []
    for chain in bones.split():
        links = chain.split("-")
        edges += [(joint_names.index(a), joint_names.index(b)) for a, b in zip(links, links[1:])]
    return Skeleton(name, joint_names, tuple(edges))


_LIMBS = "lsho-lelb-lwri rsho-relb-rwri lhip-lkne-lank rhip-rkne-rank"

# What the packaged model predicts: the 24 SMPL joints, then the COCO face, the head top, the heels, and the hips as
# COCO annotators click them (higher and further out than the joint centres).
NATIVE = _skeleton(
    "native_34",
    "pelv lhip rhip spi1 lkne rkne spi2 lank rank spi3 ltoe rtoe neck lcla rcla head lsho rsho lelb relb lwri rwri "
    "lhan rhan nose leye reye lear rear htop lhee rhee lhip_coco rhip_coco",
    "pelv-spi1-spi2-spi3-neck-head-htop head-nose nose-leye-lear nose-reye-rear pelv-lhip-lkne-lank-ltoe "
    "pelv-rhip-rkne-rank-rtoe lank-lhee rank-rhee spi3-lcla-lsho-lelb-lwri-lhan spi3-rcla-rsho-relb-rwri-rhan "
    "lhip-lhip_coco rhip-rhip_coco",
)

_SMPL_24 = _skeleton(
    "smpl_24",
    "pelv lhip rhip spi1 lkne rkne spi2 lank rank spi3 ltoe rtoe neck lcla rcla head lsho rsho lelb relb lwri rwri "
    "lhan rhan",
    "pelv-spi1-spi2-spi3-neck-head pelv-lhip-lkne-lank-ltoe pelv-rhip-rkne-rank-rtoe spi3-lcla-lsho-lelb-lwri-lhan "
    "spi3-rcla-rsho-relb-rwri-rhan",
)
_COCO_17 = _skeleton(
    "coco_17",
    "nose leye reye lear rear lsho rsho lelb relb lwri rwri lhip rhip lkne rkne lank rank",
    f"nose-leye-lear nose-reye-rear {_LIMBS} lsho-rsho lhip-rhip lsho-lhip rsho-rhip",
)
_COCO_19 = _skeleton(
    "coco_19",
    "neck nose pelv lsho lelb lwri lhip lkne lank rsho relb rwri rhip rkne rank leye lear reye rear",
    f"nose-leye-lear nose-reye-rear {_LIMBS} neck-nose neck-lsho neck-rsho neck-pelv pelv-lhip pelv-rhip",
)
_H36M_17 = _skeleton(
    "h36m_17",
    "rhip rkne rank lhip lkne lank tors neck head htop lsho lelb lwri rsho relb rwri pelv",
    f"{_LIMBS} pelv-lhip pelv-rhip pelv-tors-neck-head-htop neck-lsho neck-rsho",
)
_MPI_INF_3DHP_17 = _skeleton(
    "mpi_inf_3dhp_17",
    "htop neck rsho relb rwri lsho lelb lwri rhip rkne rank lhip lkne lank spin head pelv",
    f"{_LIMBS} pelv-lhip pelv-rhip pelv-spin-neck-head-htop neck-lsho neck-rsho",
)

SKELETONS: Mapping[str, Skeleton] = {
    s.name: s for s in (NATIVE, _SMPL_24, _COCO_17, _COCO_19, _H36M_17, _MPI_INF_3DHP_17)
}

# Joints of other conventions that no native joint of the same name stands for, as weighted means of native joints.
# The H36M and 3DHP neck lies between the shoulders, below SMPL's; their head is the centre of the skull.
_NECK_BASE = {"neck": 0.5, "lsho": 0.25, "rsho": 0.25}
_SKULL_CENTRE = {"lear": 0.25, "rear": 0.25, "head": 0.25, "htop": 0.25}
_RECIPES: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "coco_17": {"lhip": {"lhip_coco": 1.0}, "rhip": {"rhip_coco": 1.0}},
    "coco_19": {
        "lhip": {"lhip_coco": 1.0},
        "rhip": {"rhip_coco": 1.0},
        "pelv": {"lhip_coco": 0.5, "rhip_coco": 0.5},
        "neck": {"lsho": 0.5, "rsho": 0.5},
    },
    "h36m_17": {
        "tors": {"spi1": 0.5, "spi2": 0.5},
        "neck": _NECK_BASE,
        "head": {"nose": 0.5, "head": 0.5},
        "pelv": {"lhip": 0.5, "rhip": 0.5},
    },
    "mpi_inf_3dhp_17": {
        "spin": {"spi1": 0.5, "spi2": 0.5},
        "neck": _NECK_BASE,
        "head": _SKULL_CENTRE,
        "pelv": {"lhip": 0.5, "rhip": 0.5},
    },
}


def conversion_matrix(target: Skeleton, source: Skeleton = NATIVE) -> np.ndarray:
    """Weights that turn a pose of one skeleton into a pose of another.

    Args:
        target: the skeleton that is wanted.
        source: the skeleton that the poses have.

    Returns:
        float32 [J_target, J_source]; every row sums to one, so the product with a pose [J_source, 3] is
        equivariant to rotation and translation.

    Raises:
        UserError: a joint of the target can't be derived from the source's joints.
    """
    matrix = np.zeros([target.n_joints, source.n_joints], np.float32)
    recipes = _RECIPES.get(target.name, {}) if target.name != source.name else {}
    for row, joint in enumerate(target.joint_names):
        for name, weight in recipes.get(joint, {joint: 1.0}).items():
            if name not in source.joint_names:
                raise UserError(
                    f"Skeleton {source.name!r} has no joint {name!r}, which joint {joint!r} of {target.name!r} needs."
                )
            matrix[row, source.index(name)] += weight
    return matrix


def convertible_skeletons(source: Skeleton) -> dict[str, Skeleton]:
    """Skeletons that a source skeleton can be converted to, itself included: by their names."""
    skeletons = {source.name: source}
    for name, target in SKELETONS.items():
        try:
            conversion_matrix(target, source)
        except ValueError:
            continue
        skeletons[name] = target
    return skeletons
