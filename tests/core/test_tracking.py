import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrabs_core.tracking import Tracker

FOCAL, CENTRE = 600.0, np.array([320.0, 240.0])
# Joints of a person around the middle, mm: as tall as a person, as wide as one.
BODY = np.array([[-250, -800, 0], [250, -800, 0], [0, 0, 100], [-250, 800, 0], [250, 800, 0]], float)


def observe(position, score=0.9) -> tuple[np.ndarray, np.ndarray]:
    """Box [5] and pose [5, 3] of a person in the middle of which is `position` (mm)."""
    pose = BODY + position
    pixels = FOCAL * pose[:, :2] / pose[:, 2:] + CENTRE
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    return np.array([*low, *(high - low), score]), pose


def run(tracker, frames, interval=1 / 15):
    """Ids of people at given positions: for each frame a dict of name to position; returns dicts of name to id."""
    results = []
    for i, people in enumerate(frames):
        observations = [observe(np.asarray(position, float)) for position in people.values()]
        boxes = np.array([box for box, _ in observations]).reshape(-1, 5)
        poses = np.array([pose for _, pose in observations]).reshape(-1, len(BODY), 3)
        results.append(dict(zip(people, tracker.update(boxes, poses, 100 + i * interval))))
    return results


def assert_one_id_each(results):
    ids = {name: {ids[name] for ids in results if name in ids} for ids in results for name in ids}
    assert all(len(of_one) == 1 for of_one in ids.values()), ids
    assert len(set().union(*ids.values())) == len(ids), ids


def jitter(rng, position):
    """Noise of a good monocular estimate: 3 cm across, 10 cm along the line of sight."""
    return np.asarray(position) + rng.normal(size=3) * [30, 30, 100]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("gap", [0, 1000], ids=["at the same depth", "one behind the other"])
def test_people_who_cross_keep_their_ids(seed, gap):
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(60):
        x = -1500 + 50 * i
        people = {"a": jitter(rng, (x, 0, 4000)), "b": jitter(rng, (-x, 50, 4600 + gap))}
        order = rng.permutation(list(people))
        frames.append({name: people[name] for name in order})
    assert_one_id_each(run(Tracker(), frames))


@pytest.mark.parametrize("seed", range(5))
def test_a_person_hidden_behind_another_comes_out_with_the_same_id(seed):
    rng = np.random.default_rng(seed)
    frames = []
    for i in range(60):
        x = -1500 + 50 * i
        people = {"a": jitter(rng, (x, 0, 3000)), "b": jitter(rng, (-1.5 * x, 0, 5000))}
        if abs(x) < 250:
            del people["b"]
        frames.append(people)
    assert_one_id_each(run(Tracker(), frames))


def test_a_short_miss_is_bridged_and_a_long_one_is_not():
    tracker = Tracker(max_age=1.0)
    walk = [{"a": (50 * i, 0, 4000)} for i in range(100)]
    assert_one_id_each(run(tracker, [{} if 20 <= i < 30 else people for i, people in enumerate(walk)]))
    results = run(Tracker(max_age=1.0), [{} if 20 <= i < 40 else people for i, people in enumerate(walk)])
    assert results[0]["a"] != results[-1]["a"]


@pytest.mark.parametrize("max_age", [0.0, 0.05])
def test_people_in_every_image_keep_their_ids_however_short_the_memory_is(max_age):
    walk = [{"a": (20 * i, 0, 4000), "b": (1500 - 20 * i, 0, 6000)} for i in range(30)]
    assert_one_id_each(run(Tracker(max_age), walk, interval=0.1))
    # But nobody is remembered for longer than that: not over one image, nor over a pause.
    results = run(Tracker(max_age), [*walk[:10], {}, *walk[10:]], interval=0.1)
    assert results[0]["a"] != results[-1]["a"]
    tracker = Tracker(max_age)
    before = run(tracker, walk[:10], interval=0.1)[-1]
    assert tracker.update(*map(np.stack, zip(observe(np.array([200.0, 0, 4000])))), 160.0) != [before["a"]]


def test_two_people_far_apart_are_not_one_person():
    results = run(Tracker(), [{"a": (-1500, 0, 3000)}, {"b": (1500, 0, 3000)}])
    assert results[0]["a"] != results[1]["b"]


def test_somebody_who_leaves_and_somebody_who_enters_elsewhere_differ():
    frames = [{"a": (-1500, 0, 3000), "b": (0, 0, 4000)}] * 10 + [{"b": (0, 0, 4000), "c": (1500, 0, 6000)}] * 10
    assert_one_id_each(run(Tracker(), frames))


def test_ids_are_never_used_twice():
    tracker, seen = Tracker(max_age=0.1), []
    for i in range(50):
        # Somebody new every second.
        seen += run(tracker, [{"x": (0, 0, 3000 + i)}])[0].values()
        tracker.update(np.zeros([0, 5]), np.zeros([0, 5, 3]), 200.0 + i)
    assert len(set(seen)) == 50 and seen == sorted(seen) and seen[0] == 1


def test_a_bag_that_starts_again_is_no_reunion():
    tracker = Tracker()
    first, again = ({"a": (0, 0, 3000)} for _ in range(2))
    assert run(tracker, [first] * 5)[-1]["a"] != run(tracker, [again])[0]["a"]


@settings(max_examples=30, deadline=None)
@given(
    counts=st.lists(st.integers(0, 6), min_size=1, max_size=40),
    interval=st.sampled_from([0.0, 1 / 30, 0.5, 5.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_whoever_comes_ids_are_distinct_and_memory_is_bounded(counts, interval, seed):
    rng = np.random.default_rng(seed)
    tracker = Tracker()
    for i, n in enumerate(counts * 10):
        boxes = rng.uniform(0, 300, [n, 5])
        poses = rng.normal(size=[n, 5, 3]) * 1000 + [0, 0, 4000]
        ids = tracker.update(boxes, poses, i * interval)
        assert len(ids) == n == len(set(ids)) and all(isinstance(person, int) and person > 0 for person in ids)
    # At most everybody of the last 100 frames.
    assert len(tracker._tracks) <= 101 * 6


def follow_scores(tracker, scores, interval=0.1):
    """Ids of one person who walks to the right, detected with given scores (None: not at all)."""
    ids = []
    for i, score in enumerate(scores):
        box, pose = observe(np.array([20.0 * i, 0, 4000]), score or 0)
        n = score is not None
        ids += tracker.update(box[np.newaxis][:n], pose[np.newaxis][:n], i * interval) or [None]
    return ids


def test_weak_detections_prolong_tracks_but_begin_none():
    assert follow_scores(Tracker(threshold=0.4), [0.3, 0.2, 0.9, 0.9, 0.3, 0.2, None, 0.3, 0.9]) == [
        *(0, 0, 1, 1, 1, 1, None, 1, 1)
    ]
    assert follow_scores(Tracker(threshold=0.4), [0.39] * 30) == [0] * 30


def test_what_is_hardly_ever_a_person_does_not_stay_one():
    # A thing that is taken for a person once in two seconds, and else for a weak one.
    ids = np.array(follow_scores(Tracker(threshold=0.4), ([0.41] + [0.25] * 19) * 5))
    assert (ids[::20] > 0).all() and (ids > 0).mean() < 0.2
    # A person whose score is low for a second.
    assert set(follow_scores(Tracker(threshold=0.4), [0.8] * 20 + [0.25] * 10 + [0.8] * 20)) == {1}


def test_weak_detections_take_no_track_from_strong_ones():
    tracker = Tracker(threshold=0.4)
    first = observe((0, 0, 4000))
    tracker.update(first[0][np.newaxis], first[1][np.newaxis], 0.0)
    # The weak one is where the person was, the strong one has moved on.
    boxes, poses = zip(observe((0, 0, 4000), 0.3), observe((150, 0, 4000), 0.9))
    assert tracker.update(np.array(boxes), np.array(poses), 0.1) == [0, 1]


def test_a_weak_second_detection_of_somebody_is_nobody():
    tracker, (box, pose) = Tracker(threshold=0.4), observe((0, 0, 4000))
    other = box + [6, 4, -3, 5, 0], pose + [0, 0, 900]  # the same person, thought to be further away
    boxes, poses = np.array([box, other[0]]), np.array([pose, other[1]])
    assert tracker.update(boxes, poses, 0.0) == [1, 2]
    boxes[1, 4] = 0.3
    assert tracker.update(boxes, poses, 0.1) == [1, 0]
