"""The native joints (`metrabs_core.skeletons.NATIVE`) of a posed body: bone heads and regressed surface points."""

import numpy as np
import scipy.sparse

from metrabs_core.skeletons import NATIVE
from training.synthesis.bodies import BodyModel

# Joints inside the body, as weighted means of bone heads. SMPL's spine joints lie at fixed shares of the trunk.
_FROM_BONES = {
    "pelv": {"root": 1.0},
    "spi1": {"spine03": 1.0},
    "spi2": {"spine02": 0.7, "spine01": 0.3},
    "spi3": {"spine02": 0.35, "spine01": 0.65},
    "neck": {"neck01": 1.0},
    "head": {"head": 1.0},
}
_FROM_BONES_OF_SIDE = {
    "hip": {"upperleg01": 1.0},
    "kne": {"lowerleg01": 1.0},
    "ank": {"foot": 1.0},
    "toe": {"toe2-1": 0.5, "toe3-1": 0.5},
    "cla": {"clavicle": 0.5, "shoulder01": 0.5},
    "sho": {"upperarm01": 1.0},
    "elb": {"lowerarm01": 1.0},
    "wri": {"wrist": 1.0},
    "han": {"finger3-1": 1.0},
    # COCO's annotators click hips about 4 cm above and 2 cm outside of the joint centres.
    "hip_coco": {"upperleg01": 1.08, "upperleg01.other": -0.08, "spine03.middle": 0.3, "root.middle": -0.3},
}
# Points that Anny's COCO keypoint regressors give.
_FROM_REGRESSORS = {
    "nose": "nose",
    "leye": "left_eye",
    "reye": "right_eye",
    "lear": "left_ear",
    "rear": "right_ear",
    "lhee": "left_heel",
    "rhee": "right_heel",
}


class JointRegressor:
    """Maps posed bodies to the native joints."""

    def __init__(self, body: BodyModel):
        self._bone_weights = np.zeros([NATIVE.n_joints, len(body.bone_names)], np.float32)
        recipes = dict(_FROM_BONES)
        for side in "lr":
            for joint, recipe in _FROM_BONES_OF_SIDE.items():
                suffixes = {"other": "R" if side == "l" else "L", "middle": "", "": side.upper()}
                recipes[side + joint] = {
                    f"{bone.partition('.')[0]}.{suffixes[bone.partition('.')[2]]}".rstrip("."): weight
                    for bone, weight in recipe.items()
                }
        for joint, recipe in recipes.items():
            for bone, weight in recipe.items():
                self._bone_weights[NATIVE.index(joint), body.bone_index[bone]] = weight
        vertex_weights = np.zeros([NATIVE.n_joints, len(body.template)], np.float32)
        for joint, label in _FROM_REGRESSORS.items():
            vertex_weights[NATIVE.index(joint)] = body.keypoint_regressors[label]
        vertex_weights[NATIVE.index("htop"), np.argmax(body.template[:, 2])] = 1.0
        self._vertex_weights = scipy.sparse.csr_matrix(vertex_weights)

    def __call__(self, positions: np.ndarray, vertices: np.ndarray) -> np.ndarray:
        """Native joints of one person.

        Args:
            positions: float32 [n_bones, 3], posed bone heads.
            vertices: float32 [V, 3], posed vertices, in the same frame and unit.

        Returns:
            float32 [34, 3] in that frame and unit.
        """
        return (self._bone_weights @ positions + self._vertex_weights @ vertices).astype(np.float32)
