"""Every kind of bad data that was thought of: `bel-data prepare` says a line that names the file, and leaves nothing behind."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from bel.data.command import main
from bel.data.prepare import build, worker
from bel.data.prepare.worker import Task
from bel.data.readers.base import Entry, Label

STEM = {"biwi": "01/frame_00005", "aflw2000": "image00003"}


@pytest.fixture
def data(rendered, tmp_path):
    """A data_root with copies of all rendered sets, to be damaged."""
    for name in ("BIWI", "300W_LP", "AFLW2000"):
        shutil.copytree(rendered / name, tmp_path / "data" / name)
    return tmp_path / "data"


def files(root, protocol):
    """Image and label of one row of the training (BIWI) or test (AFLW2000) part."""
    stem = STEM[protocol]
    if protocol == "biwi":
        return root / "BIWI" / "hpdb" / f"{stem}_rgb.png", root / "BIWI" / "hpdb" / f"{stem}_pose.txt"
    return root / "AFLW2000" / f"{stem}.jpg", root / "AFLW2000" / f"{stem}.mat"


def run(root, tmp_path, capsys, *options, protocol="biwi"):
    """Exit code, the lines on stderr that are not a progress bar, and the text on stdout."""
    part = {"biwi": "train", "aflw2000": "test"}[protocol]
    arguments = ["prepare", "--protocol", protocol, "--part", part, "--data-root", str(root), "--crop", "published"]
    code = main([*arguments, "--cache-dir", str(tmp_path / "cache"), "--image-size", "32", *options])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return (
        code,
        [line for line in captured.err.splitlines() if line.strip() and not line.startswith("preparing")],
        captured.out,
    )


def cached(tmp_path):
    """What is in the cache, half-made arrays too."""
    return list((tmp_path / "cache").iterdir()) if (tmp_path / "cache").is_dir() else []


def rewritten(label, **changes):
    """Save a .mat again with other content; None leaves a variable out."""
    content = {name: value for name, value in loadmat(label).items() if not name.startswith("__")} | changes
    savemat(label, {name: value for name, value in content.items() if value is not None})


def cut_short(path, share):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def in_the_middle(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = b"\0" * 40
    path.write_bytes(content)


def replaced_by_link(path, to):
    path.unlink()
    path.symlink_to(to)


def replaced_by_folder(path):
    path.unlink()
    path.mkdir()


def huge(path):
    """A PNG whose header promises ten billion pixels."""
    Image.new("L", (100_000, 1)).save(path)
    content = bytearray(path.read_bytes())
    content[20:24] = (100_000).to_bytes(4, "big")
    import zlib

    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    path.write_bytes(content)


# kind: protocol, what is done to the image and the label, what the message says besides naming the file
ONE_IMAGE = {
    "an empty png": ("biwi", lambda i, p: i.write_bytes(b""), "cannot read the image"),
    "a text named png": ("biwi", lambda i, p: i.write_text("hello"), "cannot read the image"),
    "a truncated png": ("biwi", lambda i, p: cut_short(i, 0.6), "cannot read the image"),
    "a png damaged in the middle": ("biwi", lambda i, p: in_the_middle(i), "cannot read the image"),
    "a png of a promised 10 gigapixels": ("biwi", lambda i, p: huge(i), "cannot read the image"),
    "a png of 16 bits": ("biwi", lambda i, p: Image.new("I;16", (64, 64), 20000).save(i), "mode I;16"),
    "a missing image": ("biwi", lambda i, p: i.unlink(), "does not exist"),
    "a dead link": ("biwi", lambda i, p: replaced_by_link(i, "nowhere"), "is a link that leads to no file"),
    "a circle of links": ("biwi", lambda i, p: replaced_by_link(i, i), "is a link that leads to no file"),
    "a folder named like an image": ("biwi", lambda i, p: replaced_by_folder(i), "is a folder|does not exist"),
    "a missing pose": ("biwi", lambda i, p: p.unlink(), "does not exist"),
    "an empty pose": ("biwi", lambda i, p: p.write_text(""), "three rows of three numbers"),
    "a pose with 2 rows": ("biwi", lambda i, p: p.write_text("1 0 0\n0 1 0\n"), "three rows of three numbers"),
    "a pose with words": ("biwi", lambda i, p: p.write_text("1 0 0\n0 one 0\n0 0 1\n"), "three rows of three numbers"),
    "a binary pose": ("biwi", lambda i, p: p.write_bytes(b"\xff\xfe\0\1" * 9), "three rows of three numbers"),
    "a pose with NaN": ("biwi", lambda i, p: p.write_text("1 0 0\n0 nan 0\n0 0 1\n"), "not finite"),
    "a reflection": ("biwi", lambda i, p: p.write_text("-1 0 0\n0 1 0\n0 0 1\n"), "determinant is -1"),
    "a scaled rotation": ("biwi", lambda i, p: p.write_text("2 0 0\n0 2 0\n0 0 2\n"), "not orthonormal"),
    "a truncated jpg": ("aflw2000", lambda i, m: cut_short(i, 0.6), "cannot read the image"),
    "a jpg without its end of header": ("aflw2000", lambda i, m: cut_short(i, 0.02), "cannot read the image"),
    "a .mat without Pose_Para": ("aflw2000", lambda i, m: rewritten(m, Pose_Para=None), "no 'Pose_Para'"),
    "a .mat without landmarks": ("aflw2000", lambda i, m: rewritten(m, pt2d=None), "no 'pt2d'"),
    "a truncated .mat": ("aflw2000", lambda i, m: cut_short(m, 0.2), "is not a pose file"),
    "an empty .mat": ("aflw2000", lambda i, m: m.write_bytes(b""), "is not a pose file"),
    "a Pose_Para of two numbers": ("aflw2000", lambda i, m: rewritten(m, Pose_Para=[[0.1, 0.2]]), "is not a pose file"),
    "a NaN angle": ("aflw2000", lambda i, m: rewritten(m, Pose_Para=[[0.1, np.nan, 0, 0, 0, 0, 0]]), "not finite"),
    "landmarks that are all missing": ("aflw2000", lambda i, m: rewritten(m, pt2d=-np.ones((2, 21))), "landmarks are present"),
    "landmarks of three rows": ("aflw2000", lambda i, m: rewritten(m, pt2d=np.ones((3, 21))), "pt2d of shape"),
    "landmarks outside the image": ("aflw2000", lambda i, m: rewritten(m, pt2d=900 + np.eye(2, 21)), "landmarks"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ONE_IMAGE)
def test_an_image_that_cannot_be_used_is_named_or_skipped_and_counted(kind, data, tmp_path, capsys):
    protocol, damage, message = ONE_IMAGE[kind]
    image, label = files(data, protocol)
    damage(image, label)
    code, errors, _ = run(data, tmp_path, capsys, protocol=protocol)
    assert code == 2 and len(errors) == 1
    assert STEM[protocol] in errors[0] and re.search(message, errors[0]) and "on_missing" in errors[0]
    assert cached(tmp_path) == []
    code, errors, out = run(data, tmp_path, capsys, "--on-missing", "skip", protocol=protocol)
    assert code == 0 and not errors and "1 skipped" in out
    (folder,) = cached(tmp_path)
    names = (folder / "manifest.json").read_text()
    assert f'"names": ["{STEM[protocol]}"' not in names and len(np.load(folder / "images.npy")) > 10


def rewrite_list(root, content):
    (root / "BIWI" / "70_train.txt").write_bytes(content)


# kind: what is done to the data, options, what the message says
WHOLE_SET = {
    "an empty list": (lambda d: rewrite_list(d, b"\n\r\n"), [], r"70_train.txt names no image"),
    "a list that is not UTF-8": (lambda d: rewrite_list(d, b"\xe9\n"), [], r"cannot read the list .*70_train.txt"),
    "a stem listed twice": (lambda d: rewrite_list(d, b"01/frame_00005\n" * 2), [], r"names 01/frame_00005 2 times"),
    "a list of other files": (lambda d: rewrite_list(d, b"a/b\nc/d\n"), [], r"none of 2 images .*a/b_rgb.png does not"),
    "no data at all": (lambda d: shutil.rmtree(d), [], r"no BIWI images in .*data_root"),
    "a folder that links to itself": (
        lambda d: (shutil.rmtree(d / "BIWI"), (d / "BIWI").symlink_to(d / "BIWI")), [], r"BIWI"),
    "every pose unusable": (
        lambda d: [p.write_text("") for p in d.rglob("*_pose.txt")], ["--on-missing", "skip"], r"none of \d+ images"),
    "no file of boxes": (lambda d: None, ["--crop", "boxes", "--boxes", "boxes.csv"], r"cannot read the boxes .*boxes.csv"),
    "a box of three numbers": (
        lambda d: (d / "boxes.csv").write_text("a,1,2,3\n"), ["--crop", "boxes", "--boxes", "boxes.csv"],
        r"boxes.csv, line 1: wanted stem,x0,y0,x1,y1"),
    "an image without a box": (
        lambda d: (d / "boxes.csv").write_text("a,1,2,3,4\n"), ["--crop", "boxes", "--boxes", "boxes.csv"],
        r"boxes.csv has no box for"),
    "landmarks of a set without any": (lambda d: None, ["--crop", "landmarks"], r"crop of protocol biwi must be one of"),
}  # fmt: skip


@pytest.mark.parametrize("kind", WHOLE_SET)
def test_data_that_cannot_be_used_is_one_line(kind, data, tmp_path, capsys):
    damage, options, message = WHOLE_SET[kind]
    damage(data)
    code, errors, _ = run(data, tmp_path, capsys, *options)
    assert code == 2 and len(errors) == 1 and re.search(message, errors[0]), errors
    assert cached(tmp_path) == []


def test_a_list_with_blank_lines_crlf_and_bom_is_a_list(data, tmp_path, capsys):
    rewrite_list(data, "\ufeff01/frame_00005\r\n\r\n  01/frame_00006 \r\n".encode())
    code, _, out = run(data, tmp_path, capsys)
    assert code == 0 and "train: 2 images of 1 groups" in out


def test_a_cache_that_is_read_only_is_one_line(data, tmp_path, capsys):
    code, errors, _ = run(data, tmp_path, capsys, "--cache-dir", "/proc/prepared")  # read-only for root as well
    assert code == 2 and len(errors) == 1 and "/proc/prepared" in errors[0]


def test_a_cache_that_is_a_file_is_one_line(data, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    code, errors, _ = run(data, tmp_path, capsys, "--cache-dir", str(tmp_path / "file"))
    assert code == 2 and len(errors) == 1 and str(tmp_path / "file") in errors[0]


def test_a_full_disk_is_one_line_and_leaves_nothing(data, tmp_path, capsys):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a full disk: this user may not mount a small one")
    try:
        code, errors, _ = run(data, tmp_path, capsys, "--cache-dir", str(disk))
        assert code == 2 and len(errors) == 1 and re.search(r"No space|no room", errors[0]) and str(disk) in errors[0]
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_worker_that_was_killed_is_one_line(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(build, "FEW", 0)
    monkeypatch.setattr(build, "CHUNK", 8)
    killer = "import os, signal, sys; os.kill(os.getpid(), signal.SIGKILL)"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text(f"#!/bin/sh\nexec {os.path.realpath('/proc/self/exe')} -c '{killer}'\n")
    (tmp_path / "python").chmod(0o755)
    code, errors, _ = run(data, tmp_path, capsys, "--workers", "2")
    assert code == 2 and len(errors) == 1 and "ended with code -9" in errors[0]


def test_a_programmer_s_error_is_not_taken_for_a_bad_image(data, monkeypatch):
    def mistaken(*_):
        raise TypeError("ours")

    monkeypatch.setattr(worker, "cut", mistaken)
    image, label = files(data, "biwi")
    task = Task(lambda entry: Label(np.zeros(3)), 99.0, "frame", 0.0, (8, 8), image, 0)
    with pytest.raises(TypeError, match="ours"):
        task.make_row(Entry("a", image, "a", label), np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    ("text", "says"), [("[" * 100_000, "recursion"), ("{", "Expecting"), ("[1]", "protocol must be")]
)
def test_a_protocol_that_is_no_mapping_in_json_is_one_line(tmp_path, capsys, text, says):
    (tmp_path / "p.json").write_text(text)
    assert main(["labels", "--protocol", str(tmp_path / "p.json")]) == 2
    assert says in capsys.readouterr().err
