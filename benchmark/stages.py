"""Where the time of a frame goes, in one process and without DDS.

The whole frame is timed as the node runs it, from the message to the messages. Cropping is the difference between a
model whose network is replaced by nothing and one without crops as well; "rest" is what the parts do not explain (below
zero where parts that are called one by one pay for calls that the whole saves).
"""

import numpy as np
import tensorflow as tf

from benchmark import models
from benchmark.people import camera_matrix
from benchmark.report import Table
from benchmark.rounds import medians
from metrabs_core.detection import load_detector

_PEOPLE = (1, 2, 4, 8, 16)
_CROPS = (1, 5)
_STAGES = ("decode", "detection", "cropping", "network", "post-processing", "messages", "rest")


def measure(people, quick: bool) -> dict:
    """Median milliseconds of each stage: a list of dicts with ``people``, ``crops``, stages and ``frame``."""
    image, boxes = people.frame(max(_PEOPLE))
    crop_model, card = models.packaged_crop_model()
    detector = load_detector()
    whole = models.whole(boxes, detector, crop_model, card)
    without_networks = models.without_networks(boxes, crop_model, card)
    after = models.only_after_networks(boxes, crop_model, card)
    height, width = image.shape[:2]
    messages = _Messages(image, whole)
    side = crop_model.crop_side
    rows = []
    for n_crops in _CROPS:
        contestants = {}
        for n_people in _PEOPLE:
            options = {
                "intrinsic_matrix": camera_matrix(width, height),
                "num_aug": n_crops,
                "max_detections": n_people,
            }
            crops = tf.random.uniform([n_people * n_crops, side, side, 3])
            intrinsics = tf.tile(tf.constant(camera_matrix(side, side))[tf.newaxis], [n_people * n_crops, 1, 1])

            def run(model, options=options):
                return {name: value.numpy() for name, value in model.detect_poses(image, **options).items()}

            prediction = run(whole, {**options, "suppress_implausible_poses": False})
            prediction["boxes"] = np.pad(boxes[:n_people], [(0, 0), (0, 1)], constant_values=1.0)

            def frame(run=run, prediction=prediction):
                messages.decode()
                run(whole)
                messages.publish(prediction)

            contestants |= {
                (n_people, "frame"): frame,
                (n_people, "network"): lambda c=crops, i=intrinsics: crop_model.estimate(c, i)["poses3d"].numpy(),
                (n_people, "without_networks"): lambda run=run: run(without_networks),
                (n_people, "post-processing"): lambda run=run: run(after),
                (n_people, "messages"): lambda prediction=prediction: messages.publish(prediction),
            }
        images = tf.constant(image[np.newaxis])
        arguments = [tf.constant(value) for value in (0.2, 0.7, -1, False)]
        contestants["detection"] = lambda images=images, a=arguments: detector(images, *a).values.numpy()
        contestants["decode"] = messages.decode
        contestants["decode_jpeg"] = messages.decode_jpeg
        times = medians(contestants, 3 if quick else 15, f"stages, {n_crops} crops")
        for n_people in _PEOPLE:
            row = {"people": n_people, "crops": n_crops}
            row |= {name: times[n_people, name] for name in ("frame", "network", "post-processing", "messages")}
            row |= {name: times[name] for name in ("detection", "decode", "decode_jpeg")}
            row["cropping"] = times[n_people, "without_networks"] - row["post-processing"]
            row["rest"] = row["frame"] - sum(row[name] for name in _STAGES[:-1])
            inside = row["detection"] + row["network"]
            outside = sum(max(row[name], 0) for name in _STAGES) - inside
            row["share_outside"] = outside / (inside + outside)
            rows.append({name: round(value, 3) for name, value in row.items()})
    return {"image": f"{width}x{height}", "rows": rows}


def tables(numbers: dict) -> list[Table]:
    """Milliseconds of each stage."""
    header = ["people", "crops each", *_STAGES, "frame", "outside detector and network"]
    rows = [
        [str(row["people"]), str(row["crops"])]
        + [f"{row[name]:.1f}" for name in (*_STAGES, "frame")]
        + [f"{100 * row['share_outside']:.0f} %"]
        for row in numbers["rows"]
    ]
    jpeg = np.median([row["decode_jpeg"] for row in numbers["rows"]])
    note = (
        f"Medians, {numbers['image']} pixels, people of one size. Decode: a bgr8 message; a JPEG takes {jpeg:.1f} ms. "
        "Messages: tracking, PersonArray and markers, serialized."
    )
    return [Table("Stages of a frame, milliseconds", header, rows, note)]


class _Messages:
    """What the node does before and after the model."""

    def __init__(self, image, model):
        import array

        import cv2
        from rclpy.serialization import serialize_message
        from sensor_msgs.msg import CompressedImage, Image

        from metrabs_core.pipeline import People, PersonPipeline
        from metrabs_ros.image_conversion import to_rgb
        from metrabs_ros.markers import markers_message
        from metrabs_ros.person_messages import persons_message

        height, width = image.shape[:2]
        bgr = np.ascontiguousarray(image[..., ::-1])
        raw = Image(height=height, width=width, encoding="bgr8", step=3 * width, data=array.array("B", bgr.tobytes()))
        jpeg = CompressedImage(format="jpeg", data=array.array("B", cv2.imencode(".jpg", bgr)[1].tobytes()))
        self.decode, self.decode_jpeg = lambda: to_rgb(raw), lambda: to_rgb(jpeg)
        pipeline, stamp = PersonPipeline(model), 0.0

        def publish(prediction):
            nonlocal stamp
            stamp += 0.04
            people = pipeline.follow(People.untracked(prediction, pipeline.skeleton, image), stamp)
            persons = persons_message(raw.header, people)
            serialize_message(persons)
            serialize_message(markers_message(persons, people.skeleton, people.ids.tolist()))

        self.publish = publish
