"""Predictions of files: those of evaluation for the same pixels; tables, pictures, sheets, and what a user gets wrong."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from bel.data.checking.sheet import BLUE, TILE
from results.predict import command as predict
from results.store.runs import fetch_predictions
from tests.conftest import children, empty_store, working_in
from tests.results.conftest import table

CLOSE = 1e-4  # degrees
LENGTHS = {"low": 0.0, "high": 3.0, "levels": 30}


def blue(image):
    """Whether the line that shows where a face looks is drawn in."""
    return (np.asarray(image) == BLUE).all(-1).any()


@pytest.mark.parametrize("head", ["bel", "direct", "classification"])
def test_the_same_pixels_give_the_stored_validation_predictions(swept_store, rendered, tmp_path, capsys, head):
    trial = next(run for run in children("fixture")[1] if run.data.params["head"] == head)
    out = tmp_path / "out"
    assert predict.main([str(rendered / "BIWI" / "hpdb"), "--run-id", trial.info.run_id, "--out", str(out)]) == 0
    rows = {row["file"].removesuffix("_rgb.png").removesuffix("_rgb.jpg"): row for row in table(out)}
    stored = fetch_predictions(trial)
    ours = np.array([[float(rows[name][axis]) for axis in stored.axes] for name in stored.names])
    assert np.abs(ours - stored.values[stored.decoders[0]]).max() <= CLOSE
    if head == "direct":
        assert all(row["std_yaw"] == "" for row in rows.values())
    else:
        std = np.array([[float(rows[name][f"std_{axis}"]) for axis in stored.axes] for name in stored.names])
        assert np.abs(std - stored.values["std"]).max() <= CLOSE
    printed = capsys.readouterr()
    assert (
        printed.out.count("\n") == 1 and f"{len(rows)} predictions of {len(rows)} pictures, in {out}, " in printed.out
    )
    assert printed.err == ""


def test_a_sweep_stands_for_its_best_trial(swept_store, rendered, tmp_path):
    parent, trials = children("fixture")
    best = min(trials, key=lambda run: run.data.metrics["val/best_mae_groups"])
    source = str(rendered / "BIWI" / "hpdb" / "01")
    for run_id, out in ((parent.info.run_id, "sweep"), (best.info.run_id, "trial")):
        assert predict.main([source, "--run-id", run_id, "--out", str(tmp_path / out), "--limit", "3"]) == 0
    assert table(tmp_path / "sweep") == table(tmp_path / "trial")


def test_a_folder_gives_a_table_pictures_and_a_sheet(made, pictures, tmp_path):
    with working_in(tmp_path):
        for out in ("predict", "predict-2"):
            assert predict.main([str(pictures), "--checkpoint", made()]) == 0
            assert [row["file"] for row in table(tmp_path / "runs" / out)] == ["a.jpg", "b.png", "below/c.bmp"]
        assert (tmp_path / "mlflow.db").read_bytes() == empty_store(), "no store is asked for a file"
        assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["predict", "predict-2"]
    out = tmp_path / "runs" / "predict"
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    drawn = ["pictures/a.jpg", "pictures/b.png", "pictures/below/c.bmp.png"]
    assert written == [*drawn, "predictions.csv", "sheet.jpg"]
    with Image.open(out / "pictures" / "b.png") as image, Image.open(pictures / "b.png") as before:
        assert image.size == before.size
        assert blue(image) and not blue(before)
    with Image.open(out / "sheet.jpg") as sheet:
        assert sheet.width == 6 * TILE


def test_targets_that_are_no_pose_are_written_on(made, pictures, tmp_path):
    protocol = {"name": "csv", "train": "labels.csv", "targets": {"left": LENGTHS | {"unit": "cm"}, "right": LENGTHS}}
    assert predict.main([str(pictures), "--checkpoint", made(protocol=protocol), "--out", str(tmp_path / "out")]) == 0
    assert {"left", "right", "std_left", "std_right"} <= set(table(tmp_path / "out")[0])
    with Image.open(tmp_path / "out" / "pictures" / "b.png") as image:
        assert not blue(image)


def test_one_damaged_picture_does_not_lose_the_others(made, pictures, tmp_path, capsys):
    whole = (pictures / "b.png").read_bytes()
    (pictures / "b.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(pictures / "deep.png")
    command = [str(pictures), "--checkpoint", made()]
    assert predict.main([*command, "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert "2 predictions of 2 pictures, 2 not predicted, in " in printed.out
    first, second = printed.err.strip().splitlines()
    assert first.startswith(f"not predicted: cannot read the image {pictures / 'b.png'}: ")
    assert "deep.png: its pixels are of mode I;16" in second
    assert [row["file"] for row in table(tmp_path / "out")] == ["a.jpg", "below/c.bmp"]


def test_what_a_user_gets_wrong(swept_store, made, pictures, tmp_path, capsys):
    source, model = str(pictures), ["--checkpoint", made()]
    boxes, empty, text, broken = (tmp_path / name for name in ("boxes.csv", "empty", "source.txt", "broken.jpg"))
    empty.mkdir()
    text.write_text("a face")
    broken.write_bytes(b"no picture")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    cases = [
        ([str(tmp_path / "none.jpg"), *model], "none.jpg does not exist: SOURCE is an image, a folder"),
        ([str(empty), *model], f"no image in {empty} or below"),
        ([str(text), *model], "SOURCE must be a folder of images, an image or a video, got"),
        ([str(broken), *model], f"none of 1 pictures can be used, the first: cannot read the image {broken}"),
        ([source, "--run-id", "0123"], "no run '0123' in the MLflow store sqlite:"),
        ([source, "--checkpoint", str(tmp_path / "none.pt")], "no checkpoint at"),
        ([source, *model, "--out", str(tmp_path / "full")], "--out must be a new or an empty folder"),
        ([source, *model, "--out", str(text)], "source.txt is a file"),
        ([source, *model, "--out", str(pictures / "new")], "where pictures are looked for: choose a folder elsewhere"),
        ([source, *model, "--every", "0"], "--every must be at least 1, got 0"),
        ([source, *model, "--grow", "0.5"], "--grow is of boxes: add --boxes FILE or --detect"),
        ([source, *model, "--detect", "--grow", "-0.5"], "--grow must be from -0.45 to 10, got -0.5"),
        ([source, *model, "--set", "crop=boxes"], "only ['device', 'eval_batch_size'] can be set"),
        ([source, *model, "--set", "device=tpu"], "device must be"),
        ([source, *model, "--boxes", str(tmp_path / "none.csv")], "cannot read the boxes"),
    ]
    contents = [
        ("", "boxes.csv is empty"),
        ("image,left,top,right,bottom\na,1,2,3,4", "must have the columns image,x0,y0,x1,y1"),
        ("a,1,2,3,4\na,1,2,3", "line 2: wanted image,x0,y0,x1,y1 with decimal points, got 'a,1,2,3'"),
        ("a,1,2,3,nan", "line 1: wanted"),
        ("a,10,2,10,9", "line 1: the box of a is empty"),
        ("z,1,2,30,40", "there is no box in any picture, of 1: with --boxes, name them"),
        ("a,100,2,130,40", "its box [100, 2, 130, 40] is not of this image of 60 x 40 pixels"),
    ]
    for content, *said in contents:
        boxes.write_text(content)
        refused([str(pictures / "a.jpg"), *model, "--boxes", str(boxes)], [*said], capsys, pictures)
    for arguments, said in cases:
        refused(arguments, [said], capsys, pictures)


def refused(arguments, said, capsys, pictures):
    """A command ends with 2, one line that says why, and nothing written."""
    before = sorted(pictures.parent.rglob("*"))
    assert predict.main(arguments) == 2, arguments
    err = capsys.readouterr().err.strip().splitlines()
    assert all(words in err[-1] for words in ("error: ", *said)), (arguments, err)
    assert len([line for line in err if not line.startswith("note: ")]) == 1
    left = [path for path in sorted(pictures.parent.rglob("*")) if path not in before and path.name != "runs"]
    assert not left


def test_every_file_that_is_not_read_is_counted_and_named(made, tmp_path, capsys):
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "below" / ".thumbnails").mkdir(parents=True)
    pixels = Image.fromarray(np.random.default_rng(0).integers(256, size=(40, 60, 3), dtype=np.uint8))
    for name in ("a.png", "no_ending", "b.jfif", "c.JPE", "below/d.dat"):
        pixels.save(folder / name, "PNG")
    unread = {
        "e.heic": b"\0\0\0\x18ftypheic" + bytes(99), "f.HEIC": b"\0\0\0\x18ftypheic" + bytes(99),
        "g.avif": b"\0\0\0\x1cftypavif", "h.svg": b"<svg/>", "i.pdf": b"%PDF-1.4", "j.cr2": b"II*\0" + bytes(99),
        "k.mp4": b"", "l.jpg": b"", "below/m.eps": b"%!PS-Adobe",
    }  # fmt: skip
    for name, content in unread.items():
        (folder / name).write_bytes(content)
    (folder / "n.png").symlink_to("nowhere")
    (folder / "o").symlink_to(tmp_path)
    os.mkfifo(folder / "p.jpg")
    for name in (".hidden.png", "labels.csv", "Thumbs.db", "pose.mat"):
        (folder / name).write_bytes(b"beside")
    assert predict.main([str(folder), "--checkpoint", made(), "--out", str(out)]) == 1
    assert {row["file"] for row in table(out)} == {"a.png", "no_ending", "b.jfif", "c.JPE", "below/d.dat"}
    named = (out / "not_predicted.txt").read_text().splitlines()
    unread = [*unread, "n.png", "o", "p.jpg"]
    assert len(named) == len(unread) and all(any(f"{folder / name}" in line for line in named) for name in unread)
    printed = capsys.readouterr()
    assert f"5 predictions of 5 pictures, {len(unread)} not predicted, in {out}, " in printed.out
    assert "; 5 files are no pictures: .hidden.png, Thumbs.db, below/.thumbnails, ..." in printed.out
    assert (
        printed.err.splitlines()[-1]
        == f"not predicted: {len(unread) - 10} more, all of them are in {out}/not_predicted.txt"
    )
    assert len(list((out / "pictures").rglob("*.*"))) == 5


def test_pictures_of_a_phone_are_predicted_or_named(made, tmp_path, capsys, monkeypatch):
    heif = pytest.importorskip("pillow_heif", reason="HEIF: pip install 'bel-sweeps[heic]'")
    folder = tmp_path / "in"
    folder.mkdir()
    smooth = Image.fromarray(np.random.default_rng(0).integers(256, size=(4, 6, 3), dtype=np.uint8)).resize((60, 40))
    smooth.save(folder / "a.png")
    for name in ("b.heic", "c.HEIF"):
        heif.from_pillow(smooth).save(folder / name, quality=-1)
    command = [str(folder), "--checkpoint", made(), "--out"]
    assert predict.main([*command, str(tmp_path / "read")]) == 0
    rows = table(tmp_path / "read")
    assert [row["file"] for row in rows] == ["a.png", "b.heic", "c.HEIF"]
    assert [float(row["yaw"]) for row in rows] == pytest.approx([float(rows[0]["yaw"])] * 3, abs=1)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as where the extra is not installed
    assert predict.main([*command, str(tmp_path / "unread")]) == 1
    printed = capsys.readouterr()
    assert "1 predictions of 1 pictures, 2 not predicted" in printed.out
    assert printed.err.count("it is HEIF, which needs pillow-heif: pip install 'bel-sweeps[heic]'") == 2


def test_pictures_of_one_name_but_for_the_ending_are_all_written(made, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.bmp", "a.bmp.png", "_a.bmp.png"):
        Image.new("RGB", (40, 40), "red").save(tmp_path / "in" / name)
    assert predict.main([str(tmp_path / "in"), "--checkpoint", made(), "--out", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out" / "pictures").iterdir())) == 3


def test_names_of_files_are_no_commands_to_a_terminal_or_a_spreadsheet(made, tmp_path, capsys):
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in ("=1+1.png", "a\nb.png", "c\x1b[2J.png"):
        Image.new("RGB", (40, 40)).save(folder / name)
    (folder / "d\n\x1b[2Jtest MAE 0.1.png").write_bytes(b"no picture")
    assert predict.main([str(folder), "--checkpoint", made(), "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert "d\\n\\x1b[2Jtest MAE 0.1.png" in printed.err and "\x1b" not in printed.out + printed.err
    assert [row["file"] for row in table(tmp_path / "out")] == ["'=1+1.png", "a\\nb.png", "c\\x1b[2J.png"]
