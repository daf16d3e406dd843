"""Rendered sets: poses, names and lists as planned, and a set is whole, repeatable and never mixed."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bel.angles import euler_to_matrix, matrix_to_euler
from bel.data.biwi import BIWI_TEST, BIWI_TRAIN
from bel.data.synthetic import layouts, sets, synthesise
from bel.data.w300lp import AFLW2000, W300LP
from bel.errors import UserError

BIWI, W300 = layouts.Request("biwi", 4, 5, 48, 3), layouts.Request("300w_lp", 5, 3, 64, 3)
Written = dict[str, Path]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A small set of each layout; read only."""
    root = tmp_path_factory.mktemp("sets")
    for request in (BIWI, W300):
        synthesise(out=root / request.layout, **asdict(request))
    return {layout: root / layout for layout in ("biwi", "300w_lp")}


def test_readers_find_the_rendered_poses(written: Written) -> None:
    sitters = layouts.plan(BIWI)[0] + layouts.plan(W300)[0]
    asked = {stem: pose for sitter in sitters for stem, pose in zip(sitter.stems, sitter.poses, strict=True)}
    places = [(BIWI_TRAIN, "biwi", "BIWI/hpdb/"), (BIWI_TEST, "biwi", "BIWI/hpdb/")]
    places += [(W300LP, "300w_lp", "300W_LP/"), (AFLW2000, "300w_lp", "AFLW2000/")]
    for source, layout, folder in places:
        for entry in source.entries(written[layout]):
            assert source.read(entry.label).target == pytest.approx(asked.pop(folder + entry.stem), abs=1e-4)
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


@pytest.mark.parametrize("asked", [BIWI, W300])
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
    sitters, lists = layouts.plan(W300)
    train, test = lists["300W_LP/overall_filelist_clean.txt"], lists["AFLW2000/overall_filelist_clean.txt"]
    assert train[:4] == ["AFW/AFW_000001_0", "AFW/AFW_000001_1", "AFW/AFW_000001_2", "HELEN/HELEN_000002_0"]
    assert {stem.split("/")[0] for stem in train} == {"AFW", "HELEN", "IBUG", "LFPW"}
    assert len(train) == 15 and test == [f"image{number:05d}" for number in (1, 2, 3, 4)]
    assert len({sitter.stream for sitter in sitters}) == len(sitters) == 9


def test_whole_set_is_found_again(written: Written) -> None:
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
    arguments: dict[str, Any] = {"layout": "biwi", "subjects": 2, "frames": 1, "size": 32, "seed": 0}
    with pytest.raises(UserError, match=f"^{message}$"):
        synthesise(out=tmp_path / "new", **arguments | change)
    assert not (tmp_path / "new").exists()


def test_out_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="out must be a folder that can be written"):
            synthesise("biwi", out, 2, 1, 32, 0)
