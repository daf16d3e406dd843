"""Rendered heads: the pose and the landmarks that a label tells are those in the pixels, and the mesh is whole."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat
from scipy.ndimage import label

from bel.angles import euler_to_matrix
from bel.data.synthetic import layouts, scene, sets, synthesise
from bel.data.synthetic.identity import draw_traits
from bel.data.synthetic.mesh import Head, build_head
from bel.data.synthetic.render import FOCAL, Light, render

SIZE = 160
NOSE, LEFT_EAR, RIGHT_EAR = 30, 68, 69  # landmarks; left and right of the picture
MARKS = {NOSE: (1.0, 0.0, 0.0), LEFT_EAR: (0.0, 1.0, 0.0), RIGHT_EAR: (0.0, 0.0, 1.0)}
POSES = [
    *[(0, 0, 0), (30, 0, 0), (-30, 0, 0), (0, 25, 0), (0, -25, 0), (0, 0, 30), (0, 0, -30)],
    *[(20, -15, 25), (-35, 20, -20), (60, 10, 15), (-75, -10, 5)],
]
Array = np.ndarray


@cache
def marked_head(seed: int) -> Head:
    """A bald head with nose tip and ears in pure colours."""
    traits = replace(draw_traits(np.random.default_rng(seed)), style="bald", glasses="none", beard=0.0)
    head = build_head(traits, np.random.default_rng(seed))
    for landmark, colour in MARKS.items():
        head = mark(head, landmark, np.array([*colour, 0], np.float32))
    return head


def mark(head: Head, landmark: int, texel: Array) -> Head:
    """The head with all triangles within 12 mm of a landmark in one colour, on vertices of their own."""
    triangles, middle = head.triangles.copy(), head.points[head.triangles].mean(1)
    chosen = np.linalg.norm(middle - head.landmarks[landmark], axis=-1) < 12
    old = triangles[chosen].ravel()
    triangles[chosen] = len(head.points) + np.arange(len(old)).reshape(-1, 3)
    return replace(
        head,
        points=np.concatenate([head.points, head.points[old]]),
        normals=np.concatenate([head.normals, head.normals[old]]),
        texel=np.concatenate([head.texel, np.full((len(old), 2), (len(head.atlas), 0), np.float32)]),
        follow=np.concatenate([head.follow, head.follow[old]]),
        triangles=triangles,
        atlas=np.concatenate([head.atlas, np.broadcast_to(texel, (2, *head.atlas.shape[1:]))]),
    )


def spots(picture: Array) -> dict[int, Array]:
    """Centre (x, y) px of each marker that shows as more than 4 pixels of a picture (size, size, 3)."""
    found = {}
    for landmark, colour in MARKS.items():
        wanted = np.array(colour) > 0.5
        y, x = np.nonzero((picture[..., wanted].min(-1) > 0.7) & (picture[..., ~wanted].max(-1) < 0.35))
        if len(x) > 4:
            found[landmark] = np.array([x.mean(), y.mean()])
    return found


def picture_of(head: Head, rotation: Array, shift: Array) -> Array:
    return render(head, rotation, shift, np.eye(3), SIZE, None)[0][..., :3]


def through_camera(point: Array, rotation: Array, shift: Array, size: int) -> Array:
    """The camera as it is documented, written out once more: R p + t, focal length, middle of the picture."""
    x, y, z = rotation @ point + shift
    return np.array([FOCAL * size * x / z, FOCAL * size * y / z]) + (size - 1) / 2


@pytest.mark.parametrize("pose", POSES)
def test_markers_are_where_the_rotation_puts_them(pose: tuple[float, float, float]) -> None:
    head, rotation, shift = marked_head(1), euler_to_matrix(np.array(pose)), np.array([12.0, -9.0, 950.0])
    seen = spots(picture_of(head, rotation, shift))
    shown = {NOSE} | ({LEFT_EAR} if pose[0] < 15 else set()) | ({RIGHT_EAR} if pose[0] > -15 else set())
    assert shown <= set(seen)
    for landmark, centre in seen.items():
        expected = through_camera(head.landmarks[landmark], rotation, shift, SIZE)
        assert np.linalg.norm(centre - expected) < 0.026 * SIZE, (pose, landmark)


def test_marker_is_on_the_tip_of_the_nose() -> None:
    head = marked_head(2)
    tip = head.landmarks[NOSE]
    front = head.points[np.abs(head.points[:, 1]) < 115]
    assert np.linalg.norm(front[front[:, 2].argmin()] - tip) < 4
    assert head.landmarks[LEFT_EAR, 0] < -60 and head.landmarks[RIGHT_EAR, 0] > 60


def test_signs_of_yaw_pitch_and_roll_in_the_pixels() -> None:
    head, shift = marked_head(3), np.array([0.0, 0.0, 950.0])

    def at(*pose: float) -> dict[int, Array]:
        return spots(picture_of(head, euler_to_matrix(np.array(pose)), shift))

    middle = at(0, 0, 0)
    assert at(25, 0, 0)[NOSE][0] < middle[NOSE][0] - 12, "yaw > 0 turns the nose to the left of the picture"
    assert at(-25, 0, 0)[NOSE][0] > middle[NOSE][0] + 12
    assert at(0, 20, 0)[NOSE][1] < middle[NOSE][1] - 10, "pitch > 0 looks up"
    assert at(0, -20, 0)[NOSE][1] > middle[NOSE][1] + 10
    rolled, other = at(0, 0, 25), at(0, 0, -25)
    assert rolled[LEFT_EAR][1] < rolled[RIGHT_EAR][1] - 20, "R puts +x lower in the picture for roll > 0"
    assert other[LEFT_EAR][1] > other[RIGHT_EAR][1] + 20


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Head:
    """Make `synthesise` photograph one marked head without lights; its camera, blur, noise and files stay."""
    head = marked_head(1)

    def unlit(head: Head, rotation: Array, shift: Array, body: Array, size: int, light: Light) -> tuple[Array, Array]:
        return render(head, rotation, shift, body, size, None)

    monkeypatch.setattr(scene, "render", unlit)
    monkeypatch.setattr(sets, "build_head", lambda traits, rng: head)
    return head


def mark_error(head: Head, rotation: Array, shift: Array, image: Path) -> list[float]:
    """Distance (px) of each marker in a file from where the label puts it."""
    picture = np.asarray(Image.open(image), np.float32) / 255
    seen = spots(picture)
    places = {key: through_camera(head.landmarks[key], rotation, shift, len(picture)) for key in seen}
    return [float(np.linalg.norm(seen[key] - place)) for key, place in places.items()]


def test_biwi_label_and_picture_tell_one_pose(tmp_path: Path, marked: Head) -> None:
    synthesise("biwi", tmp_path, 3, 6, SIZE, 5)
    errors = []
    for file in sorted(tmp_path.glob("BIWI/hpdb/*/*_pose.txt")):
        numbers = np.loadtxt(file)
        assert file.read_text().splitlines()[3] == "" and numbers.shape == (4, 3)
        errors += mark_error(marked, numbers[:3], numbers[3], Path(str(file).replace("_pose.txt", "_rgb.png")))
    assert len(errors) > 18 and max(errors) < 0.035 * SIZE, errors


def test_mat_label_and_picture_tell_one_pose_and_the_same_points(tmp_path: Path, marked: Head) -> None:
    synthesise("300w_lp", tmp_path, 4, 5, SIZE, 5)
    errors = []
    for file in sorted(tmp_path.rglob("*.mat")):
        content, image = loadmat(file), file.with_suffix(".jpg")
        assert content["Pose_Para"].shape == (1, 7) and content["Pose_Para"].dtype == np.float32
        pitch, yaw, roll, x, y, _, scale = content["Pose_Para"][0].astype(float)
        far = FOCAL * SIZE / scale
        shift = np.array([(x - (SIZE - 1) / 2) / scale, (y - (SIZE - 1) / 2) / scale, far])
        rotation = euler_to_matrix(np.degrees([yaw, pitch, roll]))
        errors += mark_error(marked, rotation, shift, image)
        points = content["pt3d_68"][:2] if file.parent.name == "AFLW2000" else content["pt2d"]
        nose = through_camera(marked.landmarks[NOSE], rotation, shift, SIZE)
        assert points.shape == (2, 68) and points[:, NOSE] == pytest.approx(nose, abs=0.01)
    assert len(errors) > 30 and max(errors) < 0.035 * SIZE, errors


def test_aflw2000_has_21_points_and_depths_of_68(tmp_path: Path, marked: Head) -> None:
    synthesise("300w_lp", tmp_path, 2, 5, 32, 6)
    files = sorted(tmp_path.glob("AFLW2000/*.mat"))
    assert len(files) == 3
    for content in map(loadmat, files):
        assert content["pt2d"].shape == (2, 21) and content["pt3d_68"].shape == (3, 68)
        hidden = content["pt2d"] == -1
        assert (hidden[0] == hidden[1]).all() and not hidden[:, 14].any()
        assert content["pt3d_68"][2, NOSE] > content["pt3d_68"][2, 16], "the nose is nearer than the edge of the jaw"


def test_far_ear_is_hidden_in_profile(tmp_path: Path, marked: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "wild_pose", lambda rng: np.array([70.0, 0.0, 0.0]))
    synthesise("300w_lp", tmp_path, 2, 1, SIZE, 6)
    points = loadmat(tmp_path / "AFLW2000/image00001.mat")["pt2d"]
    assert (points[:, 12] == -1).all() and (points[:, 16] > 0).all(), "face to the left shows the ear on the right"


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("size", [32, 224])
def test_head_has_no_holes(pose: tuple[float, float, float], size: int) -> None:
    shift, rotation = np.array([0.0, 0.0, 900.0]), euler_to_matrix(np.array(pose))
    cover = render(marked_head(4), rotation, shift, np.eye(3), size, None)[0][..., 3]
    assert cover[size * 3 // 8 : size * 5 // 8, size * 3 // 8 : size * 5 // 8].min() == 1
    pieces, count = label(cover < 0.5)
    outside = np.unique(np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]]))
    enclosed = (~np.isin(pieces, [0, *outside])).sum()
    assert enclosed <= 3, f"background shows through {count} pieces; only a chink behind an ear is real"


def test_triangles_face_as_their_normals_do() -> None:
    head = marked_head(4)
    a, b, c = head.points[head.triangles].transpose(1, 0, 2)
    facing = np.cross(b - a, c - a)
    agree = (facing * head.normals[head.triangles].mean(1)).sum(-1)
    assert (agree >= 0)[np.linalg.norm(facing, axis=-1) > 1e-3].mean() > 0.98
    middle = head.landmarks[[LEFT_EAR, RIGHT_EAR]].mean(0)
    skull = slice(0, 4000)  # rows from the crown down to the eyes come first
    assert (((head.points - middle) * head.normals).sum(-1)[skull] > 0).mean() > 0.95, "outwards"
