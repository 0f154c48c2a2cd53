import json

import numpy as np
import pytest

from training.dataset_format import DatasetError, read_description, read_pictures, write_description, write_json

NAMES = ["head", "lwri", "rwri"]
EDGES = [(0, 1), (0, 2)]


def person(**changes):
    entry = {
        "box": [1, 2, 30, 40],
        "joints3d": [[0, 0, 2000], [100.5, 0, 2000], None],
        "joints2d": [[10, 10], [20.25, 10], None],
        "visible": [1, 0, 0],
    }
    return entry | changes


def picture(**changes):
    camera = {"intrinsic_matrix": [[100, 0, 31.5], [0, 100, 23.5], [0, 0, 1]], "distortion_coeffs": []}
    return {"image": "a.jpg", "camera": camera, "people": [person()]} | changes


@pytest.fixture
def dataset(tmp_path):
    def write(*pictures):
        write_description(tmp_path, NAMES, EDGES, seed=5, licence="CC0")
        shard = tmp_path / "shard"
        shard.mkdir(exist_ok=True)
        (shard / "a.jpg").write_bytes(b"x")
        write_json(shard / "annotations.json", list(pictures))
        return tmp_path

    return write


def test_description_and_pictures_come_back(dataset):
    camera = picture()["camera"] | {"distortion_coeffs": [0.1, 0, 0, 0, 0], "extrinsic_matrix": np.eye(4).tolist()}
    folder = dataset(picture(), picture(camera=camera, people=[]))
    description = read_description(folder)
    assert description.joint_names == tuple(NAMES)
    assert description.edges == tuple(EDGES)
    assert description.other == {"seed": 5, "licence": "CC0"}
    first, second = read_pictures(folder)
    assert first.path == folder / "shard" / "a.jpg"
    np.testing.assert_array_equal(first.camera.extrinsic_matrix, np.eye(4))
    assert first.camera.is_pinhole
    np.testing.assert_allclose(second.camera.distortion_coeffs, [0.1, 0, 0, 0, 0])
    assert second.people == ()
    (someone,) = first.people
    np.testing.assert_allclose(someone.joints3d[1], [100.5, 0, 2000])
    assert np.isnan(someone.joints3d[2]).all()
    assert np.isnan(someone.joints2d[2]).all()
    assert someone.visible.tolist() == [True, False, False]
    assert someone.mask is None


def test_fisheye_lenses_are_told_by_name(dataset):
    camera = picture()["camera"] | {"distortion_coeffs": [0.1, 0, 0, 0], "distortion_model": "fisheye"}
    (first,) = read_pictures(dataset(picture(camera=camera)))
    assert first.camera.is_fisheye


def test_people_without_3d_are_allowed(dataset):
    (first,) = read_pictures(dataset(picture(people=[person(joints3d=None)])))
    assert first.people[0].joints3d is None


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (picture(image="b.jpg"), "b.jpg: the image file is missing"),
        ({"camera": {}}, "picture 0: must be an object with the name of an 'image' file"),
        (picture(camera=None), "'camera' is missing"),
        (picture(camera={"intrinsic_matrix": [[1, 2], [3, 4]]}), "'intrinsic_matrix' has shape [2, 2], not [3, 3]"),
        (
            picture(camera={"intrinsic_matrix": np.zeros((3, 3)).tolist()}),
            "focal lengths of an intrinsic",
        ),
        (picture(camera=picture()["camera"] | {"distortion_coeffs": [1, 2, 3]}), "has 3 numbers, not 0, 4, 5"),
        (picture(camera={"intrinsic_matrix": [[100, 0, 0], [0, 100, 0], [31.5, 23.5, 1]]}), "is it transposed?"),
        (picture(camera=picture()["camera"] | {"distortion_coeffs": [1e20, 0, 0, 0]}), "of no lens"),
        (picture(camera=picture()["camera"] | {"distortion_model": "toy"}), "lens model 'toy' is not known"),
        (picture(people=None), "'people' must be a list"),
        (picture(people=[person(box=[1, 2, 0, 4])]), "person 0: 'box' must be [left, top, width, height]"),
        (picture(people=[person(joints2d=[[1, 2]])]), "'joints2d' has shape [1, 2], not [3, 2]"),
        (picture(people=[person(joints3d=[[1, 2, "x"]] * 3)]), "'joints3d' must be numbers of shape [3, 3]"),
        (picture(people=[person(box=[1, 2, float("inf"), 4])]), "'box' has numbers that aren't finite"),
        (picture(people=[person(mask="rle")]), "'mask' must have 'size' and 'counts'"),
        (picture(people=["me"]), "person 0: must be an object"),
    ],
)
def test_each_mistake_is_named_with_its_place(dataset, entry, complaint):
    folder = dataset(entry)
    with pytest.raises(DatasetError) as error:
        list(read_pictures(folder))
    assert complaint in str(error.value)
    assert "annotations.json" in str(error.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "can't be read as JSON"),
        ('{"format": 7}', "has format 7; this version reads format 1"),
        ("[]", "has format None"),
        ('{"format": 1}', "'joint_names' must be a list of names"),
        ('{"format": 1, "joint_names": ["a", "a"]}', "has a name twice"),
        ('{"format": 1, "joint_names": ["a"], "edges": [[0, 1]]}', "pair of joint indices below 1"),
    ],
)
def test_mistakes_in_the_description_are_named(tmp_path, content, complaint):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(DatasetError, match="dataset.json") as error:
        read_description(tmp_path)
    assert complaint in str(error.value)


def test_folders_that_are_no_dataset(tmp_path):
    with pytest.raises(DatasetError, match="has no dataset.json"):
        read_description(tmp_path)
    write_description(tmp_path, NAMES, EDGES)
    with pytest.raises(DatasetError, match="nothing to read"):
        list(read_pictures(tmp_path))


def test_unfinished_shards_are_not_read(dataset):
    folder = dataset(picture())
    half = folder / ".other.tmp"
    half.mkdir()
    (half / "annotations.json").write_text(json.dumps([picture(), picture()]))
    assert len(list(read_pictures(folder))) == 1
