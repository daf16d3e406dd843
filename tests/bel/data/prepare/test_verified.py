"""No damage to a prepared array passes: each kind by each command, and what a stamp that skips the reading must not believe."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from bel.data import command
from bel.data.loading import load
from bel.data.prepare import prepared, verified
from bel.data.prepare.build import Request, partial
from bel.data.prepare.prepared import prepare, refuse_changed, verify
from bel.data.prepare.verified import DamagedError, open_verified, state_of
from bel.data.readers.biwi import BIWI_TRAIN
from bel.errors import UserError
from bel.training.build import build_model
from bel.training.evaluate import evaluate
from bel.training.loop import fit, steps


def change(path, how):
    """Change a file, and put its times back, as who wants to hide it."""
    stat = path.stat()
    how(path)
    if path.is_file():
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def flip_a_bit(path, place=2000):
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def zero_a_page(path):
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(4096))


def cut_short(path):
    os.truncate(path, path.stat().st_size * 7 // 10)


def extend(path):
    with path.open("ab") as file:
        file.write(bytes(34 * 34 * 3))


def shift(path):
    np.save(path, np.load(path) + 20)


def as_float32(path):
    np.save(path, np.load(path).astype(np.float32))


def header(**fields):
    """Write another .npy header before the same bytes."""

    def edit(path):
        array = np.load(path)
        described = {"descr": "|u1", "fortran_order": False, "shape": array.shape} | fields
        with path.open("r+b") as file:
            np.lib.format.write_array_header_1_0(file, described)

    return edit


def edit(**fields):
    def edited(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return edited


def swapped(key):
    """Exchange the first and the last of a list in the manifest."""

    def edited(path):
        values = json.loads(path.read_text())
        values[key][0], values[key][-1] = values[key][-1], values[key][0]
        path.write_text(json.dumps(values))

    return edited


def recount(path):
    counts = json.loads(path.read_text())["counts"]
    edit(counts=counts | {"beyond_limit": 7})(path)


def forged(path):
    """Other targets, with their digest in the manifest."""
    shift(path)
    manifest, images = path.with_name("manifest.json"), np.load(path.with_name("images.npy"))
    values = json.loads(manifest.read_text())
    digest = verified.digest_of(values["names"], values["groups"], np.load(path), images)
    edit(content_digest=digest)(manifest)


def linked(path):
    """The targets of another place."""
    shutil.copy(path, path.with_name("other.npy"))
    shift(path.with_name("other.npy"))
    path.unlink()
    path.symlink_to("other.npy")


def replaced(path):
    """Another file under the same name, size and time."""
    shutil.copy2(path, path.with_name("other.npy"))
    flip_a_bit(path.with_name("other.npy"))
    os.replace(path.with_name("other.npy"), path)


def of_before(path):
    values = json.loads(path.read_text())
    del values["checksum"]
    path.write_text(json.dumps(values))


DAMAGE = {
    "a bit of the pixels": ("images.npy", flip_a_bit),
    "pages of zeros": ("images.npy", zero_a_page),
    "truncated pixels": ("images.npy", cut_short),
    "no bytes of pixels": ("images.npy", lambda path: path.write_bytes(b"")),
    "more pixels": ("images.npy", extend),
    "another shape": ("images.npy", lambda path: header(shape=(len(np.load(path)), 17, 68, 3))(path)),
    "fewer rows": ("images.npy", lambda path: header(shape=(len(np.load(path)) - 1, 34, 34, 3))(path)),
    "another type": ("images.npy", header(descr="|i1")),
    "another order": ("images.npy", header(fortran_order=True)),
    "other pixels under the same time": ("images.npy", replaced),
    "a folder": ("images.npy", lambda path: (path.unlink(), path.mkdir())),
    "no pixels": ("images.npy", lambda path: path.unlink()),
    "a link that leads nowhere": ("images.npy", lambda path: (path.unlink(), path.symlink_to("images.npy"))),
    "targets + 20": ("targets.npy", shift),
    "truncated targets": ("targets.npy", cut_short),
    "targets of another type": ("targets.npy", as_float32),
    "targets in another order of bytes": ("targets.npy", lambda path: np.save(path, np.load(path).astype(">f8"))),
    "a link to other targets": ("targets.npy", linked),
    "targets and their digest": ("targets.npy", forged),
    "no targets": ("targets.npy", lambda path: path.unlink()),
    "other names": ("manifest.json", swapped("names")),
    "other groups": ("manifest.json", swapped("groups")),
    "other counts": ("manifest.json", recount),
    "another digest": ("manifest.json", edit(content_digest="0123456789ab")),
    "half a manifest": ("manifest.json", cut_short),
    "no facts": ("manifest.json", lambda path: path.write_text("[]")),
    "a manifest of before": ("manifest.json", of_before),
}


@pytest.fixture
def wanted(rendered, tmp_path):
    return Request(BIWI_TRAIN, rendered, tmp_path / "cache", crop="frame", size=34)


@pytest.fixture
def settled(monkeypatch):
    """Files that were just written get stamps, too."""
    monkeypatch.setattr(verified, "SETTLED", -1.0)


@pytest.fixture
def read_whole(monkeypatch):
    """Folders whose content was read, one entry each time."""
    seen = []
    digest_of = verified.digest_of
    monkeypatch.setattr(verified, "digest_of", lambda *args: seen.append(1) or digest_of(*args))
    return seen


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_array_is_said_in_one_line_and_made_again(kind, wanted, settled, caplog):
    whole = prepare(wanted)
    digest, images, targets = whole.digest, np.array(whole.images), whole.targets.clone()
    name, damage = DAMAGE[kind]
    change(whole.folder / name, damage)
    caplog.clear()
    again = prepare(wanted)
    assert len(caplog.records) == 1 and "is made again" in caplog.text and str(whole.folder) in caplog.text
    assert (again.digest, again.names, again.groups) == (digest, whole.names, whole.groups)
    np.testing.assert_array_equal(again.images, images)
    assert torch.equal(again.targets, targets) and again.left_out == 0
    assert list(wanted.cache_dir.iterdir()) == [again.folder]
    caplog.clear()
    assert prepare(wanted).digest == digest and not caplog.records


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("doing", ["prepare", "labels"])
def test_no_command_on_data_shows_what_is_damaged(kind, doing, rendered, tmp_path, settled, capsys):
    arguments = [doing, "--protocol", "biwi", "--data-root", str(rendered), "--cache-dir", str(tmp_path / "cache")]
    arguments += ["--crop", "frame", "--image-size", "32", "--part", "train"]
    assert command.main(arguments) == 0
    before = capsys.readouterr().out
    name, damage = DAMAGE[kind]
    (folder,) = (tmp_path / "cache").iterdir()
    change(folder / name, damage)
    assert command.main(arguments) == 0
    assert capsys.readouterr().out == before


def test_whole_folders_that_were_exchanged_are_found(wanted, settled):
    train, other = prepare(wanted), prepare(replace(wanted, stride=2))
    aside = wanted.cache_dir / "aside"
    for path, to in ((train.folder, aside), (other.folder, train.folder), (aside, other.folder)):
        path.rename(to)
    with pytest.raises(DamagedError, match="it was written as"):
        open_verified(train.folder)
    assert (prepare(wanted).digest, prepare(replace(wanted, stride=2)).digest) == (train.digest, other.digest)


def test_content_is_read_once_for_a_state_of_the_files(wanted, settled, read_whole):
    data = prepare(wanted)
    assert len(read_whole) == 1
    prepare(wanted)
    assert len(read_whole) == 1
    os.utime(data.folder / "targets.npy")
    prepare(wanted)
    prepare(wanted)
    assert len(read_whole) == 2


def test_files_that_were_just_written_get_no_stamp(wanted, read_whole):
    prepare(wanted)
    prepare(wanted)
    assert len(read_whole) == 2


def test_a_stamp_holds_for_no_copy_of_the_folder_nor_on_another_node(wanted, settled, read_whole, monkeypatch):
    data = prepare(wanted)
    shutil.copytree(data.folder, data.folder.with_name("copy"), copy_function=shutil.copy2)
    shutil.rmtree(data.folder)
    data.folder.with_name("copy").rename(data.folder)
    assert list(data.folder.glob(".verified-*"))
    flip_a_bit(data.folder / "images.npy")
    with pytest.raises(DamagedError):
        open_verified(data.folder)
    prepare(wanted)
    count = len(read_whole)
    monkeypatch.setattr(verified, "BOOT", wanted.data_root / "none")
    prepare(wanted)
    assert len(read_whole) == count + 1
    prepare(wanted)
    monkeypatch.setattr(verified.platform, "node", lambda: "an/other")
    prepare(wanted)
    assert len(read_whole) == count + 2 and len(list(data.folder.glob(".verified-*"))) == 2


def test_where_no_stamp_can_be_written_content_is_read_each_time(wanted, settled, read_whole):
    data = prepare(wanted)
    (stamp,) = data.folder.glob(".verified-*")
    stamp.unlink()
    (stamp / "in the way").mkdir(parents=True)
    prepare(wanted)
    prepare(wanted)
    assert len(read_whole) == 3


@pytest.mark.slow
def test_many_that_find_the_damage_at_once_all_end_with_the_array(wanted, tmp_path, settled):
    whole = prepare(wanted)
    script = (
        "import sys; from pathlib import Path; from bel.data.readers.biwi import BIWI_TRAIN;"
        "from bel.data.prepare.prepared import *;"
        "print(prepare(Request(BIWI_TRAIN, Path(sys.argv[1]), Path(sys.argv[2]), crop='frame', size=34)).digest)"
    )
    shift(whole.folder / "targets.npy")
    arguments = [sys.executable, "-c", script, str(wanted.data_root), str(wanted.cache_dir)]
    begun = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in begun] == [whole.digest] * 3
    assert list(wanted.cache_dir.iterdir()) == [whole.folder]


def test_what_cannot_be_made_again_is_refused_and_left(wanted, settled, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], check=False, capture_output=True).returncode:
        pytest.skip("a read-only folder: this user may not mount one")
    try:
        there = replace(wanted, cache_dir=disk)
        data = prepare(there)
        digest, folder = data.digest, data.folder
        shift(folder / "targets.npy")
        before = np.load(folder / "targets.npy")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(UserError, match=r"is damaged \(.*cannot be made again there.*set cache_dir"):
            prepare(there)
        np.testing.assert_array_equal(np.load(folder / "targets.npy"), before)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        assert prepare(there).digest == digest
    finally:
        del data
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_an_image_that_is_gone_bad_leaves_the_damaged_array_where_it_is(wanted, settled, tmp_path):
    shutil.copytree(wanted.data_root / "BIWI", tmp_path / "data" / "BIWI")
    own = replace(wanted, data_root=tmp_path / "data")
    data = prepare(own)
    change(BIWI_TRAIN.listed(own.data_root).entries[3].image, lambda path: flip_a_bit(path, 60))
    shift(data.folder / "targets.npy")
    with pytest.raises(UserError, match="cannot read the image"):
        prepare(own)
    assert (data.folder / "targets.npy").exists()


def test_an_empty_partial_folder_beside_the_array_is_removed(wanted):
    data = prepare(wanted)
    partial(data.folder).mkdir()
    prepare(wanted)
    assert list(wanted.cache_dir.iterdir()) == [data.folder]


def test_what_changes_while_it_is_read_is_refused_before_a_number_comes_of_it(make, tmp_path):
    config = make(cache_dir=str(tmp_path / "cache"), epochs=1)
    data = load(config, "train")
    run = steps(config, data)
    next(run)
    change(data.folder / "images.npy", zero_a_page)
    with pytest.raises(UserError, match="was changed while it was read"):
        list(run)
    with pytest.raises(UserError, match="was changed while it was read"):
        evaluate(build_model(config), data, torch.arange(4), config)
    assert not verify(data)


def test_an_array_that_is_removed_or_touched_while_it_is_read_goes_on(make, tmp_path):
    config = make(cache_dir=str(tmp_path / "cache"), epochs=1)
    data = load(config, "train")
    run = steps(config, data)
    next(run)
    os.utime(data.folder / "images.npy")
    refuse_changed(data)
    shutil.rmtree(tmp_path / "cache")
    alone = next(fit(config, load(config, "train")))
    assert [epoch.metrics["val/mae"] for epoch in run if epoch] == [alone.metrics["val/mae"]]
    assert state_of(data.folder) != data.files and prepared.verify(data)
