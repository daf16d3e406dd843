"""Rendered sets: poses, names and lists as planned, and a set is whole, repeatable and never mixed."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bel.angles import euler_to_matrix, matrix_to_euler
from bel.data.readers.biwi import BIWI_TEST, BIWI_TRAIN
from bel.data.readers.table import table_source
from bel.data.readers.table_spec import parse_table
from bel.data.readers.w300lp import AFLW2000, W300LP
from bel.data.synthetic import layouts, scene, sets, synthesise
from bel.data.synthetic.identity import draw_traits
from bel.data.synthetic.mesh import build_head
from bel.data.synthetic.render import FOCAL, render
from bel.errors import UserError

BIWI, W300 = layouts.Request("biwi", 4, 5, 48, 3), layouts.Request("300w_lp", 5, 3, 64, 3)
CSV = layouts.Request("csv", 5, 6, 64, 3)
Written = dict[str, Path]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A small set of each layout; read only."""
    root = tmp_path_factory.mktemp("sets")
    for request in (BIWI, W300, CSV):
        synthesise(out=root / request.layout, **asdict(request))
    return {layout: root / layout for layout in layouts.LAYOUTS}


def test_readers_find_the_rendered_poses(written: Written) -> None:
    sitters = layouts.PLANS[BIWI.layout](BIWI)[0] + layouts.PLANS[W300.layout](W300)[0]
    asked = {stem: pose for sitter in sitters for stem, pose in zip(sitter.stems, sitter.poses, strict=True)}
    places = [(BIWI_TRAIN, "biwi", "BIWI/hpdb/"), (BIWI_TEST, "biwi", "BIWI/hpdb/")]
    places += [(W300LP, "300w_lp", "300W_LP/"), (AFLW2000, "300w_lp", "AFLW2000/")]
    for source, layout, folder in places:
        listing = source.listed(written[layout])
        assert not listing.unusable
        for entry in listing.entries:
            assert source.read(entry).target == pytest.approx(asked.pop(folder + entry.stem), abs=1e-4)
    assert not asked, "every rendered picture is in a list"


def test_poses_stay_in_range_and_frames_move_smoothly() -> None:
    rng = np.random.default_rng(0)
    walks = np.array([layouts.trajectory(rng, 60) for _ in range(60)])
    assert (abs(walks) < (75, 60, 50)).all() and abs(walks[..., 0]).max() > 60
    assert (abs(walks[..., 0]) < 37.5).mean() > 0.6, "mostly near the middle"
    assert abs(np.diff(walks, axis=1)).max() < 15 < abs(walks[:, 0] - walks[:, 30]).max()
    wild = np.array([layouts.wild_pose(rng) for _ in range(2000)])
    assert (abs(wild) <= (89, 60, 60)).all() and (abs(wild[:, 1:]) < 40).mean() > 0.95
    views = layouts.yaw_views(rng, 9)
    assert np.ptp(views[:, 0]) > 120 and np.ptp(views[:, 1:], axis=0).max() < 20
    assert matrix_to_euler(euler_to_matrix(views)) == pytest.approx(views)


@pytest.mark.parametrize("asked", [BIWI, W300, CSV])
def test_same_arguments_give_the_same_bytes(written: Written, tmp_path: Path, asked: layouts.Request) -> None:
    synthesise(out=tmp_path / "again", **asdict(asked))
    synthesise(out=tmp_path / "other", **asdict(replace(asked, seed=4)))
    again, other = contents(tmp_path / "again"), contents(tmp_path / "other")
    assert again == contents(written[asked.layout])
    pictures = [name for name in again if name.endswith((".png", ".jpg"))]
    assert pictures and all(again[name] != other[name] for name in pictures)


def test_pictures_fill_the_frame_and_differ(written: Written) -> None:
    pictures = [np.asarray(Image.open(path)) for path in sorted(written["biwi"].rglob("*.png"))]
    assert {picture.shape for picture in pictures} == {(48, 48, 3)}
    assert len({picture.tobytes() for picture in pictures}) == len(pictures) == 20
    assert min(picture.std() for picture in pictures) > 8


def test_biwi_lists_name_whole_disjoint_subjects(written: Written) -> None:
    lists = {name: (written["biwi"] / "BIWI" / name).read_text().split() for name in ("70_train.txt", "30_test.txt")}
    subjects = {name: {stem.split("/")[0] for stem in stems} for name, stems in lists.items()}
    assert len(subjects["30_test.txt"]) == 1 and len(subjects["70_train.txt"]) == 3
    assert not subjects["70_train.txt"] & subjects["30_test.txt"]
    stems = lists["70_train.txt"] + lists["30_test.txt"]
    assert sorted(stems)[:2] == ["01/frame_00003", "01/frame_00004"]
    assert len(set(stems)) == len(stems) == 20


def test_300w_lp_names_subsets_views_and_other_identities_for_the_test() -> None:
    sitters, lists = layouts.PLANS[W300.layout](W300)
    train, test = lists["300W_LP/overall_filelist_clean.txt"], lists["AFLW2000/overall_filelist_clean.txt"]
    assert train[:4] == ["AFW/AFW_000001_0", "AFW/AFW_000001_1", "AFW/AFW_000001_2", "HELEN/HELEN_000002_0"]
    assert {stem.split("/")[0] for stem in train} == {"AFW", "HELEN", "IBUG", "LFPW"}
    assert len(train) == 15 and test == [f"image{number:05d}" for number in (1, 2, 3, 4)]
    assert len({sitter.stream for sitter in sitters}) == len(sitters) == 9


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "CSV/labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


TABLE = {
    "train": "CSV/labels.csv",
    "group": "subject",
    "box": ["x0", "y0", "x1", "y1"],
    "targets": {
        "yaw": {"low": -90, "high": 90, "unit": "deg", "flip": -1},
        "pitch": {"low": -60, "high": 60, "unit": "deg", "flip": 1},
        "roll": {"low": -60, "high": 60, "unit": "deg", "flip": -1},
        "distance": {"low": 60, "high": 220, "unit": "cm", "flip": 1},
    },
}


def test_the_table_of_own_data_is_read_with_the_poses_asked_for(written: Written) -> None:
    sitters = layouts.PLANS[CSV.layout](CSV)[0]
    asked = {stem: pose for sitter in sitters for stem, pose in zip(sitter.stems, sitter.poses, strict=True)}
    listings = [table_source(parse_table(TABLE), part).listed(written["csv"]) for part in ("train", "test")]
    subjects = [{entry.group for entry in listing.entries} for listing in listings]
    assert [len(group) for group in subjects] == [4, 1] and not subjects[0] & subjects[1]
    assert not listings[0].unusable and not listings[1].unusable
    for entry in listings[0].entries + listings[1].entries:
        *pose, distance = entry.target or ()
        assert pose == pytest.approx(asked.pop(f"CSV/{entry.stem}".removesuffix(".jpg")), abs=1e-4)
        assert 60 < distance < 220 and entry.group == entry.stem.split("/")[1]
    assert not asked, "every rendered picture is in the table"


def test_the_distance_of_a_row_is_seen_in_its_box(written: Written) -> None:
    table = rows_of(written["csv"])
    height = [int(row["y1"]) - int(row["y0"]) for row in table]
    inverse = [1 / float(row["distance"]) for row in table]
    assert np.corrcoef(height, inverse)[0, 1] > 0.75
    for subject in {row["subject"] for row in table}:
        near_and_far = [float(row["distance"]) for row in table if row["subject"] == subject]
        assert max(near_and_far) > 1.3 * min(near_and_far), "from picture to picture, not from person to person"


def test_the_distance_is_that_of_the_camera_in_cm(written: Written) -> None:
    for sitter in layouts.PLANS[CSV.layout](CSV)[0]:
        rng = CSV.generator(sitter.stream, 0)
        height = build_head(draw_traits(rng), rng).height
        for row in rows_of(written["csv"]):
            if row["subject"] == sitter.stems[0].split("/")[2]:
                fill = height * FOCAL / (10 * float(row["distance"]))
                assert 0.4 - 1e-4 < fill < 0.8 + 1e-4


def test_a_box_holds_the_head_and_is_not_the_picture(written: Written) -> None:
    for row in rows_of(written["csv"]):
        x0, y0, x1, y1 = (int(row[name]) for name in ("x0", "y0", "x1", "y1"))
        assert 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 64
        assert 0.2 * 64 < x1 - x0 < 0.95 * 64 and y1 - y0 > 0.3 * 64
        assert x0 < 32 < x1 and y0 < 32 < y1, "the head is about the middle"
        with Image.open(written["csv"] / "CSV" / row["image"]) as picture:
            assert picture.size == (64, 64) and picture.format == "JPEG"


@pytest.mark.parametrize("fill", [0.45, 0.8])
@pytest.mark.parametrize("pose", [(0, 0, 0), (60, -20, 30), (-40, 25, -10)])
def test_a_box_is_tight_around_what_is_drawn_of_a_head(pose: tuple[float, float, float], fill: float) -> None:
    rng, size = np.random.default_rng(7), 96
    head, stage = build_head(draw_traits(rng), rng), scene.draw_scene(rng, size, wild=True)
    shot = scene.shoot(head, replace(stage, fill=fill, fills=(0.4, 0.85)), np.array(pose), rng)
    follows = (head.follow[head.triangles, 0] == 1).all(1)
    alone = replace(head, triangles=head.triangles[follows], two_sided=head.two_sided[follows])
    cover = render(alone, shot.rotation, shot.shift, shot.rotation, size, None)[0][..., 3]
    columns, lines = np.flatnonzero(cover.any(0)), np.flatnonzero(cover.any(1))
    drawn = (columns[0], lines[0], columns[-1] + 1, lines[-1] + 1)
    assert np.abs(np.subtract(layouts.head_box(head, shot), drawn)).max() <= 1


def test_a_table_that_was_cut_off_is_completed(written: Written, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise(out=tmp_path, progress=stop, **asdict(CSV))
    assert not list(tmp_path.rglob("*.csv")) and not list(tmp_path.glob("*manifest*"))
    manifest = json.loads(synthesise(out=tmp_path, **asdict(CSV)).read_text())
    assert manifest["images"] == {"CSV/labels.csv": 30}
    assert contents(tmp_path) == contents(written["csv"])


def test_all_layouts_share_a_folder(tmp_path: Path) -> None:
    for layout in layouts.LAYOUTS:
        synthesise(layout, tmp_path, 2, 1, 32, 0)
    before = contents(tmp_path)
    for layout in layouts.LAYOUTS:
        synthesise(layout, tmp_path, 2, 1, 32, 0)
    assert contents(tmp_path) == before


def test_a_complete_set_is_reused(written: Written) -> None:
    manifest = written["biwi"] / "biwi-manifest.json"
    files = {path: path.stat().st_mtime_ns for path in written["biwi"].rglob("*")}
    calls: list[tuple[int, int]] = []
    assert synthesise("biwi", written["biwi"], 4, 5, 48, 3, lambda *call: calls.append(call)) == manifest
    assert {path: path.stat().st_mtime_ns for path in written["biwi"].rglob("*")} == files and not calls
    assert json.loads(manifest.read_text())["subjects"] == 4


def test_other_arguments_and_other_renderer_are_refused(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(written["biwi"])
    with pytest.raises(UserError, match=r"'seed': 3.*asked for.*'seed': 9.*another --out") as refusal:
        synthesise("biwi", written["biwi"], 4, 5, 48, 9)
    assert "\n" not in str(refusal.value)
    monkeypatch.setattr(sets, "RENDERER", -1)
    with pytest.raises(UserError, match="'renderer': -1"):
        synthesise("biwi", written["biwi"], 4, 5, 48, 3)
    assert contents(written["biwi"]) == before


def test_a_whole_turn_of_roll_changes_nothing_else_and_has_no_seam() -> None:
    turned = replace(CSV, roll=180.0)
    usual, poses = (np.concatenate([s.poses for s in layouts.PLANS["csv"](r)[0]]) for r in (CSV, turned))
    assert np.array_equal(usual[:, :2], poses[:, :2]) and (abs(poses[:, 2]) <= 180).all()
    assert (abs(poses[:, 2]) > 60).mean() > 0.4 and (abs(usual[:, 2]) <= 60).all()
    rng = np.random.default_rng(0)
    head, view = build_head(draw_traits(rng), rng), scene.draw_scene(rng, 64, wild=True)
    view = sets.restage(view, turned, np.random.default_rng(0))
    ends = [scene.shoot(head, view, np.array([20.0, 5, roll]), np.random.default_rng(1)) for roll in (-180, 180, 150)]
    first, last, other = (end.picture.astype(int) for end in ends)
    assert abs(first - last).mean() < 0.5 < 3 < abs(first - other).mean()


@pytest.mark.parametrize(("layout", "roll", "message"), [
    ("biwi", 180, "roll is of layout csv, got layout biwi: leave roll out, or set layout to csv"),
    ("csv", 181, "roll must be from 0 to 180, got 181"),
    ("csv", -1, "roll must be from 0 to 180, got -1"),
])  # fmt: skip
def test_a_roll_that_cannot_be_rendered_is_refused(tmp_path: Path, layout: str, roll: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        synthesise(layout, tmp_path, 4, 5, 48, 3, roll=roll)


def test_a_set_of_another_roll_is_refused_and_one_of_an_earlier_version_is_whole(tmp_path: Path) -> None:
    manifest = synthesise("csv", tmp_path, 2, 1, 32, 3)
    assert "roll" not in json.loads(manifest.read_text())
    with pytest.raises(UserError, match=r"'roll': None.*asked for.*'roll': 90"):
        synthesise("csv", tmp_path, 2, 1, 32, 3, roll=90)


def test_interrupted_run_is_no_set_and_is_completed(written: Written, tmp_path: Path) -> None:
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
    assert contents(tmp_path) == contents(written["biwi"])


def test_set_with_a_lost_picture_is_rendered_again(tmp_path: Path) -> None:
    synthesise("biwi", tmp_path, 2, 1, 32, 0)
    before = contents(tmp_path)
    (tmp_path / "BIWI/hpdb/01/frame_00003_rgb.png").unlink()
    synthesise("biwi", tmp_path, 2, 1, 32, 0)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("layout", "stranger"),
    [
        ("biwi", "BIWI/hpdb/01/frame_00003_depth.bin"),
        ("300w_lp", "AFLW2000/image04375.jpg"),
        ("csv", "CSV/test.csv"),
    ],
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
        ({"layout": "aflw"}, r"layout must be one of \['biwi', '300w_lp', 'csv'\], got 'aflw'"),
        ({"subjects": 1}, "subjects must be a whole number of at least 2, got 1"),
        ({"frames": 0}, "frames must be a whole number of at least 1, got 0"),
        ({"size": 31}, "size must be a whole number of at least 32, got 31"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"frames": 2.5}, "frames must be a whole number of at least 1, got 2.5"),
    ],
)
def test_wrong_arguments_are_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"layout": "biwi", "subjects": 2, "frames": 1, "size": 32, "seed": 0}
    with pytest.raises(UserError, match=f"^{message}$"):
        synthesise(out=tmp_path / "new", **arguments | change)
    assert not (tmp_path / "new").exists()


def test_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="out must be a folder that can be written"):
            synthesise("biwi", out, 2, 1, 32, 0)
