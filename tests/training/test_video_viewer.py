"""The 3D viewer in a real browser, and the floor that it stands people on."""

import browser
import numpy as np
import pytest
from rectangle_people import FRACTIONS

from metrabs_core.appearance import bone_sides, id_colour
from metrabs_core.skeletons import NATIVE
from metrabs_core.videos import VideoWriter
from training.video.floor import estimate_floor
from training.video.poses import VideoPoses
from training.video.viewer import world_frame, write_viewer

SIZE = (1000, 700)
MATRIX = np.float32([[500, 0, 319.5], [0, 500, 239.5], [0, 0, 1]])
N_FRAMES, RATE = 40, 20
# A standing person around the origin of the floor, mm: x right, y ahead, z up.
BODY = np.column_stack([(FRACTIONS[:, 0] - 0.5) * 900, np.zeros(34), (1 - FRACTIONS[:, 1]) * 1700])


def rotation_from(pitch, roll):
    """World (x right, y ahead, z up) to the frame of a camera that looks down by `pitch` and is turned by `roll`."""
    level = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    tilt = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    turn = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    return turn @ tilt @ level


def walkers(camera_height=3000.0, pitch=0.35, roll=0.05, noise=0.0, lying=0):
    """Two people (and `lying` on the floor) who walk before a camera: their poses, and the rotation to the camera."""
    rng = np.random.default_rng(0)
    rotation = rotation_from(pitch, roll)
    rows = []
    for i in range(N_FRAMES):
        # 2 walks to the right, 7 away from the camera
        places = {2: [-1500 + 60 * i, 6000, 0], 7: [1000, 4500 + 100 * i, 0]}
        bodies = {person: BODY + place for person, place in places.items()}
        bodies |= {20 + n: BODY[:, [0, 2, 1]] + [-1000, 5000 + 2000 * n, 100] for n in range(lying)}
        for person, body in bodies.items():
            body = body + rng.normal(size=3) * noise
            rows.append((i, person, (body - [0, 0, camera_height]) @ rotation.T))
    frame_index, ids, poses3d = (np.array(column) for column in zip(*rows))
    projected = poses3d @ MATRIX.T
    poses = VideoPoses(
        frame_numbers=np.arange(N_FRAMES),
        frame_times=np.arange(N_FRAMES) / RATE,
        image_sizes=np.tile(np.int32([[640, 480]]), [N_FRAMES, 1]),
        intrinsic_matrices=np.tile(MATRIX, [N_FRAMES, 1, 1]),
        frame_index=frame_index,
        ids=ids,
        boxes=np.ones([len(ids), 5], np.float32),
        poses3d=poses3d.astype(np.float32),
        poses2d=(projected[..., :2] / projected[..., 2:]).astype(np.float32),
        uncertainties=np.ones([len(ids), 34], np.float32),
        in_view=np.ones([len(ids), 34], bool),
    )
    return poses, rotation


@pytest.mark.parametrize(
    "pitch, roll, height", [(0.0, 0.0, 1500), (0.6, -0.1, 4000), (-0.1, 0.15, 800), (1.2, 0, 6000)]
)
@pytest.mark.parametrize("noise, lying", [(0.0, 0), (60.0, 0), (0.0, 1)])
def test_floor_is_found(pitch, roll, height, noise, lying):
    poses, rotation = walkers(height, pitch, roll, noise, lying)
    floor = estimate_floor(poses, NATIVE)
    angle = np.degrees(np.arccos(np.clip(floor.up @ rotation[:, 2], -1, 1)))
    assert angle < (1.5 if noise else 0.5)
    assert floor.height == pytest.approx(height, abs=120 if noise else 40)
    to_world, eye = world_frame(floor)
    np.testing.assert_allclose(to_world @ to_world.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(to_world) == pytest.approx(1) and eye == pytest.approx([0, 0, height / 1000], abs=0.13)


def test_without_people_the_camera_is_level():
    poses, _ = walkers()
    floor = estimate_floor(poses.select(np.zeros(0, int)), NATIVE)
    assert floor.up.tolist() == [0, -1, 0] and floor.height > 0


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if browser.find() is None:
        pytest.skip("needs a browser: apt-get install chromium")
    folder = tmp_path_factory.mktemp("viewer")
    poses, _ = walkers()
    with VideoWriter(folder / "preview.mp4", max_side=160) as video:
        for i in range(N_FRAMES):
            video.write(np.full([120, 160, 3], (4 * i, 255 - 4 * i, 0), np.uint8), i / RATE)
    # The title could end the script that it stands in.
    write_viewer(folder / "viewer.html", poses, NATIVE, folder / "preview.mp4", "</script><b>it's me</b>")
    url = f"{(folder / 'viewer.html').as_uri()}#frame=10&view=camera"
    with browser.Browser(url, folder / "profile", SIZE) as page:
        page.wait_for("document.getElementById('picture').readyState >= 2")
        yield page
        assert not page.errors


def label(page):
    return page.evaluate("document.getElementById('label').textContent")


def colour_mask(picture, person):
    """Where somebody's left half is drawn, whose bones have the pure colour."""
    return (np.abs(picture.astype(int) - id_colour(person)) < 12).all(axis=-1)


def test_through_the_camera_people_are_where_they_are_in_the_image(page):
    picture = page.screenshot()
    assert label(page).startswith("frame 10/40") and "2 people" in label(page) and "0.45 s" in label(page)
    poses, _ = walkers()
    frame = poses.select(poses.people(9))
    scale = min(SIZE[0] / 640, SIZE[1] / 480)
    corner = (np.array(SIZE) - scale * np.array([640, 480])) / 2
    sides = bone_sides(NATIVE)
    for person, joints in zip(frame.ids, frame.poses2d):
        # pixel centres are at whole numbers in the image, at halves on the screen
        places = corner + scale * (joints + 0.5)
        mask = colour_mask(picture, person)
        for (a, b), side in zip(NATIVE.edges, sides):
            x, y = np.rint((places[a] + places[b]) / 2 - 0.5).astype(int)
            if side == "left" and np.linalg.norm(places[a] - places[b]) > 15 and not (x > 680 and y < 260):
                assert mask[y - 2 : y + 3, x - 2 : x + 3].any(), (person, NATIVE.joint_names[a], NATIVE.joint_names[b])
        y, x = np.nonzero(mask)
        inside = places.min(axis=0) - 25 <= np.stack([x, y], axis=1)
        assert inside.all(axis=1).mean() > 0.95


def test_title_is_text(page):
    assert page.evaluate("document.title") == "</script><b>it's me</b>"
    assert page.evaluate("document.querySelector('#hint b').textContent") == "</script><b>it's me</b>"


def test_orbit_zoom_and_back(page):
    page.click("#orbit")
    still = page.screenshot()
    upright = [np.ptp(np.nonzero(colour_mask(still, person)), axis=1) for person in (2, 7)]
    assert all(height > 1.5 * width for height, width in upright), "people stand upright"
    page.drag((400, 400), (560, 380))
    turned = page.screenshot()
    assert (turned != still).any(axis=-1).mean() > 0.01
    page.turn_wheel((500, 350), -600)
    nearer = page.screenshot()
    assert colour_mask(nearer, 2).sum() > 1.3 * colour_mask(turned, 2).sum()
    page.press("c")
    page.press("o")
    np.testing.assert_array_equal(page.screenshot(), nearer)


def test_slider_and_arrow_keys_move_time_and_the_picture(page):
    page.evaluate("t = document.getElementById('time'), t.value = 29, t.dispatchEvent(new Event('input'))")
    assert label(page).startswith("frame 10") or label(page).startswith("frame 30")
    before = page.screenshot()
    assert label(page).startswith("frame 30/40")
    page.press("ArrowRight")
    after = page.screenshot()
    assert label(page).startswith("frame 31/40") and (before != after).any()
    page.wait_for("!document.getElementById('picture').seeking")
    # the colour of the small video tells its frame
    red = page.screenshot()[60, 850, 0]
    assert red == pytest.approx(4 * 30, abs=8)
    assert page.evaluate("document.getElementById('picture').currentTime") == pytest.approx(30.5 / RATE, abs=1e-3)


def test_playing_goes_to_the_end_and_stops(page):
    page.evaluate("document.getElementById('speed').value = '4'")
    page.press(" ")
    page.wait_for("document.getElementById('label').textContent.startsWith('frame 40/40')")
    page.wait_for("document.getElementById('play').textContent === '\\u25b6'")
    page.evaluate("document.getElementById('speed').value = '0.25'")  # a busy machine must not miss what is waited for
    page.click("#play")
    page.wait_for("/^frame ([2-9]|1.)\\//.test(document.getElementById('label').textContent)")
    page.click("#play")
    page.screenshot()
    stopped = label(page)
    page.screenshot()
    assert label(page) == stopped
