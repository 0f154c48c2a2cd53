"""The losses against NumPy in float64, joint by joint, written from the papers' formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from metrabs_core.network.scale_recovery import SCALE_RECOVERIES
from metrabs_core.skeletons import SKELETONS
from training.losses import hips_like_mpii, pair_losses, pose_losses, total_loss

SIDE = 256
SKELETON = SKELETONS["mpi_inf_3dhp_17"]
ROOT = SKELETON.index("pelv")


def _batch(seed, n=5, n_2d_only=2):
    rng = np.random.default_rng(seed)
    n_joints = SKELETON.n_joints
    truth = {
        "joints3d": rng.normal(size=(n, n_joints, 3)) * 300 + [0, 0, rng.uniform(2000, 9000)],
        "joints2d": rng.uniform(-40, 300, (n, n_joints, 2)),
        "valid3d": (rng.uniform(size=(n, n_joints)) < 0.8).astype(float),
        "valid2d": (rng.uniform(size=(n, n_joints)) < 0.8).astype(float),
    }
    truth["valid3d"][:n_2d_only] = 0
    truth["valid2d"][:, 0], truth["joints2d"][:, 0] = 1, 128
    predicted = {
        "poses3d": truth["joints3d"] + rng.normal(size=(n, n_joints, 3)) * 100,
        "coords3d": truth["joints3d"] + rng.normal(size=(n, n_joints, 3)) * 80 + 1000,
        "points2d": truth["joints2d"] + rng.normal(size=(n, n_joints, 2)) * 9,
    }
    return truth, predicted


def _expected_total(truth, predicted, scale_recovery, step, hips_differ):
    """Total loss, by loops over people and joints."""
    sums = {name: [] for name in ("relative", "depth", "image", "absolute", "weak image", "weak aligned")}
    for i in range(len(truth["joints3d"])):
        t3, t2, v3, v2 = (truth[k][i] for k in ("joints3d", "joints2d", "valid3d", "valid2d"))
        p3, h3, p2 = (predicted[k][i] for k in ("poses3d", "coords3d", "points2d"))
        seen = [j for j in range(len(t2)) if v2[j] and t2[j].min() >= 0 and t2[j].max() <= SIDE - 1]
        if v3.any():
            valid = [j for j in range(len(t3)) if v3[j]]
            origin = [ROOT] if v3[ROOT] else valid
            for j in valid:
                error = np.abs((h3[j] - h3[origin].mean(0)) - (t3[j] - t3[origin].mean(0))) / 1000
                sums["relative"].append(error.mean())
                sums["depth"].append(abs(h3[j, 2] - 1100 - (t3[j] - t3[origin].mean(0))[2]) / 1000)
                sums["absolute"].append(np.abs(p3[j] - t3[j]).mean() / 1000)
            sums["image"] += [np.abs(p2[j] - t2[j]).mean() * 2200 / SIDE / 1000 for j in seen]
            continue
        xy = h3[:, :2] / 1000
        if hips_differ:
            pelvis, neck = SKELETON.index("pelv"), SKELETON.index("neck")
            moved = [SKELETON.index(name) for name in ("pelv", "lhip", "rhip")]
            p2, xy = p2.copy(), xy.copy()
            for points in (p2, xy):
                points[moved] += (points[neck] - points[pelvis]) * -0.2 / (1 + 0.2)
        sums["weak image"] += [np.abs(p2[j] - t2[j]).mean() * 2200 / SIDE / 1000 for j in seen]
        xy, target = xy[seen], t2[seen] * 2200 / SIDE / 1000
        spread, target_spread = (np.sqrt(((x - x.mean(0)) ** 2).mean()) for x in (xy, target))
        xy = (xy - xy.mean(0)) / max(spread, 1e-9) * target_spread + target.mean(0)
        sums["weak aligned"] += list(np.abs(xy - target).mean(1))
    terms = {name: np.mean(values) if values else 0.0 for name, values in sums.items()}
    if scale_recovery == "metro":
        return terms["relative"] + 0.1 * terms["weak aligned"]
    if scale_recovery == "bone-lengths":
        return (terms["depth"] + 2 * terms["image"]) / 3 + 0.1 * terms["weak image"]
    weak = terms["weak image"] + terms["weak aligned"]
    return terms["relative"] + terms["image"] + (step >= 5000) * terms["absolute"] + 0.1 * weak


def _total(truth, predicted, scale_recovery, step, **options):
    terms = pose_losses(_float32(truth), _float32(predicted), SCALE_RECOVERIES[scale_recovery], SIDE, ROOT, **options)
    return float(total_loss(terms, step, 5000))


def _float32(arrays):
    return {name: ops.convert_to_tensor(a.astype(np.float32)) for name, a in arrays.items()}


@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 10**6),
    n_2d_only=st.integers(0, 5),
    scale_recovery=st.sampled_from(["metrabs", "metro", "bone-lengths"]),
    step=st.sampled_from([0, 4999, 5000]),
    hips_differ=st.booleans(),
)
def test_total_equals_numpy(seed, n_2d_only, scale_recovery, step, hips_differ):
    truth, predicted = _batch(seed, n_2d_only=n_2d_only)
    mapping = hips_like_mpii(SKELETON) if hips_differ else None
    out = _total(truth, predicted, scale_recovery, step, as_labelled_2d=mapping)
    assert out == pytest.approx(_expected_total(truth, predicted, scale_recovery, step, hips_differ), rel=2e-4)


def test_perfect_predictions_cost_nothing():
    truth, _ = _batch(0, n_2d_only=0)
    truth["valid3d"][:, ROOT] = 1
    coords3d = truth["joints3d"] - truth["joints3d"][:, [ROOT]] + [700, 800, 1100]
    perfect = {"poses3d": truth["joints3d"], "coords3d": coords3d, "points2d": truth["joints2d"]}
    for scale_recovery in ("metrabs", "metro", "bone-lengths"):
        assert _total(truth, perfect, scale_recovery, 5000) == pytest.approx(0, abs=1e-5)


def test_what_is_not_valid_does_not_count():
    truth, predicted = _batch(1)
    changed = {name: array.copy() for name, array in truth.items()}
    changed["joints3d"][truth["valid3d"] == 0] = 1e6
    changed["joints2d"][truth["valid2d"] == 0] = 50.0
    for scale_recovery in ("metrabs", "metro", "bone-lengths"):
        assert _total(changed, predicted, scale_recovery, 5000) == _total(truth, predicted, scale_recovery, 5000)


def test_far_people_count_by_the_angle_of_their_error_if_asked_to():
    truth, predicted = _batch(2, n_2d_only=0)
    for arrays, name in ((truth, "joints3d"), (predicted, "poses3d")):
        arrays[name][..., 2] += 8000 - truth["joints3d"][:, ROOT, 2].mean()
    truth["joints3d"][:, ROOT, 2] = 8000

    def absolute(**options):
        terms = pose_losses(_float32(truth), _float32(predicted), SCALE_RECOVERIES["metrabs"], SIDE, ROOT, **options)
        return float(terms["absolute"])

    assert absolute(far_mm=4000.0) == pytest.approx(absolute() / 2, rel=1e-4)
    assert absolute(far_mm=9000.0) == pytest.approx(absolute(), rel=1e-6)


@pytest.mark.parametrize("scale_recovery", ["metrabs", "metro"])
def test_terms_of_pairs_equal_numpy(scale_recovery):
    truth, said = _batch(4, n=6)
    _, told = _batch(5, n=6)
    intrinsics = np.tile(np.eye(3), (6, 1, 1))
    intrinsics[:, :2, 2] = np.random.default_rng(0).uniform(100, 150, (6, 2))
    truth["joints3d"][:2] = 0  # 2D labels only
    expected = {"consistency": 0.0, "distillation": 0.0}

    def parts(poses, i, flip):
        """What compares: of the joints of a half, or as the other half would have them."""
        k = i ^ 1 if flip else i
        points = (poses["points2d"][k] - intrinsics[k, :2, 2]) * 2200 / SIDE
        found = [poses["coords3d"][k] - poses["coords3d"][k].mean(0), points, poses["poses3d"][k]]
        if flip:
            found = [np.stack([part[j] * [-1, 1, 1][: part.shape[1]] for j in SKELETON.mirror]) for part in found]
        return found[: 3 if scale_recovery == "metrabs" else 1]

    for i in range(6):
        distance = truth["joints3d"][i, ROOT, 2]
        weights = 1, 1, min(1, 4000 / distance) if distance else 1
        both = [parts(poses, i, flip) for poses in (said, told) for flip in (False, True)]
        for n, (ours, other, theirs, others) in enumerate(zip(*both)):
            share = weights[n] / 1000 / 6
            expected["consistency"] += np.abs(ours - other).mean() * share * (0.5 if n == 2 else 1)
            expected["distillation"] += np.abs(ours - (theirs + others) / 2).mean() * share
    options = SCALE_RECOVERIES[scale_recovery], SIDE, SKELETON.mirror, ROOT, 4000.0
    terms = pair_losses(_float32(truth), _float32(said), _float32(told), np.float32(intrinsics), *options)
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", SKELETONS)
def test_hips_go_away_from_the_neck_in_every_skeleton(name):
    skeleton = SKELETONS[name]
    pose = np.random.default_rng(0).normal(size=(skeleton.n_joints, 3)) * 300
    # a person in whom the middles of hips and shoulders are pelvis and neck, as some skeletons have no names for them
    place = {joint: pose[i] for i, joint in enumerate(skeleton.joint_names)}
    place.setdefault("pelv", (place["lhip"] + place["rhip"]) / 2)
    place.setdefault("neck", (place["lsho"] + place["rsho"]) / 2)
    spine = place["neck"] - place["pelv"]
    moved = hips_like_mpii(skeleton, fraction=0.25) @ pose
    for joint, before, after in zip(skeleton.joint_names, pose, moved):
        shift = -spine / 5 if joint in ("pelv", "lhip", "rhip") else 0
        np.testing.assert_allclose(after, before + shift, atol=1e-9, err_msg=joint)
