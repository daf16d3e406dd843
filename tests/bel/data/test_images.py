"""Pictures as people have them: every orientation in every format, what is too large, damaged or of no format that is meant."""

import io
import json
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from bel.data import command, images
from bel.data.images import decoded, stored
from bel.data.prepare.crops import cut
from bel.data.readers.base import Entry, Label
from bel.errors import UserError

PIXELS = np.random.default_rng(0).integers(256, size=(24, 40, 3), dtype=np.uint8)
FORMATS = {
    "jpg": {"quality": 95},
    "png": {},
    "webp": {"lossless": True},
    "tif": {},
    "lzw.tif": {"compression": "tiff_lzw"},
}


def written(path, turn, **options):
    """The same pixels in a file whose EXIF asks for an orientation, and those pixels as they are in it."""
    image = Image.fromarray(PIXELS)
    image.save(path, **options)
    plain = np.asarray(Image.open(path).convert("RGB"))
    exif = Image.Exif()
    exif[images.ORIENTATION] = turn
    image.save(path, exif=exif, **options)
    return plain


def by_hand(pixels, turn):
    """Pixels turned as the EXIF standard says: where row 0 and column 0 of what is stored are to be seen."""
    return {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: pixels[::-1].transpose(1, 0, 2),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: pixels[:, ::-1].transpose(1, 0, 2),
    }.get(turn, pixels)


@pytest.mark.parametrize(
    ("ending", "turn"), [(e, t) for e in FORMATS for t in range(10) if e != "lzw.tif" or t in range(1, 9)]
)
def test_every_orientation_of_every_format_is_applied_or_ignored(tmp_path, ending, turn):
    path = tmp_path / f"a.{ending}"
    plain = written(path, turn, **FORMATS[ending])
    assert np.array_equal(decoded(path, "ignore"), plain)
    assert np.array_equal(decoded(path, "apply"), by_hand(plain, turn))
    assert stored(path)[1] == (turn if 1 <= turn <= 8 else 1)
    if 1 < turn < 9:
        assert np.array_equal(decoded(path, "apply"), ImageOps.exif_transpose(Image.open(path)).convert("RGB"))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"no EXIF", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
@pytest.mark.parametrize("ending", ["jpg", "png", "webp"])
def test_broken_exif_is_as_none(tmp_path, ending, exif):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(PIXELS).save(path, exif=exif)
    assert np.array_equal(decoded(path, "apply"), decoded(path, "ignore"))
    assert decoded(path, "apply").size == (40, 24)


def test_a_picture_with_a_preview_of_itself_is_read(tmp_path):
    image = Image.fromarray(PIXELS)
    image.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[image.resize((8, 8))])
    assert decoded(tmp_path / "a.jpg", "apply").size == (40, 24)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_what_eight_bits_a_colour_hold_is_read_as_pillow_reads_it(tmp_path, mode, recwarn):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image = Image.fromarray(PIXELS).convert(mode)
    image.save(path)
    assert np.array_equal(decoded(path, "apply"), Image.open(path).convert("RGB"))
    assert not recwarn.list


def test_transparency_is_left_out_without_a_warning(tmp_path, recwarn):
    Image.fromarray(PIXELS).quantize(16).save(tmp_path / "a.png", transparency=bytes(range(0, 160, 10)))
    colours = Image.fromarray(PIXELS).quantize(16).convert("RGB")
    assert np.array_equal(decoded(tmp_path / "a.png", "apply"), colours)
    assert not recwarn.list


def sixteen(mode):
    """A picture of 16 bits a colour, or of floats."""
    kind = {"I;16": np.uint16, "F": np.float32}[mode]
    return Image.fromarray((PIXELS[..., 0].astype(kind)) * 200)


def animated(format):
    """A file of three pictures."""
    file, rest = io.BytesIO(), [Image.fromarray(np.roll(PIXELS, i, 0)) for i in (3, 7)]
    Image.fromarray(PIXELS).save(file, format, save_all=True, append_images=rest)
    return file.getvalue()


def saved(image, format, **options):
    """The bytes of a picture."""
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


WHOLE = {f: saved(Image.fromarray(PIXELS), f) for f in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it is empty"),
        (b"no picture at all", "it is damaged, or none of JPEG, PNG"),
        (saved(Image.fromarray(PIXELS), "EPS"), "none of JPEG"),
        (saved(Image.fromarray(PIXELS), "PDF"), "none of JPEG"),
        (saved(Image.fromarray(PIXELS), "ICO"), "none of JPEG"),
        (saved(Image.fromarray(PIXELS), "TGA"), "none of JPEG"),
        (saved(sixteen("I;16"), "PNG"), "pixels are of mode I;16"),
        (saved(sixteen("I;16"), "TIFF"), "pixels are of mode I;16"),
        (saved(sixteen("F"), "TIFF"), "pixels are of mode F"),
        *((animated(f), "it holds 3 pictures") for f in ("GIF", "PNG", "WEBP", "TIFF")),
        *((content[: len(content) // 2], "cannot read the image") for content in WHOLE.values()),
        *((content[:20], "cannot read the image") for content in WHOLE.values()),
    ],
)
def test_what_cannot_be_read_rightly_is_one_line(tmp_path, content, says, recwarn, capfd):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says) as told:
        decoded(path, "apply")
    assert str(path) in str(told.value) and "\n" not in str(told.value)
    assert not recwarn.list and capfd.readouterr().err == ""


@pytest.mark.parametrize("side", [9460, 13_300, 20_000])
def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, side, recwarn):
    Image.new("1", (side, side)).save(tmp_path / "a.png")
    tracemalloc.start()
    with pytest.raises(UserError, match="89,478,485"):
        decoded(tmp_path / "a.png", "apply")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert not recwarn.list


def test_a_phones_picture_is_read_whatever_its_ending(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="HEIF: pip install 'bel-sweeps[heic]'")
    smooth = Image.fromarray(PIXELS).resize((400, 240), Image.Resampling.BICUBIC)
    heif.from_pillow(smooth).save(tmp_path / "a.jpg", quality=95)
    for exif in images.EXIF:
        assert np.abs(np.asarray(decoded(tmp_path / "a.jpg", exif), float) - np.asarray(smooth, float)).mean() < 10


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_phones_picture_is_upright_by_itself(tmp_path, turn):
    heif = pytest.importorskip("pillow_heif", reason="HEIF: pip install 'bel-sweeps[heic]'")
    smooth = np.asarray(Image.fromarray(PIXELS).resize((400, 240), Image.Resampling.BICUBIC))
    exif = Image.Exif()
    exif[images.ORIENTATION] = turn
    file = heif.from_pillow(Image.fromarray(smooth))
    file.info["exif"] = exif.tobytes()
    file.save(tmp_path / "a.heic", quality=95, exif=exif.tobytes())
    for rule in images.EXIF:
        found = np.asarray(decoded(tmp_path / "a.heic", rule), float)
        assert found.shape == by_hand(smooth, turn).shape and np.abs(found - by_hand(smooth, turn)).mean() < 10


def test_a_phones_picture_without_what_reads_it_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError, match=r"it is HEIF, which needs pillow-heif: pip install 'bel-sweeps\[heic\]'"):
        decoded(tmp_path / "a.heic", "apply")


TABLE = {"name": "csv", "train": "labels.csv", "test": "labels.csv", "targets": {"age": {"low": 0, "high": 100}}}


@pytest.fixture
def table(tmp_path):
    """A function that writes a table of own pictures, given as bytes by name, with boxes, and gives fields of a config."""

    def write(pictures, box=""):
        root = tmp_path / "data"
        root.mkdir(exist_ok=True)
        for name, content in pictures.items():
            (root / name).write_bytes(content)
        lines = [f"{name},{30 + i}{box}" for i, name in enumerate(pictures)]
        (root / "labels.csv").write_text("image,age" + ",x0,y0,x1,y1" * bool(box) + "\n" + "\n".join(lines))
        protocol = TABLE | ({"box": ["x0", "y0", "x1", "y1"]} if box else {})
        (tmp_path / "protocol.json").write_text(json.dumps(protocol))
        return {
            "protocol": str(tmp_path / "protocol.json"), "data-root": str(root), "cache-dir": str(tmp_path / "cache"),
            "image-size": "32", "part": "train",
        }  # fmt: skip

    return write


def run(fields, *options, action="prepare"):
    """Exit code of a command of bel-data."""
    return command.main([action, *(f"--{name}={value}" for name, value in fields.items()), *options])


def check(fields, tmp_path, *options):
    """The exit code of a check, and its report."""
    arguments = [fields["data-root"], "--protocol", fields["protocol"], "--out", str(tmp_path / "check"), *options]
    return command.main(["check", *arguments]), json.loads((tmp_path / "check" / "report.json").read_text())


def turned_jpeg(turn):
    """A JPEG whose EXIF asks for an orientation."""
    exif = Image.Exif()
    exif[images.ORIENTATION] = turn
    return saved(Image.fromarray(PIXELS), "JPEG", exif=exif)


@pytest.mark.parametrize("turn", [2, 3, 6, 7])
def test_training_and_check_see_a_picture_upright_unless_told_otherwise(table, tmp_path, turn, capsys):
    fields = table({"a.jpg": turned_jpeg(turn), "b.png": WHOLE["PNG"]})
    seen = {}
    for rule in images.EXIF:
        assert run(fields, f"--exif={rule}") == 0
        folder = Path(capsys.readouterr().out.splitlines()[-1].strip())
        seen[rule] = np.load(folder / "images.npy")[0]
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["options"]["exif"] == rule
        image = decoded(Path(fields["data-root"]) / "a.jpg", rule)
        assert np.array_equal(seen[rule], cut(image, Entry("", Path(), ""), Label(np.zeros(1)), "frame", 0.0, (34, 34)))
        _, report = check(fields, tmp_path, f"--exif={rule}")
        text = next(note["sentence"] for note in report["notes"] if note["kind"] == "EXIF orientation")
        assert text.endswith("turned upright" if rule == "apply" else "read as stored")
    assert not np.array_equal(seen["apply"], seen["ignore"])
    assert run(fields) == 0 and len(list((tmp_path / "cache").iterdir())) == 2, "the default is one of the two"


@pytest.mark.parametrize(
    ("content", "box"),
    [
        (saved(Image.new("L", (14_000, 500)), "PNG"), ""),
        (saved(Image.new("L", (13_300, 13_300)), "PNG"), ""),
        (saved(Image.new("L", (500, 20_000)), "PNG"), ",0,0,500,20000"),
        (saved(Image.new("L", (4000, 1000)), "PNG"), ",-8000,-8000,9000,9000"),
        (turned_jpeg(6)[:500], ""),
    ],
    ids=["long", "large", "tall box", "huge box", "cut off"],
)
def test_a_picture_that_is_too_large_is_one_line_or_skipped(table, tmp_path, content, box, capsys):
    fields = table({"a.png": WHOLE["PNG"], "b.png": content}, box)
    if box:
        (tmp_path / "data" / "labels.csv").write_text(f"image,age,x0,y0,x1,y1\na.png,3,0,0,9,9\nb.png,4{box}\n")
    assert run(fields) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert (
        line.startswith("error: ") and "b.png" in line and ("89,478,485 are allowed" in line or "cannot read" in line)
    )
    assert run(fields, "--on-missing=skip") == 0
    assert "1 images of 1 groups, 34 x 34 px, 0 beyond the limit, 1 skipped" in capsys.readouterr().out
    code, report = check(fields, tmp_path)
    kinds = {problem["kind"] for problem in report["problems"] if problem["file"].endswith("b.png")}
    assert code == 1 and kinds & {"too large", "unreadable image"}


def test_a_phones_picture_trains(table, tmp_path, capsys):
    heif = pytest.importorskip("pillow_heif", reason="HEIF: pip install 'bel-sweeps[heic]'")
    heif.from_pillow(Image.fromarray(PIXELS)).save(tmp_path / "a.heic")
    fields = table({"a.heic": (tmp_path / "a.heic").read_bytes(), "b.png": WHOLE["PNG"]})
    assert run(fields) == 0 and "2 images of 2 groups" in capsys.readouterr().out
    assert {problem["kind"] for problem in check(fields, tmp_path)[1]["problems"]} == {"leak"}  # train and test are one
