"""The methods of the models, with a detector and a crop model whose answers are known."""

import inspect

import dot_people
import numpy as np
import pytest
import tensorflow as tf

from metrabs_core import packaging
from metrabs_core.combined import CombinedModel, MultipersonModel
from metrabs_core.model_card import ModelCard

SIZE = (360, 480)
K = np.float32([[300, 0, 235], [0, 300, 180], [0, 0, 1]])
PINHOLE = np.zeros(5)
PERSON = dot_people.person([250.0, 150.0, 3000.0])
DISTANCES = np.linalg.norm(PERSON, axis=-1)
TOLERANCE_MM = 6.0


def _turned(azimuth):
    cos, sin = np.cos(azimuth), np.sin(azimuth)
    return PERSON @ np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]).T


PEOPLE = [_turned(azimuth) for azimuth in (0.45, 0.0, -0.5)]
BOXES = dot_people.boxes(PEOPLE, K, PINHOLE, margin=12)
IMAGE = dot_people.draw(PEOPLE, K, PINHOLE, SIZE)
TRUTH = dot_people.pose(np.array(PEOPLE))
BLACK = np.zeros_like(IMAGE)


@pytest.fixture(scope="module")
def built_model():
    # the third score is below the threshold; the last box is a second detection of the second person
    scored = np.c_[BOXES, [0.6, 0.9, 0.2]]
    again = [*(BOXES[1] + [3, -2, 1, 4]), 0.7]
    return CombinedModel(dot_people.DotCropModel(DISTANCES), dot_people.BoxDetector([*scored, again]))


@pytest.fixture(scope="module")
def built_multiperson():
    return MultipersonModel(dot_people.DotCropModel(DISTANCES))


@pytest.fixture(scope="module", params=["built", "saved"])
def made(request, tmp_path_factory):
    """A function from a model to the model itself, or to what plain TensorFlow makes of it after it was saved."""

    def saved(model):
        path = tmp_path_factory.mktemp("models") / "model"
        packaging.export(model, path, ModelCard())
        return tf.saved_model.load(str(path))

    return saved if request.param == "saved" else lambda model: model


@pytest.fixture(scope="module")
def model(made, built_model):
    return made(built_model)


@pytest.fixture(scope="module")
def multiperson(made, built_multiperson):
    return made(built_multiperson)


def _numpy(result):
    return {name: value.numpy() for name, value in result.items()}


CAMERA = [
    ("intrinsic_matrix", np.full([3, 3], -1)),
    ("distortion_coeffs", np.zeros(5)),
    ("extrinsic_matrix", np.eye(4)),
    ("world_up_vector", (0, -1, 0)),
    ("default_fov_degrees", 55),
]
POSE = [("internal_batch_size", 64), ("antialias_factor", 1), ("num_aug", 5), ("average_aug", True), ("skeleton", "")]
DETECTION = [
    ("detector_threshold", 0.3),
    ("detector_nms_iou_threshold", 0.7),
    ("max_detections", -1),
    ("detector_flip_aug", False),
    ("suppress_implausible_poses", True),
]
LENS = [("distortion_model", "")]
FIRST_RELEASE = [
    ("intrinsics", ()),
    ("detector_threshold", 0.5),
    ("detector_nms_iou_threshold", 0.4),
    ("detector_flip_aug", False),
    ("internal_batch_size", 64),
    ("n_aug", 5),
]


@pytest.mark.parametrize(
    ("cls", "method", "required", "optional"),
    [
        (CombinedModel, "detect_poses", ["image"], CAMERA + POSE + DETECTION + LENS),
        (CombinedModel, "detect_poses_batched", ["images"], CAMERA + POSE + DETECTION + LENS),
        (CombinedModel, "estimate_poses", ["image", "boxes"], CAMERA + POSE + LENS),
        (CombinedModel, "estimate_poses_batched", ["images", "boxes"], CAMERA + POSE + LENS),
        (CombinedModel, "predict_single_image", ["image"], FIRST_RELEASE),
        (CombinedModel, "predict_multi_image", ["images"], FIRST_RELEASE),
        (MultipersonModel, "predict_single_image", ["image", "intrinsics", "boxes"], FIRST_RELEASE[-2:]),
        (MultipersonModel, "predict_multi_image", ["images", "intrinsics", "boxes"], FIRST_RELEASE[-2:]),
    ],
)
def test_names_order_and_defaults_are_those_of_the_released_models(cls, method, required, optional):
    parameters = list(inspect.signature(getattr(cls, method).python_function).parameters.values())[1:]
    assert [p.name for p in parameters] == required + [name for name, _ in optional]
    for parameter, (name, default) in zip(parameters[len(required) :], optional):
        if method.endswith("poses_batched") and name in (
            "intrinsic_matrix",
            "distortion_coeffs",
            "extrinsic_matrix",
            "distortion_model",
        ):
            default = np.asarray(default)[None]
        np.testing.assert_array_equal(parameter.default, default, err_msg=name)


def test_people_are_found_and_second_detections_of_one_dropped(model):
    result = _numpy(model.detect_poses(IMAGE, K))
    np.testing.assert_allclose(result["boxes"], np.c_[BOXES[[1, 0]], [0.9, 0.6]], rtol=1e-6)
    np.testing.assert_allclose(result["poses3d"], TRUTH[[1, 0]], atol=TOLERANCE_MM)
    assert {name: value.shape for name, value in result.items()} == {
        "boxes": (2, 5),
        "poses3d": (2, 34, 3),
        "poses2d": (2, 34, 2),
        "uncertainties": (2, 34),
    }


def test_detection_options_reach_the_detector(model):
    kept = _numpy(model.detect_poses(IMAGE, K, suppress_implausible_poses=False))
    np.testing.assert_allclose(kept["boxes"][:, 4], [0.9, 0.7, 0.6])
    assert len(model.detect_poses(IMAGE, K, detector_threshold=0.1)["boxes"]) == 3
    np.testing.assert_allclose(model.detect_poses(IMAGE, K, max_detections=1)["boxes"][:, 4], [0.9])
    assert len(model.detect_poses(IMAGE, K, max_detections=0)["boxes"]) == 0


def test_both_halves_of_detection_make_the_whole(model):
    boxes = model.detect_boxes(IMAGE, detector_threshold=0.1)["boxes"].numpy()
    np.testing.assert_allclose(boxes[:, 4], [0.9, 0.7, 0.6, 0.2])
    whole = _numpy(model.detect_poses(IMAGE, K, detector_threshold=0.1))
    for name, values in model.detect_poses_in_boxes(IMAGE, boxes, K).items():
        np.testing.assert_allclose(values, whole[name], atol=1e-2)
    chosen = _numpy(model.detect_poses_in_boxes(IMAGE, boxes[2:3], K))
    np.testing.assert_allclose(chosen["poses3d"], TRUTH[:1], atol=TOLERANCE_MM)
    assert len(model.detect_poses_in_boxes(IMAGE, boxes[:0], K)["poses3d"]) == 0


def test_a_box_without_a_person_is_implausible(model):
    image = dot_people.draw(PEOPLE[:1], K, PINHOLE, SIZE)  # nobody in the boxes of higher score
    np.testing.assert_allclose(model.detect_poses(image, K)["boxes"], [[*BOXES[0], 0.6]], rtol=1e-6)
    assert len(model.detect_poses(image, K, suppress_implausible_poses=False)["boxes"]) == 3


def test_batched_is_the_same_as_image_by_image(model, multiperson):
    images = np.stack([IMAGE, BLACK, IMAGE])
    batched = model.detect_poses_batched(images, K[None])
    assert batched["poses3d"].row_lengths().numpy().tolist() == [2, 0, 2]
    single = _numpy(model.detect_poses(IMAGE, K))
    for name, values in batched.items():
        np.testing.assert_allclose(values[2].numpy(), single[name], atol=1e-2)
    boxes = tf.ragged.constant([BOXES[:1].tolist(), [], BOXES[::-1].tolist()], ragged_rank=1, inner_shape=(4,))
    result = multiperson.estimate_poses_batched(images, boxes, K[None], num_aug=1)
    assert result["poses2d"].row_lengths().numpy().tolist() == [1, 0, 3]
    np.testing.assert_allclose(result["poses3d"][0], TRUTH[:1], atol=TOLERANCE_MM)
    np.testing.assert_allclose(result["poses3d"][2], TRUTH[::-1], atol=TOLERANCE_MM)


def test_every_image_of_a_batch_can_have_its_own_camera(multiperson):
    lens = np.float32([-0.2, 0.05, 0.001, 0, 0])
    longer = K * np.float32([[1.2], [1.2], [1]])
    person = PEOPLE[1]
    images = np.stack([dot_people.draw([person], K, PINHOLE, SIZE), dot_people.draw([person], longer, lens, SIZE)])
    boxes = np.stack([dot_people.boxes([person], K, PINHOLE), dot_people.boxes([person], longer, lens)])
    extrinsics = np.tile(np.eye(4, dtype=np.float32), [2, 1, 1])
    extrinsics[1, :3, 3] = [0, 0, 500]
    result = multiperson.estimate_poses_batched(
        images,
        tf.RaggedTensor.from_tensor(boxes),
        np.stack([K, longer]),
        np.stack([np.zeros(5, np.float32), lens]),
        extrinsics,
    )
    np.testing.assert_allclose(result["poses3d"][0], TRUTH[1:2], atol=TOLERANCE_MM)
    np.testing.assert_allclose(result["poses3d"][1], TRUTH[1:2] - [0, 0, 500], atol=TOLERANCE_MM)


def test_unknown_intrinsics_come_from_the_field_of_view(multiperson):
    focal = 240 / np.tan(np.deg2rad(35))
    matrix = np.float32([[focal, 0, 239.5], [0, focal, 179.5], [0, 0, 1]])
    image = dot_people.draw(PEOPLE[1:2], matrix, PINHOLE, SIZE)
    boxes = dot_people.boxes(PEOPLE[1:2], matrix, PINHOLE)
    known = _numpy(multiperson.estimate_poses(image, boxes, matrix))
    unknown = _numpy(multiperson.estimate_poses(image, boxes, default_fov_degrees=70))
    np.testing.assert_allclose(known["poses3d"], TRUTH[1:2], atol=TOLERANCE_MM)
    np.testing.assert_allclose(unknown["poses3d"], known["poses3d"], atol=0.05)


def test_the_first_releases_methods(model, multiperson):
    focal = 240 / np.tan(np.deg2rad(25))  # 50 degrees
    matrix = np.float32([[focal, 0, 239.5], [0, focal, 179.5], [0, 0, 1]])
    expected = _numpy(model.detect_poses(IMAGE, matrix, detector_threshold=0.5, suppress_implausible_poses=False))
    for intrinsics in ([], matrix):
        detections, poses3d, poses2d = model.predict_single_image(IMAGE, intrinsics)
        np.testing.assert_allclose(detections, expected["boxes"])
        np.testing.assert_allclose(poses3d, expected["poses3d"], atol=0.05)
        np.testing.assert_allclose(poses2d, expected["poses2d"], atol=0.05)
    detections, poses3d, poses2d = model.predict_multi_image(np.stack([IMAGE, IMAGE]), np.stack([matrix, matrix]))
    assert [r.row_lengths().numpy().tolist() for r in (detections, poses3d, poses2d)] == [[3, 3]] * 3
    np.testing.assert_allclose(poses3d[1], expected["poses3d"], atol=0.05)
    np.testing.assert_allclose(multiperson.predict_single_image(IMAGE, K, BOXES, n_aug=1), TRUTH, atol=TOLERANCE_MM)
    ragged = tf.RaggedTensor.from_row_lengths(BOXES, [2, 1])
    poses3d = multiperson.predict_multi_image(np.stack([IMAGE, IMAGE]), K, ragged)
    np.testing.assert_allclose(poses3d[1], TRUTH[2:], atol=TOLERANCE_MM)


def test_nobody_and_nothing(model, multiperson):
    nobody = model.detect_poses(IMAGE, K, detector_threshold=1.0, skeleton="smpl_24")
    assert [nobody[name].shape for name in ("boxes", "poses3d", "poses2d")] == [(0, 5), (0, 24, 3), (0, 24, 2)]
    without_boxes = multiperson.estimate_poses(IMAGE, np.zeros([0, 4], np.float32), K, average_aug=False)
    assert without_boxes["poses3d"].shape == (0, 5, 34, 3)
    no_images = model.detect_poses_batched(np.zeros([0, *SIZE, 3], np.uint8), K[None])
    assert no_images["poses3d"].shape[0] == 0
    no_lists = tf.RaggedTensor.from_row_lengths(np.zeros([0, 4], np.float32), np.zeros([0], np.int64))
    assert multiperson.estimate_poses_batched(np.zeros([0, *SIZE, 3], np.uint8), no_lists)["poses3d"].shape[0] == 0


def test_boxes_without_extent_or_outside_the_image_are_survived(multiperson):
    boxes = np.float32([[100, 100, 0, 0], [-500, -500, 50, 50], [5000, 100, 60, 200], [10, 10, 1e5, 1e5]])
    result = multiperson.estimate_poses(IMAGE, boxes, K, np.float32([-0.3, 0.1, 0, 0, 0]))
    assert all(np.isfinite(values).all() for values in result.values())


def test_arguments_by_position(model):
    lens, extrinsics = np.float32([-0.2, 0.05, 0.001, 0, 0]), np.eye(4, dtype=np.float32)
    extrinsics[:3, 3] = [100, 200, 300]
    image = dot_people.draw(PEOPLE, K, lens, SIZE)
    arguments = [image, K, lens, extrinsics, (0, -1, 0), 55, 7, 2, 3, False, "coco_17", 0.1, 0.7, 3, True, True, ""]
    by_position = _numpy(model.detect_poses(*arguments))
    names = ["image", *(name for name, _ in CAMERA + POSE + DETECTION + LENS)]
    by_name = _numpy(model.detect_poses(**dict(zip(names, arguments))))
    assert by_position["poses3d"].shape == (2, 3, 17, 3)
    for name, values in by_position.items():
        np.testing.assert_array_equal(by_name[name], values)


@pytest.mark.parametrize("shape", [[5], [1, 5], [5, 1]])
def test_distortion_coefficients_may_be_a_row_or_column(multiperson, shape):
    lens = np.float32([-0.2, 0.05, 0.001, 0, 0])
    image, boxes = dot_people.draw(PEOPLE[:1], K, lens, SIZE), dot_people.boxes(PEOPLE[:1], K, lens)
    poses = multiperson.estimate_poses(image, boxes, K, lens.reshape(shape), num_aug=1)["poses3d"]
    np.testing.assert_allclose(poses, TRUTH[:1], atol=TOLERANCE_MM)


def test_one_trace_serves_all_sizes_numbers_and_arguments():
    crop_model = dot_people.DotCropModel(DISTANCES)  # own ones: saving traces again
    model = CombinedModel(crop_model, dot_people.BoxDetector(np.c_[BOXES, [0.6, 0.9, 0.2]]))
    for size in [SIZE, (100, 200), (333, 222)]:
        image = np.zeros([*size, 3], np.uint8)
        lens = np.zeros(size[0] % 8 + 5, np.float32)
        for options in ({"num_aug": 2}, {"skeleton": "coco_19", "average_aug": False}, {"antialias_factor": 2}):
            for n_people in range(3):
                model.detect_poses(image, distortion_coeffs=lens, max_detections=n_people, **options)
                model.estimate_poses(image, BOXES[:n_people], distortion_coeffs=lens, **options)
                boxes = tf.RaggedTensor.from_row_lengths(BOXES[:n_people], [n_people, 0])
                model.estimate_poses_batched(np.stack([image, image]), boxes, K[None], **options)
    for method in (model.detect_poses, model.estimate_poses, model.estimate_poses_batched):
        assert method.experimental_get_tracing_count() == 1
    assert crop_model.n_traces == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skeleton": "octopus"}, "skeleton: .*smpl_24.*octopus"),
        ({"num_aug": 0}, "num_aug"),
        ({"antialias_factor": 0}, "antialias_factor"),
        ({"intrinsic_matrix": np.zeros([3, 3], np.float32)}, "intrinsic_matrix: focal lengths must be positive"),
        ({"intrinsic_matrix": K.T}, "intrinsic_matrix.*last rows must be 0 0 1 .*transposed.* are.*235 180 1"),
        (
            {"extrinsic_matrix": np.float32([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 2, 3, 1]])},
            "last rows.*1 2 3",
        ),
        ({"distortion_coeffs": np.float32([1e20, 0, 0, 0, 0])}, "distortion_coeffs: no lens has these; they are.*1e"),
        ({"distortion_coeffs": np.float32([np.nan, 0, 0, 0, 0])}, "distortion_coeffs: no lens has these"),
        ({"distortion_coeffs": np.float32([0, 0, 0, 0, 0.1]), "distortion_model": "fisheye"}, "no lens has these"),
        (
            {"distortion_model": "omnidirectional"},
            "distortion_model: must be empty or one of .*fisheye.* .*omnidirectional",
        ),
        ({"distortion_coeffs": np.zeros(14, np.float32)}, "distortion_coeffs: 5 to 12"),
        ({"distortion_coeffs": np.zeros([2, 5], np.float32)}, "distortion_coeffs: must be a list"),
        ({"boxes": np.zeros([1, 3], np.float32)}, "boxes: left, top, width and height"),
    ],
)
def test_wrong_values_are_refused_by_name(multiperson, options, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        multiperson.estimate_poses(**{"image": IMAGE, "boxes": BOXES, **options})


def test_numbers_of_images_boxes_and_cameras_must_fit(multiperson):
    images, boxes = np.stack([IMAGE] * 3), tf.RaggedTensor.from_row_lengths(BOXES, [1, 1, 1])
    with pytest.raises(tf.errors.InvalidArgumentError, match="intrinsic_matrix: one for each image or one for all"):
        multiperson.estimate_poses_batched(images, boxes, np.stack([K, K]))
    with pytest.raises(tf.errors.InvalidArgumentError, match="boxes: one list of boxes for each image"):
        multiperson.estimate_poses_batched(images[:2], boxes)
    with pytest.raises(tf.errors.InvalidArgumentError, match="intrinsics: must be empty or of shape"):
        multiperson.predict_multi_image(images, K[:2], boxes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image", IMAGE[..., 0]),
        ("boxes", BOXES[0]),
        ("intrinsic_matrix", K[:2]),
        ("extrinsic_matrix", np.eye(3, dtype=np.float32)),
        ("world_up_vector", np.zeros(4, np.float32)),
        ("num_aug", np.array([5, 5])),
        ("average_aug", tf.constant(1.0)),
        ("intrinsic_matrix", tf.constant(K, tf.float64)),
    ],
)
def test_wrong_shapes_and_types_are_refused_by_name(multiperson, name, value):
    with pytest.raises(TypeError, match=f"Can not cast .* to .*name='{name}'"):
        multiperson.estimate_poses(**{"image": IMAGE, "boxes": BOXES, name: value})
