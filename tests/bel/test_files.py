"""Files and folders are written whole, and what cannot be written is refused before the work."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from bel.errors import UserError
from bel.files import refuse_file, refuse_folder, replacing, writing_in
from bel.run_layout import CHECKPOINT, LAST

WRITER = """
import sys, time
from pathlib import Path
from bel.files import replacing
with replacing(Path(sys.argv[1])) as work:
    work.mkdir() if sys.argv[2:] else None
    (work / "part" if sys.argv[2:] else work).write_text("half")
    print("there", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer():
    """Start a process that writes a file, or with `folder` a folder, and is in the middle of it."""
    begun = []

    def start(path, *folder):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path), *folder], stdout=subprocess.PIPE)
        begun.append(process)
        assert process.stdout.readline() == b"there\n"
        return process

    yield start
    for process in begun:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", [(), ("folder",)])
def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path, writer, kind):
    killed = writer(tmp_path / LAST, *kind)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert [path.name for path in tmp_path.iterdir()] == [f".last.pt.{killed.pid}"]
    with replacing(tmp_path / LAST) as work:
        work.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == [LAST]


def test_what_another_process_is_writing_is_left(tmp_path, writer):
    living = writer(tmp_path / LAST)
    for _ in range(2):
        with replacing(tmp_path / LAST) as work:
            work.write_text("whole")
        assert (tmp_path / f".last.pt.{living.pid}").read_text() == "half"


def test_files_of_other_names_are_left_and_after_an_error_the_older_one(tmp_path):
    others = [".last.pt.old", ".last.pt2.17", "last.pt.17", ".best.pt.17", "x.last.pt.17"]
    for name in [*others, ".last.pt.17", ".last.pt.17.onnx"]:
        (tmp_path / name).touch()
    (tmp_path / LAST).write_text("older")
    with pytest.raises(RuntimeError), replacing(tmp_path / LAST) as work:
        work.write_text("half")
        raise RuntimeError
    assert {path.name for path in tmp_path.iterdir()} == {*others, LAST}
    assert (tmp_path / LAST).read_text() == "older"
    with writing_in(tmp_path, CHECKPOINT, "never.pt"):
        pass
    assert not (tmp_path / ".best.pt.17").exists()


def test_threads_that_write_at_once_do_not_remove_each_others_files(tmp_path):
    gate = threading.Barrier(4)

    def write(name):
        for _ in range(50):
            gate.wait(20)
            with replacing(tmp_path / name) as work:
                work.write_text(name)

    threads = [threading.Thread(target=write, args=(name,)) for name in ("a", "b", "c", "d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "d"]


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
