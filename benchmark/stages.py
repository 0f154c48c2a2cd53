"""Where the time of a frame goes, in one process and without DDS.

The whole frame is timed as the node runs it on a processor, from the message to the messages. Geometry is what a
prepared model does around its crop network: crops, and from the network's answers to poses that are judged; "rest" is
what the parts do not explain (below zero where parts that are called one by one pay for what the whole saves).
"""

from itertools import count

import numpy as np

from benchmark import models
from benchmark.people import camera_matrix
from benchmark.report import Table
from benchmark.rounds import medians
from metrabs_core.cameras import Camera
from metrabs_core.pipeline import PersonPipeline, PipelineSettings
from metrabs_core.prepared.estimator import PreparedEstimator

_MODEL = "fast"
_PEOPLE = (1, 2, 4, 8, 16)
_CROPS = {1: _PEOPLE, 5: _PEOPLE[:-1]}
_STAGES = ("decode", "detection", "network", "geometry", "messages", "rest")
_OF_EACH_PERSON = ("network", "geometry", "messages")
_CROWD, _LIMITS = 30, (-1, 16, 8)


def measure(people, quick: bool) -> dict:
    """Median milliseconds of each stage.

    Returns:
        dict of ``rows``, list of dicts with ``people``, ``crops``, stages, ``frame`` and ``per_person``; of ``crowd``,
        list of dicts with ``limit``, ``people`` and ``frame``; and of the ``image``'s size.
    """
    image, boxes = people.frame(max(_PEOPLE))
    parts = _Parts(image, boxes)
    n_rounds = 2 if quick else 8
    rows = []
    for n_crops, numbers in _CROPS.items():
        contestants = {("detection", 0): parts.detect, ("decode", 0): parts.messages.decode}
        contestants["decode_jpeg", 0] = parts.messages.decode_jpeg
        for n_people in numbers:
            contestants |= {(name, n_people): run for name, run in parts.contestants(n_people, n_crops).items()}
        times = medians(contestants, n_rounds, f"stages, {n_crops} crops")
        rows += [_row(times, n_people, n_crops) for n_people in numbers]
    crowd = _crowd(people.frame(_CROWD, columns=_CROWD // 2), n_rounds)
    return {"image": f"{image.shape[1]}x{image.shape[0]}", "rows": rows, "crowd": crowd}


def _row(times: dict, n_people: int, n_crops: int) -> dict:
    """What the times of parts say about the stages of a frame."""
    row = {"people": n_people, "crops": n_crops}
    row |= {name: times[name, n_people] for name in ("frame", "network", "geometry", "messages")}
    row |= {name: times[name, 0] for name in ("detection", "decode", "decode_jpeg")}
    row["rest"] = row["frame"] - sum(row[name] for name in _STAGES[:-1])
    row["per_person"] = sum(row[name] for name in _OF_EACH_PERSON) / n_people
    inside = row["detection"] + row["network"]
    outside = sum(max(row[name], 0) for name in _STAGES) - inside
    row["share_outside"] = outside / (inside + outside)
    return {name: round(value, 3) for name, value in row.items()}


def _crowd(frame, n_rounds: int) -> list[dict]:
    """A step of more people than the limits allow."""
    image, boxes = frame
    model = models.prepared(boxes, _MODEL)
    steps = {}
    for limit in _LIMITS:
        settings = PipelineSettings(max_detections=limit, suppress_implausible_poses=False)
        steps[limit] = _step(PersonPipeline(model, settings), image)
    counts = {limit: len(step()) for limit, step in steps.items()}
    times = medians(steps, n_rounds, f"{_CROWD} people")
    return [{"limit": limit, "people": counts[limit], "frame": round(times[limit], 3)} for limit in _LIMITS]


def tables(numbers: dict) -> list[Table]:
    """Milliseconds of each stage, and of a crowd."""
    header = ["people", "crops each", *_STAGES, "frame", "per person", "outside detector and network"]
    rows = [
        [str(row["people"]), str(row["crops"])]
        + [f"{row[name]:.1f}" for name in (*_STAGES, "frame", "per_person")]
        + [f"{100 * row['share_outside']:.0f} %"]
        for row in numbers["rows"]
    ]
    jpeg = np.median([row["decode_jpeg"] for row in numbers["rows"]])
    note = (
        f"Medians, model `{_MODEL}`, {numbers['image']} pixels, people of one size. Decode: a bgr8 message; a JPEG "
        f"takes {jpeg:.1f} ms. Messages: tracking, PersonArray and markers, serialized. Per person: network, geometry "
        "and messages."
    )
    crowd = [
        ["none" if row["limit"] < 0 else str(row["limit"]), str(row["people"]), f"{row['frame']:.1f}"]
        for row in numbers["crowd"]
    ]
    return [
        Table("Stages of a frame, milliseconds", header, rows, note),
        Table(f"{_CROWD} people in an image", ["`max_detections`", "people followed", "ms"], crowd),
    ]


class _Parts:
    """A frame, and the parts of it that can be run alone, with as many of the known people as are wanted."""

    def __init__(self, image, boxes):
        self._image, self._model = image, models.prepared(boxes, _MODEL)
        self._boxes = self._model.detect_boxes(image)["boxes"]
        self.messages = _Messages(image)
        self.detect = lambda: self._model.detect_boxes(image)

    def contestants(self, n_people: int, n_crops: int) -> dict:
        """Functions: the whole frame, as the node runs it, and parts."""
        options = {"num_aug": n_crops, "max_detections": n_people}
        step = _step(PersonPipeline(self._model, PipelineSettings(**options)), self._image)
        # messages are about everybody, whether the pose is plausible or not
        following = PersonPipeline(self._model, PipelineSettings(**options, suppress_implausible_poses=False))
        camera, stamps = _camera(self._image), count(1)
        candidates = following.detect(self._image, camera)
        everybody = following.follow(candidates, 0.0, camera)
        network, side = self._model.estimator.network, self._model.estimator.cropping.crop_side
        inputs = {
            "crops": np.random.default_rng(0).random([1, side, side, 3], np.float32),
            "intrinsics": camera_matrix(side, side)[np.newaxis],
        }
        answer = network(**inputs)
        around = PreparedEstimator(lambda **_: answer, self._model.estimator.cropping)

        def geometry():
            poses = {"num_aug": n_crops, "antialias_factor": 1, "average_aug": True, "skeleton": "", "is_judged": True}
            around(self._image, self._boxes[:n_people], camera, **poses)

        def frame():
            self.messages.decode()
            step()
            self.messages.publish(everybody)

        return {
            "frame": frame,
            "network": lambda: [network(**inputs) for _ in range(n_people * n_crops)],
            "geometry": geometry,
            "messages": lambda: self.messages.publish(following.follow(candidates, 0.04 * next(stamps), camera)),
        }


def _camera(image) -> Camera:
    return Camera(camera_matrix(*image.shape[1::-1]))


def _step(pipeline, image):
    """A function that takes the image as the camera's next one."""
    camera, stamps = _camera(image), count()
    return lambda: pipeline.step(image, camera, 0.04 * next(stamps))


class _Messages:
    """What the node makes people's pictures of, and messages of people."""

    def __init__(self, image):
        import array

        import cv2
        from rclpy.serialization import serialize_message
        from sensor_msgs.msg import CompressedImage, Image

        from metrabs_ros.image_conversion import to_rgb
        from metrabs_ros.markers import markers_message
        from metrabs_ros.person_messages import persons_message

        height, width = image.shape[:2]
        bgr = np.ascontiguousarray(image[..., ::-1])
        raw = Image(height=height, width=width, encoding="bgr8", step=3 * width, data=array.array("B", bgr.tobytes()))
        jpeg = CompressedImage(format="jpeg", data=array.array("B", cv2.imencode(".jpg", bgr)[1].tobytes()))
        self.decode, self.decode_jpeg = lambda: to_rgb(raw), lambda: to_rgb(jpeg)

        def publish(people):
            persons = persons_message(raw.header, people)
            serialize_message(persons)
            serialize_message(markers_message(persons, people.skeleton, people.ids.tolist()))

        self.publish = publish
