"""Batches depend on the seed and their number alone, whoever makes them."""

import multiprocessing
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from tiny_training import make_dataset

from metrabs_core.errors import UserError
from metrabs_core.skeletons import NATIVE
from training.augmentation import Appearance
from training.crop_batches import CropBatches, CropSettings, plain_batches
from training.examples import make_crop, read_examples

SETTINGS = CropSettings(NATIVE, 64, Appearance(0.7))


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    return [read_examples(make_dataset(folder / f"people{i}", n, with_3d=i == 0), NATIVE) for i, n in enumerate((7, 5))]


def _batches(people, **options):
    return CropBatches(*people, SETTINGS, **{"batch_size": 4, "batch_size_2d": 2, "seed": 7, **options})


def _equal(batch, other):
    (crops, intrinsics), labels = batch
    (other_crops, other_intrinsics), other_labels = other
    assert labels.keys() == other_labels.keys()
    pairs = [(crops, other_crops), (intrinsics, other_intrinsics), *zip(labels.values(), other_labels.values())]
    return all(np.array_equal(a, b) for a, b in pairs)


def test_any_number_of_workers_makes_the_same_batches_from_any_step_on(people):
    here = list(islice(_batches(people).stream(0), 9))
    with _batches(people) as batches:
        batches.start(2)
        there = list(islice(batches.stream(3), 6))
    assert all(_equal(a, b) for a, b in zip(here[3:], there, strict=True))
    assert not _equal(here[0], here[1])
    assert not _equal(here[0], next(_batches(people, seed=8).stream(0)))


def test_batches_hold_both_kinds_and_everybody_once_a_lap(people):
    batches = _batches(people)
    (crops, intrinsics), labels = next(batches.stream(0))
    assert crops.shape == (6, 64, 64, 3) and crops.dtype == np.uint8 and intrinsics.shape == (6, 3, 3)
    assert labels["valid3d"].any(1).tolist() == [True] * 4 + [False] * 2
    assert labels["valid2d"].all()
    seen = [[], []]
    for step in range(35):
        for example, (seed, source, _) in batches.examples_of(step):
            assert seed == 7
            seen[source].append(example.image_path)
    for paths, n in zip(seen, (7, 5)):
        laps = [paths[i : i + n] for i in range(0, len(paths), n)]
        assert all(max(Counter(lap).values()) == 1 for lap in laps)
        assert len({tuple(lap) for lap in laps}) > 1


def test_one_person_is_never_changed_in_the_same_way_twice(people):
    (_, intrinsics), _ = next(CropBatches(people[0][:1], [], SETTINGS, 4, 2, seed=7).stream(0))
    assert len(np.unique(intrinsics, axis=0)) == 4


def test_parts_make_up_the_whole(people):
    whole = _batches(people).examples_of(5)
    parts = [_batches(people, part=(i, 2)).examples_of(5) for i in range(2)]
    assert sorted(seed for _, seed in whole) == sorted(seed for part in parts for _, seed in part)
    assert [len(part) for part in parts] == [3, 3]
    with pytest.raises(ValueError, match="can't be divided among 3"):
        _batches(people, part=(0, 3))


def test_what_goes_wrong_in_a_worker_is_told(tmp_path):
    folder = make_dataset(tmp_path / "damaged", 3)
    people = read_examples(folder, NATIVE)
    (folder / "shard" / "2.png").unlink()
    with CropBatches(people, [], SETTINGS, 3, 1, seed=1) as batches:
        batches.start(1)
        assert list(batches.stream(0)) == []
    with pytest.raises(UserError, match="2.png can't be read"):
        batches.raise_error()


def test_a_killed_worker_is_told(people):
    with _batches(people) as batches:
        batches.start(1)
        stream = batches.stream(0)
        next(stream)
        for process in multiprocessing.active_children():
            process.kill()
        list(stream)  # what was made before, and then the end
    with pytest.raises(UserError, match="was killed, perhaps because memory ran out: try fewer --workers"):
        batches.raise_error()


def test_plain_batches_are_the_plain_crops_in_order(people):
    here = list(plain_batches(people[0], SETTINGS, 3))
    there = list(plain_batches(people[0], SETTINGS, 3, workers=1))
    assert [len(inputs[0]) for inputs, _ in here] == [3, 3, 1]
    assert all(_equal(a, b) for a, b in zip(here, there, strict=True))
    crops = np.concatenate([inputs[0] for inputs, _ in here])
    for example, crop in zip(people[0], crops, strict=True):
        np.testing.assert_array_equal(crop, make_crop(example, NATIVE, 64, None)[0])
