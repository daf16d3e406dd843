"""Places that cannot be written are refused before the work; nothing is made on the way."""

import os

import pytest

from bel.errors import UserError
from bel.files import refuse_file, refuse_folder


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("file", "file is a file; choose another folder"),
        ("file/below/it", "file is a file"),
        ("lost", "lost is a link that leads nowhere"),
        ("lost/below", "lost is a link that leads nowhere"),
        ("n" * 256, "a name of 256 bytes, at most 255 are possible"),
        ("new/" + "ü" * 128, "a name of 256 bytes"),
        ("a/" * 2100, "a path of .* bytes, at most 4000 are possible"),
        ("a\0b", "has a NUL character"),
        ("loop", "loop is a link that leads nowhere"),
    ],
)
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, name, says):
    (tmp_path / "file").write_text("")
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=f"--out .*{says}"):
        refuse_folder("--out", tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_is_there_or_can_be_made_is_not(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    for name in ("", "there", "link", "link/new/er", "new", "n" * 255, "ü" * 127):
        refuse_folder("--out", tmp_path / name)
        refuse_file("--out", tmp_path / name / "a.html")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_changed_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="may not be changed"):
        refuse_folder("--out", tmp_path / "new")


def test_a_file_is_no_folder(tmp_path):
    with pytest.raises(UserError, match="which is no file: add a file's name"):
        refuse_file("--out", tmp_path)
    with pytest.raises(UserError, match="a name of 240 bytes"):
        refuse_file("--out", tmp_path / ("ü" * 120))
