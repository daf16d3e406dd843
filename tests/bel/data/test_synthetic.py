"""Rendered sets: the written pose is the pose in the pixels, and a set is whole, repeatable and never mixed."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat
from scipy.ndimage import label

from bel.angles import euler_to_matrix, matrix_to_euler
from bel.data import synthetic
from bel.data.biwi import BIWI_TEST, BIWI_TRAIN
from bel.data.heads3d import FOCAL, Head, Light, build_head, draw_traits, render
from bel.data.synthetic import synthesise
from bel.data.w300lp import AFLW2000, W300LP
from bel.errors import UserError

SIZE = 160
NOSE, LEFT_EAR, RIGHT_EAR = 30, 68, 69  # landmarks; left and right of the picture
MARKS = {NOSE: (1.0, 0.0, 0.0), LEFT_EAR: (0.0, 1.0, 0.0), RIGHT_EAR: (0.0, 0.0, 1.0)}
POSES = [
    *[(0, 0, 0), (30, 0, 0), (-30, 0, 0), (0, 25, 0), (0, -25, 0), (0, 0, 30), (0, 0, -30)],
    *[(20, -15, 25), (-35, 20, -20), (60, 10, 15), (-75, -10, 5)],
]
Sets = dict[str, Path]
Array = np.ndarray


@cache
def marked_head(seed: int) -> Head:
    """A bald head with nose tip and ears in pure colours."""
    traits = draw_traits(np.random.default_rng(seed))
    traits = replace(traits, style="bald", glasses="none", beard=0.0)
    return build_head(traits, np.random.default_rng(seed), {key: np.array(colour) for key, colour in MARKS.items()})


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


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Sets:
    """A small set of each layout; read only."""
    root = tmp_path_factory.mktemp("sets")
    synthesise("biwi", root / "biwi", 4, 5, 48, 3)
    synthesise("300w_lp", root / "300w_lp", 5, 3, 64, 3)
    return {layout: root / layout for layout in ("biwi", "300w_lp")}


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

    monkeypatch.setattr(synthetic, "render", unlit)
    monkeypatch.setattr(synthetic, "build_head", lambda traits, rng: head)
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


def test_mat_label_and_picture_tell_one_pose(tmp_path: Path, marked: Head) -> None:
    synthesise("300w_lp", tmp_path, 4, 5, SIZE, 5)
    errors = []
    for file in [*sorted(tmp_path.glob("300W_LP/*/*.mat")), *sorted(tmp_path.glob("AFLW2000/*.mat"))]:
        pitch, yaw, roll, x, y, _, scale = loadmat(file)["Pose_Para"][0].astype(float)
        far = FOCAL * SIZE / scale
        shift = np.array([(x - (SIZE - 1) / 2) / scale, (y - (SIZE - 1) / 2) / scale, far])
        rotation = euler_to_matrix(np.degrees([yaw, pitch, roll]))
        errors += mark_error(marked, rotation, shift, file.with_suffix(".jpg"))
    assert len(errors) > 30 and max(errors) < 0.035 * SIZE, errors


def test_landmarks_of_mat_files_are_on_the_picture(tmp_path: Path, marked: Head) -> None:
    synthesise("300w_lp", tmp_path, 4, 5, SIZE, 6)
    seen = {path: spots(np.asarray(Image.open(path), np.float32) / 255) for path in tmp_path.rglob("*.jpg")}
    noses = {path: found[NOSE] for path, found in seen.items() if NOSE in found}
    assert len(noses) > 15
    for path, centre in noses.items():
        content = loadmat(path.with_suffix(".mat"))
        if path.parent.name == "AFLW2000":
            assert content["pt2d"].shape == (2, 21) and content["pt3d_68"].shape == (3, 68)
            assert np.linalg.norm(content["pt3d_68"][:2, NOSE] - centre) < 0.035 * SIZE
            hidden = content["pt2d"] == -1
            assert (hidden[0] == hidden[1]).all() and not hidden[:, 14].any()
            assert content["pt3d_68"][2, NOSE] > content["pt3d_68"][2, 16], (
                "the nose is nearer than the edge of the jaw"
            )
        else:
            assert content["pt2d"].shape == (2, 68) and content["pt2d"].dtype == np.float64
            assert np.linalg.norm(content["pt2d"][:, NOSE] - centre) < 0.035 * SIZE


def test_far_ear_is_hidden_in_profile(tmp_path: Path, marked: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "wild_pose", lambda rng: np.array([70.0, 0.0, 0.0]))
    synthesise("300w_lp", tmp_path, 2, 1, SIZE, 6)
    points = loadmat(tmp_path / "AFLW2000/image00001.mat")["pt2d"]
    assert (points[:, 12] == -1).all() and (points[:, 16] > 0).all(), "face to the left shows the ear on the right"


def test_readers_find_the_rendered_poses(sets: Sets) -> None:
    sitters, _ = synthetic.plan(synthetic.Request("biwi", 4, 5, 48, 3))
    asked = {stem: pose for sitter in sitters for stem, pose in zip(sitter.stems, sitter.poses, strict=True)}
    sitters, _ = synthetic.plan(synthetic.Request("300w_lp", 5, 3, 64, 3))
    asked |= {stem: pose for sitter in sitters for stem, pose in zip(sitter.stems, sitter.poses, strict=True)}
    places = [(BIWI_TRAIN, "biwi", "BIWI/hpdb/"), (BIWI_TEST, "biwi", "BIWI/hpdb/")]
    places += [(W300LP, "300w_lp", "300W_LP/"), (AFLW2000, "300w_lp", "AFLW2000/")]
    for source, layout, folder in places:
        for entry in source.entries(sets[layout]):
            assert source.read(entry.label).target == pytest.approx(asked.pop(folder + entry.stem), abs=1e-4)
    assert not asked, "every rendered picture is in a list"


def test_mat_angles_are_pitch_yaw_roll_in_radians(sets: Sets) -> None:
    sitters, _ = synthetic.plan(synthetic.Request("300w_lp", 5, 3, 64, 3))
    for sitter in sitters:
        for stem, (yaw, pitch, roll) in zip(sitter.stems, sitter.poses, strict=True):
            para = loadmat(sets["300w_lp"] / f"{stem}.mat")["Pose_Para"]
            assert para.shape == (1, 7) and para.dtype == np.float32
            assert np.degrees(para[0, :3]) == pytest.approx([pitch, yaw, roll], abs=1e-4)


def test_poses_stay_in_range_and_frames_move_smoothly() -> None:
    rng = np.random.default_rng(0)
    walks = np.array([synthetic.trajectory(rng, 60) for _ in range(60)])
    assert (abs(walks) < (75, 60, 50)).all() and abs(walks[..., 0]).max() > 60
    assert (abs(walks[..., 0]) < 37.5).mean() > 0.6, "mostly near the middle"
    assert abs(np.diff(walks, axis=1)).max() < 15 < abs(walks[:, 0] - walks[:, 30]).max()
    wild = np.array([synthetic.wild_pose(rng) for _ in range(2000)])
    assert (abs(wild) <= (89, 60, 60)).all() and (abs(wild[:, 1:]) < 40).mean() > 0.95
    views = synthetic.yaw_views(rng, 9)
    assert np.ptp(views[:, 0]) > 120 and np.ptp(views[:, 1:], axis=0).max() < 20
    assert matrix_to_euler(euler_to_matrix(views)) == pytest.approx(views)


@pytest.mark.parametrize(("layout", "size"), [("biwi", 48), ("300w_lp", 64)])
def test_same_arguments_give_the_same_bytes(sets: Sets, tmp_path: Path, layout: str, size: int) -> None:
    subjects, frames = (4, 5) if layout == "biwi" else (5, 3)
    synthesise(layout, tmp_path / "again", subjects, frames, size, 3)
    synthesise(layout, tmp_path / "other", subjects, frames, size, 4)
    again, other = contents(tmp_path / "again"), contents(tmp_path / "other")
    assert again == contents(sets[layout])
    pictures = [name for name in again if name.endswith((".png", ".jpg"))]
    assert pictures and all(again[name] != other[name] for name in pictures)


def test_pictures_fill_the_frame_and_differ(sets: Sets) -> None:
    pictures = [np.asarray(Image.open(path)) for path in sorted(sets["biwi"].rglob("*.png"))]
    assert {picture.shape for picture in pictures} == {(48, 48, 3)}
    assert len({picture.tobytes() for picture in pictures}) == len(pictures) == 20
    assert min(picture.std() for picture in pictures) > 8


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


def test_biwi_lists_name_whole_disjoint_subjects(sets: Sets) -> None:
    lists = {name: (sets["biwi"] / "BIWI" / name).read_text().split() for name in ("70_train.txt", "30_test.txt")}
    subjects = {name: {stem.split("/")[0] for stem in stems} for name, stems in lists.items()}
    assert len(subjects["30_test.txt"]) == 1 and len(subjects["70_train.txt"]) == 3
    assert not subjects["70_train.txt"] & subjects["30_test.txt"]
    stems = lists["70_train.txt"] + lists["30_test.txt"]
    assert sorted(stems)[:2] == ["01/frame_00003", "01/frame_00004"]
    assert len(set(stems)) == len(stems) == 20


def test_300w_lp_names_subsets_views_and_other_identities_for_the_test() -> None:
    sitters, lists = synthetic.plan(synthetic.Request("300w_lp", 5, 3, 64, 3))
    train, test = lists["300W_LP/overall_filelist_clean.txt"], lists["AFLW2000/overall_filelist_clean.txt"]
    assert train[:4] == ["AFW/AFW_000001_0", "AFW/AFW_000001_1", "AFW/AFW_000001_2", "HELEN/HELEN_000002_0"]
    assert {stem.split("/")[0] for stem in train} == {"AFW", "HELEN", "IBUG", "LFPW"}
    assert len(train) == 15 and test == [f"image{number:05d}" for number in (1, 2, 3, 4)]
    assert len({sitter.stream for sitter in sitters}) == len(sitters) == 9


def test_whole_set_is_found_again(sets: Sets) -> None:
    manifest = sets["biwi"] / "biwi-manifest.json"
    files = {path: path.stat().st_mtime_ns for path in sets["biwi"].rglob("*")}
    calls: list[tuple[int, int]] = []
    assert synthesise("biwi", sets["biwi"], 4, 5, 48, 3, lambda *call: calls.append(call)) == manifest
    assert {path: path.stat().st_mtime_ns for path in sets["biwi"].rglob("*")} == files and not calls
    assert json.loads(manifest.read_text())["subjects"] == 4


def test_other_arguments_and_other_renderer_are_refused(sets: Sets, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(sets["biwi"])
    with pytest.raises(UserError, match=r"'seed': 3.*asked for.*'seed': 9.*another --out") as refusal:
        synthesise("biwi", sets["biwi"], 4, 5, 48, 9)
    assert "\n" not in str(refusal.value)
    monkeypatch.setattr(synthetic, "RENDERER", -1)
    with pytest.raises(UserError, match="'renderer': -1"):
        synthesise("biwi", sets["biwi"], 4, 5, 48, 3)
    assert contents(sets["biwi"]) == before


def test_interrupted_run_is_no_set_and_is_completed(sets: Sets, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        assert total == 20
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise("biwi", tmp_path, 4, 5, 48, 3, stop)
    assert len(list(tmp_path.rglob("*.png"))) == 7
    assert not list(tmp_path.glob("*manifest*")) and not list(tmp_path.rglob("*_t*.txt"))
    calls: list[tuple[int, int]] = []
    synthesise("biwi", tmp_path, 4, 5, 48, 3, lambda *call: calls.append(call))
    assert calls == [(number, 20) for number in range(1, 21)]
    assert contents(tmp_path) == contents(sets["biwi"])


def test_set_with_a_lost_picture_is_rendered_again(tmp_path: Path) -> None:
    synthesise("biwi", tmp_path, 2, 1, 32, 0)
    before = contents(tmp_path)
    (tmp_path / "BIWI/hpdb/01/frame_00003_rgb.png").unlink()
    synthesise("biwi", tmp_path, 2, 1, 32, 0)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("layout", "stranger"), [("biwi", "BIWI/hpdb/01/frame_00003_depth.bin"), ("300w_lp", "AFLW2000/image04375.jpg")]
)
def test_real_data_are_not_overwritten(tmp_path: Path, layout: str, stranger: str) -> None:
    (tmp_path / stranger).parent.mkdir(parents=True)
    (tmp_path / stranger).write_bytes(b"real")
    with pytest.raises(UserError, match=Path(stranger).name):
        synthesise(layout, tmp_path, 2, 1, 32, 0)
    assert contents(tmp_path) == {stranger: b"real"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": "aflw"}, r"layout must be one of \['biwi', '300w_lp'\], got 'aflw'"),
        ({"subjects": 1}, "subjects must be a whole number of at least 2, got 1"),
        ({"frames": 0}, "frames must be a whole number of at least 1, got 0"),
        ({"size": 31}, "size must be a whole number of at least 32, got 31"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"frames": 2.5}, "frames must be a whole number of at least 1, got 2.5"),
    ],
)
def test_wrong_arguments_are_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {
        "layout": "biwi",
        "out": tmp_path / "new",
        "subjects": 2,
        "frames": 1,
        "size": 32,
        "seed": 0,
    }
    with pytest.raises(UserError, match=f"^{message}$"):
        synthesise(**arguments | change)
    assert not (tmp_path / "new").exists()


def test_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="out must be a folder that can be written"):
            synthesise("biwi", out, 2, 1, 32, 0)
