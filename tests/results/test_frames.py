"""Videos and photographs as they are read, and what is said where they cannot be."""

import sys

import numpy as np
import pytest
from PIL import Image

from results.predict import command as predict
from results.predict import frames
from tests.results.conftest import opencv, table


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

    decoded = list(frames.open_source(video, 1, None).pictures(print))
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
    monkeypatch.setattr(frames, "importlib", type(sys)("importlib"))
    monkeypatch.setattr(frames.importlib, "import_module", missing, raising=False)
    assert predict.main([str(pictures / more[0]), "--checkpoint", made(), *more[1:]]) == 2
    assert capsys.readouterr().err.endswith("needs OpenCV: pip install 'bel-sweeps[video]'\n")


def test_a_photograph_is_turned_as_its_exif_says(made, pictures, tmp_path):
    with Image.open(pictures / "b.png") as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    for name in ("turned.png", "pictures/b.png"):
        assert predict.main([str(tmp_path / name), "--checkpoint", made(), "--out", str(tmp_path / name[:6])]) == 0
    turned, straight = (table(tmp_path / name)[0] for name in ("turned", "pictur"))
    assert turned == straight | {"file": "turned.png"}
