"""Videos and photographs as they are read, and what is said where they cannot be."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bel.data.images import ORIENTATION, UPRIGHT
from bel.training import checkpoint
from results.predict import command as predict
from results.predict import source
from tests.results.conftest import opencv, table

AXES = ("yaw", "pitch", "roll")


def film(path, images, rate=10):
    """Write a video with OpenCV."""
    cv2 = opencv()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), rate, images[0].size)
    for image in images:
        writer.write(cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def test_a_video_gives_frames_and_a_video(made, rendered, tmp_path, capsys):
    cv2 = opencv()
    paths = sorted((rendered / "BIWI" / "hpdb" / "01").glob("*_rgb.*"))[:7]
    images = [Image.open(path).convert("RGB") for path in paths]
    video, out = film(tmp_path / "seven.avi", images), tmp_path / "out"
    assert predict.main([str(video), "--checkpoint", made(), "--out", str(out), "--every", "2", "--limit", "3"]) == 0
    rows = table(out)
    assert [(row["file"], row["frame"]) for row in rows] == [("seven.avi", str(i)) for i in (0, 2, 4)]
    assert "3 predictions of 3 frames, in " in capsys.readouterr().out
    capture = cv2.VideoCapture(str(out / "annotated.mp4"))
    assert (capture.get(cv2.CAP_PROP_FRAME_COUNT), capture.get(cv2.CAP_PROP_FPS)) == (3, 5)
    assert capture.get(cv2.CAP_PROP_FRAME_WIDTH) == images[0].width

    decoded = list(source.open_source(video, 1, None).pictures(print, "apply"))
    assert [picture.frame for picture in decoded] == list(range(7))
    for picture, image in zip(
        decoded, images, strict=True
    ):  # red is red: the losses of JPEG are less than those of a swap
        assert np.abs(np.asarray(picture.image, float) - np.asarray(image, float)).mean() < 12

    boxes = tmp_path / "boxes.csv"
    boxes.write_text("frame,x0,y0,x1,y1\n4,5,5,50,50\n")
    assert (
        predict.main([str(video), "--checkpoint", made(), "--out", str(tmp_path / "boxed"), "--boxes", str(boxes)]) == 0
    )
    assert [row["frame"] for row in table(tmp_path / "boxed")] == ["4"]
    assert "7 frames, 6 without a box" in capsys.readouterr().out


def test_a_video_that_is_cut_short_is_noted(made, tmp_path, capsys):
    images = [Image.effect_noise((64, 48), 60).convert("RGB") for _ in range(40)]
    whole = film(tmp_path / "whole.avi", images).read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    assert predict.main([str(tmp_path / "cut.avi"), "--checkpoint", made(), "--out", str(tmp_path / "out")]) == 0
    read = len(table(tmp_path / "out"))
    assert 10 < read < 30
    assert (
        capsys.readouterr().err == f"note: {read} of the 40 frames that the video announces can be read: is it whole?\n"
    )


def test_a_damaged_video_is_one_line(made, tmp_path, capfd):
    opencv()
    for content in (b"", b"no video" * 99, b"\0\0\0\x18ftypmp42" + bytes(99)):
        (tmp_path / "x.mp4").write_bytes(content)
        assert predict.main([str(tmp_path / "x.mp4"), "--checkpoint", made(), "--out", str(tmp_path / "out")]) == 2
        err = capfd.readouterr().err
        assert err.startswith("error: cannot read the video") and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [["x.mp4"], ["a.jpg", "--detect"]])
def test_a_missing_opencv_is_one_line(made, pictures, monkeypatch, capsys, more):
    def missing(name):
        raise ImportError(name)

    (pictures / "x.mp4").write_bytes(b"")
    monkeypatch.setattr(source, "importlib", type(sys)("importlib"))
    monkeypatch.setattr(source.importlib, "import_module", missing, raising=False)
    assert predict.main([str(pictures / more[0]), "--checkpoint", made(), *more[1:]]) == 2
    assert capsys.readouterr().err.endswith("needs OpenCV: pip install 'bel-sweeps[video]'\n")


@pytest.mark.parametrize("turn", [2, 5, 6])
@pytest.mark.parametrize("boxed", [False, True])
def test_a_photograph_is_turned_as_those_were_that_trained(made, tmp_path, capsys, turn, boxed):
    (tmp_path / "in").mkdir()
    pixels = np.random.default_rng(0).integers(256, size=(40, 60, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    stored = Image.fromarray(pixels)
    stored.save(tmp_path / "in" / "a.png", exif=exif)
    stored.save(tmp_path / "in" / "stored.png")
    stored.transpose(UPRIGHT[turn]).save(tmp_path / "in" / "upright.png")
    more = {"crop": "boxes", "boxes": "any.csv"} if boxed else {}
    options = ["--boxes", str(tmp_path / "boxes.csv")] if boxed else []
    (tmp_path / "boxes.csv").write_text("\n".join(f"{name},3,4,30,25" for name in ("a", "stored", "upright")))

    def predicted(model):
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        assert predict.main([str(tmp_path / "in"), "--checkpoint", model, "--out", str(out), *options]) == 0
        rows = {row["file"].removesuffix(".png"): row for row in table(out)}
        sides = Image.open(out / "pictures" / "a.png").size
        return {name: (row["x1"], *(f"{float(row[axis]):.3f}" for axis in AXES)) for name, row in rows.items()}, sides

    apply, sides = predicted(made(**more))
    assert apply["a"] == apply["upright"] != apply["stored"] and sides == stored.transpose(UPRIGHT[turn]).size
    ignore, sides = predicted(model := made(**more, exif="ignore"))
    assert ignore["a"] == ignore["stored"] != ignore["upright"] and sides == (60, 40)
    assert "was trained on images as stored" in capsys.readouterr().err
    state = torch.load(model, weights_only=True)
    del state["config"]["exif"]  # as checkpoints of before
    checkpoint.save(state, Path(model))
    assert predicted(model)[0] == ignore


def test_a_picture_that_is_too_large_is_named_and_the_others_are_predicted(made, pictures, tmp_path, capsys):
    Image.new("L", (14_000, 500)).save(pictures / "long.png")
    Image.new("1", (13_300, 13_300)).save(pictures / "large.png")
    command = [str(pictures), "--checkpoint", made(), "--out"]
    assert predict.main([*command, str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if line.startswith("not predicted: ")]
    assert (
        len(lines) == 2
        and all("89,478,485 are allowed" in line for line in lines)
        and len(table(tmp_path / "out")) == 3
    )
    Image.new("L", (1000, 1000)).save(pictures / "a.jpg")
    (tmp_path / "boxes.csv").write_text("a.jpg,-4700,-4700,4800,4800\nb.png,1,1,9,9\n")
    for more in ({"crop": "published"}, {"crop": "boxes", "boxes": "any.csv"}):
        out = tmp_path / more["crop"]
        command = [str(pictures), "--checkpoint", made(**more), "--boxes", str(tmp_path / "boxes.csv")]
        assert predict.main([*command, "--out", str(out)]) == 1
        assert "a.jpg: its crop has 9500 x 9500 pixels" in capsys.readouterr().err and len(table(out)) == 1


def test_a_video_is_turned_as_pictures_are(tmp_path):
    cv2 = opencv()
    path = tmp_path / "turned.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), 90, np.uint8))
    writer.release()
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 44  # a quarter turn, as a phone that is held upright writes it
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30)
    path.write_bytes(content)
    sizes = [next(source.open_source(path, 1, None).pictures(print, exif)).image.size for exif in ("apply", "ignore")]
    assert sizes == [(48, 64), (64, 48)]
