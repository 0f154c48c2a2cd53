"""Tables of people, and cameras of pictures."""

import cv2
import numpy as np
import rlemasklib
from generated_datasets import people
from hypothesis import example as tried_with
from hypothesis import given
from hypothesis import strategies as st

from metrabs_core.cameras import Camera
from training.datasets.example import assumed_camera
from training.datasets.table import Table, TableBuilder


def make_table(root, rng, n=7, masks=True):
    builder = TableBuilder(root, 3)
    for camera in range(2):
        coeffs = np.zeros(0, np.float32) if camera else np.float32([0.1, 0, 0, 0, 0])
        runs = [rlemasklib.encode(rng.integers(0, 2, [5, 6]).astype(np.uint8)) for _ in range(n - 1)]
        builder.add(
            [f"b/{9 - i}.jpg" for i in range(n)],
            rng.uniform(0, 9, [n, 4]),
            Camera(np.diag([900, 900, 1]), coeffs),
            rng.uniform(1, 2, [n, 3, 3]),
            masks=[*runs, None] if masks else None,
            activity=[f"a{i}" for i in range(n)],
            scene="here",
            person=camera,
        )
    return builder.build()


def test_tables_are_kept_as_they_are(tmp_path):
    table = make_table(tmp_path, np.random.default_rng(0))
    table.save(tmp_path / "table.npz", key="x")
    again = Table.load(tmp_path / "table.npz", tmp_path)
    assert len(again) == len(table) == 14
    assert [e.image_path.name for e in again] == sorted(e.image_path.name for e in table)
    for a, b in zip(table, again, strict=True):
        assert (a.image_path, a.mask, a.activity, a.scene, a.person) == (
            b.image_path,
            b.mask,
            b.activity,
            b.scene,
            b.person,
        )
        for name in ("box", "joints2d", "valid", "joints3d"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        np.testing.assert_array_equal(a.camera.distortion_coeffs, b.camera.distortion_coeffs)
    assert table[3:5][1].image_path == table[4].image_path
    assert sum(e.mask is None for e in again) == 2
    assert {e.camera.is_pinhole for e in again} == {True, False}


def test_tables_are_put_together(tmp_path):
    rng = np.random.default_rng(0)
    first, second = make_table(tmp_path, rng), make_table(tmp_path, rng, masks=False)
    whole = Table.concatenate([first, second])
    assert len(whole) == 28
    assert sum(e.mask is not None for e in whole) == 12
    for table in (first, second):
        for example in table:
            assert any(np.array_equal(example.box, e.box) and e.camera.is_pinhole == example.camera.is_pinhole
                       for e in whole)  # fmt: skip


@given(
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    eye=st.tuples(*[st.floats(-5000, 5000)] * 3),
    point=st.tuples(st.floats(-1500, 1500), st.floats(-1500, 1500), st.floats(2000, 9000)),
    coeffs=st.sampled_from([[], [-0.2, 0.1, 0.001, -0.002], [-0.2, 0.2, 0.001, 0.002, -0.01]]),
)
@tried_with(angles=(0.0, 1e-5, 0.0), eye=(0.0, 0.0, 0.0), point=(0.0, 0.0, 2000.0), coeffs=[])
def test_cameras_agree_with_opencv(angles, eye, point, coeffs):
    rotation, _ = cv2.Rodrigues(np.float64(angles))
    extrinsics = np.eye(4)
    extrinsics[:3, :3], extrinsics[:3, 3] = rotation, -rotation @ eye
    matrix = np.array([[1100, 0, 500], [0, 1090, 510], [0, 0, 1]], np.float32)
    camera = Camera(matrix, np.float32(coeffs), extrinsic_matrix=extrinsics)
    world = camera.to_world(np.array([point]))
    np.testing.assert_allclose(rotation @ (world[0] - eye), point, atol=1e-6)
    np.testing.assert_allclose(camera.to_camera(world)[0], point, atol=1e-6)
    expected = people.project(world, extrinsics, matrix, np.float64(np.float32([*coeffs, *[0] * (5 - len(coeffs))])))
    # OpenCV takes the rotation for none up to an angle of 1e-5, which is 0.02 pixels at the edge of this picture
    np.testing.assert_allclose(camera.project(np.array(point)), expected[0], atol=3e-2)


@given(st.tuples(st.floats(-500, 3000), st.floats(-500, 3000), st.floats(1, 2000), st.floats(1, 2000)))
def test_cameras_of_unknown_pictures_look_at_the_box(box):
    camera = assumed_camera(np.array(box))
    pixels = camera.project(np.array([[0, 0, 1.0], [0, 0, 5000.0]]))
    np.testing.assert_allclose(pixels, [[box[0] + box[2] / 2, box[1] + box[3] / 2]] * 2, atol=1e-2)
