"""The way of one frame: image, camera and stamp in, people with ids out.

What the node, metrabs-bag and ``metrabs-train video`` do with a frame is one call of ``PersonPipeline.step``, or its
two halves where work is batched or interrupted: ``detect`` looks at one image alone, ``follow`` takes the images in
their order.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

import metrabs_core
from metrabs_core.anticipation import Anticipation
from metrabs_core.batches import detected_boxes, has_halves, poses_in_boxes, predict
from metrabs_core.cameras import DEFAULT_FOV_DEGREES, Camera
from metrabs_core.depth import distance_factors
from metrabs_core.errors import UserError
from metrabs_core.limits import Limits
from metrabs_core.process import give_back_freed_memory
from metrabs_core.skeletons import Skeleton
from metrabs_core.smoothing import SMOOTHINGS, PoseFilter
from metrabs_core.tracking import Tracker, weak_threshold

_WARM_UP_PEOPLE = (4, 3, 2, 1)

# Id of somebody who has not been tracked.
UNTRACKED = -1

_ESTIMATION_OPTIONS = ("skeleton", "num_aug", "internal_batch_size", "antialias_factor")
_BOX_OPTIONS = ("detector_threshold", "detector_nms_iou_threshold", "detector_flip_aug", "max_detections")


@dataclass(frozen=True, eq=False)
class People:
    """The n people of one image, each with J joints. Nothing of it can be changed.

    Attributes:
        skeleton: names of the joints, and bones.
        ids: int64 [n]; the same person has the same number in all images, from 1 on; ``UNTRACKED`` without tracking.
        boxes: float32 [n, 4], the detector's left, top, width, height, px.
        scores: float32 [n], of the detector, 0 to 1.
        poses3d: float32 [n, J, 3], mm, camera frame (x right, y down, z forward).
        poses2d: float32 [n, J, 2], px; NaN for joints behind the camera, which have no image.
        uncertainties: float32 [n, J], one standard deviation, mm.
        in_view: bool [n, J], whether the joint lies inside the image.
        velocities: float32 [n, 3], of the pelvis against the world, mm/s, in the axes of the camera frame; NaN until
            somebody has been followed for long enough.
        are_measured: bool [n], whether the distance from the camera comes from a depth image.
    """

    skeleton: Skeleton
    ids: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    poses3d: np.ndarray
    poses2d: np.ndarray
    uncertainties: np.ndarray
    in_view: np.ndarray
    velocities: np.ndarray | None = None
    are_measured: np.ndarray | None = None

    def __post_init__(self):
        if self.velocities is None:
            object.__setattr__(self, "velocities", np.full([len(self.ids), 3], np.nan, np.float32))
        if self.are_measured is None:
            object.__setattr__(self, "are_measured", np.zeros(len(self.ids), bool))
        for name, array in self.arrays().items():
            view = array.view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    @classmethod
    def untracked(cls, prediction: Mapping, skeleton: Skeleton, image: np.ndarray) -> "People":
        """The people of a model's prediction.

        Args:
            prediction: ``boxes``, ``poses3d``, ``poses2d`` and ``uncertainties``, as ``detect_poses`` returns them.
            skeleton: their joints and bones.
            image: [H, W, 3], where they are in.
        """
        arrays = {name: np.asarray(values) for name, values in prediction.items()}
        # What lies behind the camera has no image, whatever the projection formula says.
        poses2d = np.where(arrays["poses3d"][..., 2:] > 0, arrays["poses2d"], np.float32(np.nan))
        # The centre of the top left pixel is (0, 0).
        end = np.array([image.shape[1], image.shape[0]]) - 0.5
        return cls(
            skeleton=skeleton,
            ids=np.full(len(poses2d), UNTRACKED, np.int64),
            boxes=arrays["boxes"][:, :4],
            scores=arrays["boxes"][:, 4],
            poses3d=arrays["poses3d"],
            poses2d=poses2d,
            uncertainties=arrays["uncertainties"],
            in_view=(poses2d > -0.5).all(axis=-1) & (poses2d < end).all(axis=-1),
        )

    def __len__(self) -> int:
        return len(self.ids)

    def arrays(self) -> dict[str, np.ndarray]:
        """All attributes that are arrays, by name: what makes the same People again, with the skeleton."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "skeleton"}

    def at_measured_distances(self, depth: np.ndarray, camera: Camera) -> "People":
        """The same with distances from the camera that took the image by a depth image, see ``metrabs_core.depth``."""
        factors = distance_factors(self.poses3d, self.poses2d, self.in_view, self.skeleton, depth, camera)
        are_measured = np.isfinite(factors)
        scale = np.where(are_measured, factors, 1)[:, np.newaxis].astype(np.float32)
        poses3d, uncertainties = scale[..., np.newaxis] * self.poses3d, scale * self.uncertainties
        return replace(self, poses3d=poses3d, uncertainties=uncertainties, are_measured=are_measured)

    def in_world(self, camera: Camera) -> "People":
        """The same with ``poses3d`` and ``velocities`` in the world of the camera that saw them."""
        rotation = np.linalg.inv(camera.extrinsic_matrix[:3, :3])
        poses3d, velocities = camera.to_world(self.poses3d), self.velocities @ rotation.T
        return replace(self, poses3d=poses3d.astype(np.float32), velocities=velocities.astype(np.float32))

    def select(self, chosen) -> "People":
        """Some of the people: bool [n] or indices."""
        return replace(self, **{name: array[chosen] for name, array in self.arrays().items()})


@dataclass(frozen=True)
class PipelineSettings(Limits):
    """How people are found and followed, within limits; arguments of the model's ``detect_poses`` are described there.

    Attributes:
        skeleton: joint convention of the people; '' for the model's own.
        num_aug: see ``detect_poses``.
        internal_batch_size: see ``detect_poses``.
        antialias_factor: see ``detect_poses``.
        detector_threshold: score from which a detection is somebody; a weaker one can only prolong a track.
        detector_nms_iou_threshold: see ``detect_poses``.
        detector_flip_aug: see ``detect_poses``.
        max_detections: see ``detect_poses``.
        suppress_implausible_poses: see ``detect_poses``.
        detector_interval: from how many images the detector looks at one, for ``step``; in the others, people are where
            their last pose says. It looks earlier where somebody was lost or the picture has changed.
        track_max_age: seconds for which somebody unseen is remembered.
        smoothing: of the poses of people over time: a name in ``metrabs_core.smoothing.SMOOTHINGS``.
    """

    skeleton: str = ""
    num_aug: int = 1
    internal_batch_size: int = 64
    antialias_factor: int = 1
    detector_threshold: float = 0.38
    detector_nms_iou_threshold: float = 0.7
    detector_flip_aug: bool = False
    max_detections: int = -1
    suppress_implausible_poses: bool = True
    detector_interval: int = 1
    track_max_age: float = 1.5
    smoothing: str = "off"

    def detection_options(self) -> dict:
        """Arguments of the model's ``detect_poses``."""
        return self.box_options() | self.pose_options()

    def box_options(self) -> dict:
        """Those of them that concern the person detector: arguments of the model's ``detect_boxes``."""
        return {name: getattr(self, name) for name in _BOX_OPTIONS}

    def pose_options(self) -> dict:
        """The others: arguments of the model's ``detect_poses_in_boxes``."""
        return self.estimation_options() | {"suppress_implausible_poses": self.suppress_implausible_poses}

    def estimation_options(self) -> dict:
        """Arguments of the model's ``estimate_poses``."""
        return {name: getattr(self, name) for name in _ESTIMATION_OPTIONS}


class PersonPipeline:
    """A model, and the memory of one camera's people.

    An image is uint8 [H, W, 3], RGB; poses are in the frame of the camera that took it, whatever its extrinsics are.

    Attributes:
        model: see ``metrabs_core.packaging.Model``.
        device: where it runs, for people to read.
        left_out: how many people were left out of images until now, by the name of the limit.
    """

    def __init__(self, model, settings: PipelineSettings = PipelineSettings()):
        """Make a pipeline of a loaded model.

        Raises:
            UserError: the model has no person detector, or no such skeleton.
        """
        if not model.has_detector:
            raise UserError("The model has no person detector: build a combined model of it.")
        self.model = model
        self.left_out: Counter[str] = Counter()
        self._tracker, self._filter = Tracker(), PoseFilter()
        self.settings = settings
        self.device = ", ".join(model.gpus) or "CPU"

    @classmethod
    def load(
        cls,
        path: str = "",
        settings: PipelineSettings = PipelineSettings(),
        warm_up_image_size: tuple[int, int] | None = None,
        detector_input_side: int | None = None,
    ) -> "PersonPipeline":
        """Load a model and make a pipeline of it.

        Args:
            path: directory of a model; '' for the packaged one.
            settings: how to use it.
            warm_up_image_size: height and width of the images to come, to make the first call as fast as the later
                ones; None to save that time.
            detector_input_side: see ``metrabs_core.packaging.load``; None for the model's own.

        Raises:
            OSError, ValueError: there is no such model; the message is one sentence.
            UserError: as for the constructor.
        """
        # TensorFlow would otherwise take all memory of a GPU that others need, too. It reads this when it starts.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        pipeline = cls(metrabs_core.load_prepared(path or None, detector_input_side), settings)
        if warm_up_image_size:
            pipeline.warm_up(*warm_up_image_size)
        return pipeline

    def warm_up(self, height: int, width: int, n_cameras: int = 1):
        """Run once what a step of so many cameras runs, so that the first is as fast as others; sizes in pixels."""
        if has_halves(self.model):
            images = [np.zeros([height, width, 3], np.uint8)] * n_cameras
            cameras = [Camera.from_fov(DEFAULT_FOV_DEGREES, width, height)] * n_cameras
            detected_boxes(self.model, images, self._boxes_options(self.settings.detector_threshold))
            for n_people in _WARM_UP_PEOPLE:
                boxes = np.tile(np.float32([0, 0, width, height, 1]), [n_people, 1])
                self._poses_in_boxes(images, cameras, [boxes] * n_cameras)
        else:
            self.model.warm_up((height, width))
        give_back_freed_memory()

    @property
    def settings(self) -> PipelineSettings:
        """How people are found and followed; may change between two calls.

        Raises:
            UserError: set to a skeleton that the model does not have, or an unknown smoothing; the settings stay as
                they were.
        """
        return self._settings

    @settings.setter
    def settings(self, settings: PipelineSettings):
        if settings.smoothing not in SMOOTHINGS:
            raise UserError(f"The smoothing {settings.smoothing!r} is not one of {', '.join(SMOOTHINGS)}.")
        self._skeleton = self.find_skeleton(settings.skeleton)
        self._settings = settings
        self._anticipation = Anticipation()
        self._tracker.threshold, self._tracker.max_age = settings.detector_threshold, settings.track_max_age

    @property
    def skeleton(self) -> Skeleton:
        """Joints and bones of the people."""
        return self._skeleton

    def find_skeleton(self, name: str) -> Skeleton:
        """The joint convention of that name; '' is the model's own. Raises UserError if the model does not have it."""
        known = self.model.per_skeleton_joint_names
        if name and name not in known:
            raise UserError(
                f"The model has no skeleton {name!r}; it has {', '.join(sorted(known))}, and '' for all joints."
            )
        name = name or next(candidate for candidate in known if known[candidate] == self.model.joint_names)
        edges = tuple((int(a), int(b)) for a, b in self.model.per_skeleton_edges[name])
        return Skeleton(name, tuple(known[name]), edges)

    def step(self, image: np.ndarray, camera: Camera, stamp: float, depth: np.ndarray | None = None) -> People:
        """The people of the camera's next image.

        Args:
            image: uint8 [H, W, 3], RGB.
            camera: that took it. Where its extrinsics tell its place in a world that stands still, people are smoothed
                and their velocities are measured there.
            stamp: time of the image, s. A jump back in time (a bag that starts again) forgets everybody.
            depth: [H, W], mm along the optical axis, of the surface that each pixel shows, 0 or not finite where it is
                not known; people's distances are corrected by it.

        Returns:
            Everybody whose score reaches the threshold, and tracked people down to a fraction of it; all have ids.
        """
        return step_together([View(self, image, camera, stamp, depth)])[0]

    def detect(self, image: np.ndarray, camera: Camera, depth: np.ndarray | None = None) -> People:
        """The first half of ``step``, which knows no other image: candidates for ``follow``, untracked."""
        return self._find(image, camera, weak_threshold(self.settings.detector_threshold), depth)

    def detect_batch(self, images: np.ndarray, camera: Camera) -> list[People]:
        """As ``detect``, for images uint8 [N, H, W, 3] of one camera, which go through the model together."""
        if has_halves(self.model) and not self.model.gpus:
            return [self.detect(image, camera) for image in images]
        options = self.settings.detection_options()
        options["detector_threshold"] = weak_threshold(self.settings.detector_threshold)
        # Limits only sort out what was found: they save time where one image is looked at.
        predictions = predict(self.model.detect_poses_batched, images, [camera] * len(images), **options)
        people = (People.untracked(prediction, self.skeleton, image) for prediction, image in zip(predictions, images))
        return [self._within_limits(of_image) for of_image in people]

    def follow(self, candidates: People, stamp: float, camera: Camera | None = None) -> People:
        """The second half of ``step``: give ids to the candidates of the next image, and drop those without one.

        With smoothing, ``poses3d`` are smooth from here on; ``poses2d`` stay where people are seen in this image.

        Args:
            candidates: of the image.
            stamp: of the image, s.
            camera: whose extrinsics tell where the camera frame is in the world; None where it stands still.
        """
        return self._in_motion(self._identified(candidates, stamp), stamp, camera)

    def _expected_boxes(self, view: "View") -> np.ndarray | None:
        """Where the people of the last image are expected in the next one; None if the detector should look."""
        if self._anticipation.should_look(view.image, view.stamp, self.settings.detector_interval):
            return None
        people = self._anticipation.people
        boxes = self._tracker.expected_boxes(people.ids.tolist(), view.stamp)
        return None if boxes is None else np.column_stack([boxes, people.scores]).astype(np.float32)

    def _boxes_of_interest(self, boxes: np.ndarray, stamp: float) -> np.ndarray:
        """Boxes [n, 5] in the next image, within limits and without those who can't be anybody to the tracker."""
        boxes = self._boxes_within_limits(boxes)
        return boxes[self._tracker.concern(boxes, stamp)]

    def _taken(self, view: "View", boxes: np.ndarray, prediction: Mapping, was_looked_at: bool) -> People:
        """The people of the next image, of the prediction for boxes that the detector found or that were expected."""
        people = self._untracked(prediction, view)
        if was_looked_at:
            people = self._identified(self._within_limits(people), view.stamp)
        else:
            found = np.array([np.flatnonzero((boxes[:, :4] == box).all(axis=1))[0] for box in people.boxes], int)
            fitted = self._anticipation.fit(boxes, found, people.poses2d, view.image)
            people = self._within_limits(replace(people, ids=self._anticipation.people.ids[found], boxes=fitted))
            self._tracker.prolong(people.ids, people.boxes, people.poses3d, view.stamp)
        if self.settings.detector_interval > 1:
            self._anticipation.learn(people, view.image, view.stamp, was_looked_at)
        return self._in_motion(people, view.stamp, view.camera)

    def _identified(self, candidates: People, stamp: float) -> People:
        """Candidates with the ids that they have from now on, without those who get none."""
        boxes = np.column_stack([candidates.boxes, candidates.scores])
        ids = np.array(self._tracker.update(boxes, candidates.poses3d, stamp), np.int64)
        return replace(candidates, ids=ids).select(ids > 0)

    def _in_motion(self, people: People, stamp: float, camera: Camera | None) -> People:
        """People with velocities and, if that is wanted, smoothed."""
        smoothing, skeleton = SMOOTHINGS[self.settings.smoothing], people.skeleton
        points = people.poses3d if smoothing else skeleton.pelvis(people.poses3d)[:, np.newaxis]
        points, origin = (points, np.zeros(3)) if camera is None else map(camera.to_world, (points, np.zeros(3)))
        max_age = self.settings.track_max_age
        points, velocities = self._filter.update(people.ids, points, stamp, smoothing, max_age, origin)
        velocities = skeleton.pelvis(velocities) if smoothing else velocities[:, 0]
        if camera is not None:
            points, velocities = camera.to_camera(points), velocities @ camera.extrinsic_matrix[:3, :3].T
        people = replace(people, velocities=velocities.astype(np.float32))
        return replace(people, poses3d=points.astype(np.float32)) if smoothing else people

    def forget_motion(self):
        """Begin anew with velocities and smoothing: the world of the camera has become another."""
        self._filter = PoseFilter()

    def find(self, image: np.ndarray, camera: Camera) -> People:
        """Everybody in a single image, untracked; the people of ``step`` stay as they were."""
        return self._find(image, camera, self.settings.detector_threshold)

    def estimate(self, image: np.ndarray, camera: Camera, boxes: np.ndarray) -> People:
        """The people in given boxes [n, 4] (left, top, width, height, px) of a single image: untracked, of score 1."""
        boxes = np.asarray(boxes, np.float32)
        boxes = np.column_stack([boxes, np.ones(len(boxes), np.float32)])
        options = self.settings.estimation_options()
        if has_halves(self.model):
            options["suppress_implausible_poses"] = False
            [prediction] = poses_in_boxes(self.model, [image], [camera], [boxes], self.skeleton.n_joints, options)
        else:
            prediction = self.model.estimate_poses(image, boxes[:, :4], **camera.arguments, **options)
        return People.untracked({**prediction, "boxes": boxes}, self.skeleton, image)

    def _find(self, image: np.ndarray, camera: Camera, threshold: float, depth: np.ndarray | None = None) -> People:
        # Models that were exported before there were limits do both halves in one: their people are sorted out after.
        if has_halves(self.model):
            [boxes] = detected_boxes(self.model, [image], self._boxes_options(threshold))
            [prediction] = self._poses_in_boxes([image], [camera], [self._boxes_within_limits(boxes)])
        else:
            options = self.settings.detection_options() | {"detector_threshold": threshold}
            prediction = self.model.detect_poses(image, **camera.arguments, **options)
        return self._within_limits(self._untracked(prediction, View(self, image, camera, depth=depth)))

    def _boxes_options(self, threshold: float) -> dict:
        # Whoever is left out does not count as one of the largest number of people.
        return self.settings.box_options() | {"detector_threshold": threshold, "max_detections": -1}

    def _poses_in_boxes(self, images, cameras, boxes) -> list[Mapping]:
        options = self.settings.pose_options()
        return poses_in_boxes(self.model, images, cameras, boxes, self.skeleton.n_joints, options)

    def _untracked(self, prediction: Mapping, view: "View") -> People:
        """The people of a model's prediction, at the distances that the view's depth tells."""
        people = People.untracked(prediction, self.skeleton, view.image)
        return people if view.depth is None else people.at_measured_distances(view.depth, view.camera)

    def _boxes_within_limits(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes of people [n, 5] in an image, without those who are left out whatever their pose is."""
        wanted = self.settings.max_detections
        boxes = boxes[self._are_inside(self.settings.boxes_outside(boxes), boxes[:, 4])]
        return boxes[np.argsort(-boxes[:, 4], kind="stable")][: wanted if wanted >= 0 else None]

    def _within_limits(self, people: People) -> People:
        """The people who are not to be left out."""
        if not self.settings.are_set:
            return people
        outside = self.settings.poses_outside(people.poses3d) | self.settings.boxes_outside(people.boxes)
        return people.select(self._are_inside(outside, people.scores))

    def _are_inside(self, outside: dict[str, np.ndarray], scores: np.ndarray) -> np.ndarray:
        """Who is outside of no limit: bool [n]. Whoever else is a person and no weak candidate is counted."""
        are_inside = np.ones(len(scores), bool)
        for name, are_outside in outside.items():
            are_left_out = are_inside & are_outside
            are_inside &= ~are_outside
            self.left_out[name] += int((scores[are_left_out] >= self.settings.detector_threshold).sum())
        return are_inside


class View(NamedTuple):
    """What a camera sees at one time, and the pipeline of that camera; see ``PersonPipeline.step`` about the rest."""

    pipeline: PersonPipeline
    image: np.ndarray
    camera: Camera
    stamp: float = 0.0
    depth: np.ndarray | None = None


def step_together(views: Sequence[View]) -> list[People]:
    """As ``PersonPipeline.step``, for several cameras at once: images of one size go through the model together.

    Args:
        views: of different cameras, whose pipelines have one model and the same settings. Where the cameras' extrinsics
            tell their places, up is the same in all worlds.
    """
    pipeline = views[0].pipeline
    if not has_halves(pipeline.model):
        found = [view.pipeline.detect(view.image, view.camera, view.depth) for view in views]
        return [view.pipeline.follow(people, view.stamp, view.camera) for view, people in zip(views, found)]
    boxes = [view.pipeline._expected_boxes(view) for view in views]
    looking = [i for i, expected in enumerate(boxes) if expected is None]
    options = pipeline._boxes_options(weak_threshold(pipeline.settings.detector_threshold))
    for i, found in zip(looking, detected_boxes(pipeline.model, [views[i].image for i in looking], options)):
        boxes[i] = views[i].pipeline._boxes_of_interest(found, views[i].stamp)
    images, cameras = ([getattr(view, name) for view in views] for name in ("image", "camera"))
    predictions = pipeline._poses_in_boxes(images, cameras, boxes)
    return [
        view.pipeline._taken(view, of_view, prediction, i in looking)
        for i, (view, of_view, prediction) in enumerate(zip(views, boxes, predictions))
    ]
