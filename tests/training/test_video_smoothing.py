"""Causal smoothing of tracks, against a loop over frames in double precision."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import convolve1d

from training.video.poses import VideoPoses
from training.video.smoothing import causal_smooth


def poses_of(presence, numbers, seed):
    """People in frames: presence bool [frames, people]."""
    rng = np.random.default_rng(seed)
    frame_index, person = np.nonzero(presence)
    n = len(person)
    return VideoPoses(
        frame_numbers=np.array(numbers, np.int64),
        frame_times=np.array(numbers) / 30,
        image_sizes=np.full([len(presence), 2], 100, np.int32),
        intrinsic_matrices=np.tile(np.eye(3, dtype=np.float32), [len(presence), 1, 1]),
        frame_index=frame_index.astype(np.int64),
        ids=1 + 5 * person.astype(np.int64),
        boxes=np.zeros([n, 5], np.float32),
        poses3d=rng.normal(size=[n, 3, 3]).astype(np.float32) * 1000,
        poses2d=np.zeros([n, 3, 2], np.float32),
        uncertainties=np.zeros([n, 3], np.float32),
        in_view=np.ones([n, 3], bool),
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n_frames=st.integers(1, 12), n_people=st.integers(1, 4), seed=st.integers(0, 1000))
def test_every_pose_is_the_weighted_mean_of_what_there_is(data, n_frames, n_people, seed):
    rows = st.lists(st.booleans(), min_size=n_people, max_size=n_people)
    presence = np.array(data.draw(st.lists(rows, min_size=n_frames, max_size=n_frames)), bool)
    numbers = np.cumsum(data.draw(st.lists(st.integers(1, 4), min_size=n_frames, max_size=n_frames)))
    poses = poses_of(presence, numbers, seed)
    smoothed = causal_smooth(poses)
    known = {
        (person, numbers[frame]): pose.astype(np.float64)
        for person, frame, pose in zip(poses.ids, poses.frame_index, poses.poses3d)
    }
    for person, frame, pose in zip(poses.ids, poses.frame_index, smoothed.poses3d):
        terms = {6: known[person, numbers[frame]]}
        for lag, weight in ((1, 2), (2, 1)):
            if (person, numbers[frame] - lag) in known:
                terms[weight] = known[person, numbers[frame] - lag]
        expected = sum(weight * value for weight, value in terms.items()) / sum(terms)
        np.testing.assert_allclose(pose, expected, atol=1e-2)


def test_inside_a_track_it_is_the_convolution_of_the_paper():
    poses = poses_of(np.ones([20, 1], bool), range(20), seed=0)
    expected = convolve1d(poses.poses3d.astype(np.float64), np.array([6, 2, 1]) / 9, axis=0, origin=-1)
    np.testing.assert_allclose(causal_smooth(poses).poses3d[2:], expected[2:], atol=1e-2)
