import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.io import loadmat, savemat

from bel.data.loading import load
from bel.data.prepare import build, worker
from bel.data.prepare.build import Request
from bel.data.prepare.crops import cut, expanded_box, landmark_box, landmarks
from bel.data.prepare.prepared import prepare, verify
from bel.data.prepare.worker import WorkerDiedError
from bel.data.readers.base import Entry, Label
from bel.data.readers.biwi import BIWI_TRAIN
from bel.data.readers.w300lp import AFLW2000
from bel.errors import UserError
from tests.conftest import real_data


@pytest.fixture
def biwi(rendered, tmp_path):
    """A copy of the rendered BIWI set that a test may damage."""
    shutil.copytree(rendered / "BIWI", tmp_path / "data" / "BIWI")
    return tmp_path / "data"


@pytest.fixture
def wanted(biwi, tmp_path):
    """A request for its training part."""
    return Request(BIWI_TRAIN, biwi, tmp_path / "cache", crop="frame", size=34)


def entries(wanted):
    return wanted.source.listed(wanted.data_root).entries


def test_rows_are_the_images_and_labels_of_the_list(wanted):
    data, listed = prepare(wanted), entries(wanted)
    assert data.names == [e.stem for e in listed] and data.images.shape == (len(listed), 34, 34, 3)
    with Image.open(listed[5].image) as image:
        np.testing.assert_array_equal(data.images[5], np.asarray(image.resize((34, 34), Image.Resampling.BILINEAR)))
    np.testing.assert_allclose(data.targets[5], wanted.source.read(listed[5]).target)
    assert data.groups[5] == data.names[5][:2]


def test_published_frames_are_black_outside(wanted):
    data = prepare(replace(wanted, crop="published"))
    assert (data.images[:, :4] == 0).all() and data.images[:, 17, 17].any()


def test_published_frames_keep_their_aspect(wanted):
    for entry in entries(wanted):
        with Image.open(entry.image) as image:
            image.resize((64, 48)).save(entry.image)
    data = prepare(replace(wanted, crop="published", size=60))
    x0, y0, x1, y1 = expanded_box(64, 48)
    with Image.open(entries(wanted)[0].image) as image:
        by_hand = image.crop((x0, y0, x1, y1)).resize((int(60 * (x1 - x0) / (y1 - y0)), 60), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(data.images[0], np.asarray(by_hand))


def resized(entries, *sizes):
    """Make images of other sizes."""
    for entry, size in zip(entries, sizes, strict=False):
        with Image.open(entry.image) as image:
            image.resize(size).save(entry.image)


def test_published_frames_of_another_shape_are_refused_and_none_is_cut(wanted):
    listed, wanted = entries(wanted), replace(wanted, crop="published", size=60)
    resized(listed, *[(320, 240)] * len(listed))
    resized(listed, (109, 100), (640, 480))  # the second is of the same shape
    with pytest.raises(
        UserError, match=r"frame_\d+_rgb\.png: it is 109 x 100, of another shape than most .* crop to frame"
    ):
        prepare(wanted)
    data = prepare(replace(wanted, skip=True))
    assert data.skipped == 1 and data.names == [entry.stem for entry in listed[1:]]
    by_hand = (
        Image.open(listed[1].image)
        .crop(expanded_box(640, 480))
        .resize(data.images.shape[2:0:-1], Image.Resampling.BILINEAR)
    )
    np.testing.assert_array_equal(data.images[0], np.asarray(by_hand))
    resized(listed, *[(100 + i, 100) for i in range(len(listed))])
    for skip in (False, True):
        with pytest.raises(
            UserError, match=r"crop published is of frames of one shape, these have \d+: set crop to frame"
        ):
            prepare(replace(wanted, skip=skip))
    assert len(prepare(replace(wanted, crop="frame"))) == len(listed)


def test_prepared_once_and_found_again(wanted):
    first = prepare(wanted)
    before = (first.folder / "images.npy").stat().st_mtime_ns
    assert prepare(wanted).digest == first.digest and verify(first)
    assert (first.folder / "images.npy").stat().st_mtime_ns == before
    assert list(wanted.cache_dir.iterdir()) == [first.folder]


def test_originals_are_never_touched(wanted, biwi):
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in biwi.rglob("*") if path.is_file()}
    prepare(replace(wanted, crop="published"))
    assert before == {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in biwi.rglob("*") if path.is_file()}


def test_another_option_list_or_file_makes_another(wanted):
    others = [{"size": 40}, {"crop": "published"}, {"stride": 2}]
    folders = {prepare(wanted).folder} | {prepare(replace(wanted, **other)).folder for other in others}
    os.utime(entries(wanted)[0].label, ns=(1, 1))
    folders.add(prepare(wanted).folder)
    assert len(folders) == 5


def test_the_content_digest_is_of_what_is_in_the_array(wanted):
    first = prepare(wanted)
    os.utime(entries(wanted)[0].label, ns=(1, 1))
    assert prepare(wanted).digest == first.digest
    entries(wanted)[0].label.write_bytes(entries(wanted)[1].label.read_bytes())
    assert prepare(wanted).digest != first.digest
    assert prepare(replace(wanted, stride=2)).digest != first.digest


def test_the_manifest_says_what_was_asked_and_found(wanted):
    manifest = json.loads((prepare(wanted).folder / "manifest.json").read_text())
    count = len(entries(wanted))
    assert manifest["counts"] == {"named": count, "kept": count, "beyond_limit": 0, "unusable": 0}
    assert manifest["options"]["crop"] == "frame" and manifest["origin"].endswith("70_train.txt")
    assert {"version", "list_digest", "content_digest", "made_with"} <= set(manifest)


def test_several_processes_make_the_same_array(wanted, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "CHUNK", 8)
    monkeypatch.setattr(build, "FEW", 0)
    alone = prepare(replace(wanted, cache_dir=tmp_path / "alone"), workers=1)
    crew = prepare(wanted, workers=3)
    assert crew.digest == alone.digest
    np.testing.assert_array_equal(crew.images, alone.images)


def test_progress_counts_every_image(wanted):
    seen = []
    prepare(wanted, progress=lambda items, total: (seen.append(item) or item for item in items))
    assert len(seen) == len(entries(wanted))


KILLED = """
import os, signal, sys
from pathlib import Path
from bel.data.prepare import build, worker
from bel.data.readers.biwi import BIWI_TRAIN
from bel.data.prepare.build import Request
from bel.data.prepare.prepared import prepare
build.CHUNK, build.FEW = 4, 0
def killing(items, total):
    for number, item in enumerate(items):
        if number == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        yield item
prepare(Request(BIWI_TRAIN, Path(sys.argv[1]), Path(sys.argv[2]), crop="frame", size=34), killing, workers=2)
"""


@pytest.mark.slow
def test_a_preparation_that_was_killed_is_not_found_and_goes_on_to_the_same_digest(wanted, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "CHUNK", 4)
    whole = prepare(replace(wanted, cache_dir=tmp_path / "whole"))
    for moment in (1, 9, 22):
        arguments = [str(wanted.data_root), str(wanted.cache_dir), str(moment)]
        ended = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
        assert ended.returncode == -signal.SIGKILL
        assert [path.name[0] for path in wanted.cache_dir.iterdir()] == ["."]
    seen = []
    data = prepare(wanted, progress=lambda items, total: (seen.append(item) or item for item in items))
    assert data.digest == whole.digest and verify(data)
    assert 0 < len(seen) < len(data)
    assert list(wanted.cache_dir.iterdir()) == [data.folder]


def test_pixels_that_were_lost_after_they_were_noted_are_made_again(wanted, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "CHUNK", 4)
    whole = prepare(replace(wanted, cache_dir=tmp_path / "whole"))

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(build, "finish", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare(wanted)
    work = next(wanted.cache_dir.iterdir())
    with (work / "images.npy").open("r+b") as file:
        file.seek(5000)
        file.write(b"x")
    with (work / "journal.jsonl").open("a") as file:
        file.write('{"first": 8, "ro')
    assert prepare(wanted).digest == whole.digest


def test_of_two_preparations_one_waits_for_the_other(wanted, monkeypatch, caplog):
    begun, go_on = threading.Event(), threading.Event()

    def slow(items, total):
        for item in items:
            begun.set()
            go_on.wait(20)
            yield item

    results = []
    first = threading.Thread(target=lambda: results.append(prepare(wanted, slow)))
    first.start()
    assert begun.wait(20)
    second = threading.Thread(target=lambda: results.append(prepare(wanted)))
    second.start()
    deadline = time.time() + 20
    while "another process prepares" not in caplog.text and time.time() < deadline:
        time.sleep(0.01)
    go_on.set()
    first.join()
    second.join()
    assert "another process prepares" in caplog.text
    assert len(results) == 2 and results[0].digest == results[1].digest
    assert list(wanted.cache_dir.iterdir()) == [results[0].folder]


def test_many_preparations_at_once_all_end_with_the_array(wanted):
    for _ in range(10):
        shutil.rmtree(wanted.cache_dir, ignore_errors=True)
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(lambda _: prepare(replace(wanted, stride=9)), range(8)))
        assert len({data.digest for data in results}) == 1 and list(wanted.cache_dir.iterdir()) == [results[0].folder]


def test_what_an_interrupted_preparation_of_another_list_left_is_removed(wanted):
    left = wanted.cache_dir / ".biwi_train-frame-34px-0123456789ab.partial"
    other = wanted.cache_dir / ".biwi_train-frame-68px-0123456789ab.partial"
    for folder in (left, other):
        folder.mkdir(parents=True)
    data = prepare(wanted)
    assert set(wanted.cache_dir.iterdir()) == {data.folder, other}


def test_work_is_kept_where_a_worker_died_but_not_where_the_data_is_bad(wanted, monkeypatch):
    monkeypatch.setattr(build, "CHUNK", 8)

    def dying(*_):
        raise WorkerDiedError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(build, "finish", dying)
        with pytest.raises(WorkerDiedError):
            prepare(wanted)
    seen = []
    prepare(wanted, progress=lambda items, total: (seen.append(item) or item for item in items))
    assert not seen  # all of it was there


def test_a_file_that_cannot_be_reached_just_now_is_not_skipped_for_ever(wanted, monkeypatch):
    def unreachable(*_):
        raise PermissionError(13, "Permission denied", "somewhere.png")

    with monkeypatch.context() as patch:
        patch.setattr(worker, "cut", unreachable)
        with pytest.raises(PermissionError, match=r"somewhere\.png"):
            prepare(replace(wanted, skip=True))
    assert prepare(replace(wanted, skip=True)).skipped == 0


def test_published_crops_are_stretched_without_antialias(tmp_path):
    pixels = np.random.default_rng(0).integers(256, size=(300, 400, 3), dtype=np.uint8)
    label = Label(np.zeros(3), np.array([[150.0, 250], [100, 200]]))
    image, entry = Image.fromarray(pixels), Entry("a", tmp_path / "a.jpg", "a")
    x0, y0, x1, y1 = landmark_box(label.landmarks, 400, 300)
    part = torch.from_numpy(pixels[y0:y1, x0:x1]).permute(2, 0, 1)[None].float()
    by_torch = F.interpolate(part, (224, 224), mode="bilinear", antialias=False)[0].permute(1, 2, 0).numpy()
    ours = cut(image, entry, label, "published", 0.0, (224, 224))
    assert np.abs(ours - by_torch).max() < 1.01  # of rounding


@pytest.mark.parametrize("mode", ["I;16", "F", "I"])
def test_pixels_of_more_than_8_bits_are_refused_not_ruined(tmp_path, mode):
    image, label = Image.new(mode, (64, 64)), Label(np.zeros(1))
    with pytest.raises(UserError, match=f"mode {mode}"):
        cut(image, Entry("a", tmp_path / "a.png", "a"), label, "frame", 0.0, (34, 34))


def test_images_beyond_the_limit_are_left_out_and_counted(rendered, tmp_path):
    shutil.copytree(rendered / "AFLW2000", tmp_path / "AFLW2000")
    path = sorted((tmp_path / "AFLW2000").glob("*.mat"))[0]
    content = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    content["Pose_Para"][0][1] = np.radians(100)
    savemat(path, content)
    data = prepare(Request(AFLW2000, tmp_path, tmp_path / "cache", "published", 34))
    assert data.left_out == 1 and path.stem not in data.names and len(data.images) == len(data)
    whole = prepare(Request(AFLW2000, rendered, tmp_path / "cache", "published", 34))
    np.testing.assert_array_equal(data.images, whole.images[1:])
    assert verify(data)


def test_skipped_images_are_counted_and_the_others_move_up(wanted, monkeypatch):
    monkeypatch.setattr(build, "CHUNK", 4)
    whole, listed = prepare(wanted), entries(wanted)
    listed[3].image.write_bytes(b"")
    listed[7].image.unlink()
    listed[10].label.write_text("1 0 0\n")
    data = prepare(replace(wanted, skip=True))
    kept = [i for i in range(len(whole)) if i not in (3, 7, 10)]
    assert data.skipped == 3 and data.names == [whole.names[i] for i in kept]
    np.testing.assert_array_equal(data.images, whole.images[kept])
    assert verify(data) and prepare(replace(wanted, skip=True)).digest == data.digest
    manifest = json.loads((data.folder / "manifest.json").read_text())
    assert set(manifest["unusable"]) == {listed[i].stem for i in (3, 7, 10)}


def test_an_array_with_skipped_images_is_not_given_to_who_wants_all(wanted):
    entries(wanted)[3].image.write_bytes(b"")
    prepare(replace(wanted, skip=True))
    with pytest.raises(UserError, match=r"1 of \d+ images named by .*70_train.txt cannot be used.*on_missing"):
        prepare(wanted)


def test_boxes_of_a_file_are_cut_square_with_a_margin(wanted, tmp_path):
    listed = entries(wanted)
    path = tmp_path / "boxes.csv"
    path.write_text("stem,x0,y0,x1,y1\n" + "".join(f"{e.stem},10,20,40,40\n" for e in listed[1:]))
    with pytest.raises(UserError, match=rf"1 of {len(listed)} .*has no box for {listed[0].stem}"):
        prepare(replace(wanted, crop="boxes", boxes=path))
    data = prepare(replace(wanted, crop="boxes", boxes=path, margin=0.1, skip=True))
    with Image.open(listed[1].image) as image:
        by_hand = image.crop((7, 12, 43, 48)).resize((34, 34), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(data.images[0], np.asarray(by_hand))


def test_landmarks_are_cut_square_with_a_margin(rendered, tmp_path):
    wanted = Request(AFLW2000, rendered, tmp_path / "cache", "landmarks", 34, margin=0.2)
    data, entry = prepare(wanted), entries(wanted)[2]
    label = wanted.source.read(entry)
    with Image.open(entry.image) as image:
        box = landmarks(entry, label, *image.size, 0.2)
        by_hand = image.crop(box).resize((34, 34), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(data.images[2], np.asarray(by_hand))
    points = label.landmarks[:, (label.landmarks > 0).all(0)]
    assert box[2] - box[0] == box[3] - box[1] == round(1.4 * (points.max(1) - points.min(1)).max())
    np.testing.assert_allclose(np.add(box[:2], box[2:]), points.max(1) + points.min(1), atol=2)


def test_a_config_asks_for_its_own_pixels(make, rendered):
    config = make(image_size=32)
    assert load(config, "train").images.shape[1:] == (34, 34, 3)
    assert len(load(make(frame_stride=3), "train")) == -(-len(load(config, "train")) // 3)
    assert len(load(make(frame_stride=3), "test")) == len(load(config, "test"))


def test_the_real_full_frames_are_cut_as_published(tmp_path):
    root = real_data("BIWI-full")
    (tmp_path / "BIWI").symlink_to(root)
    data = prepare(Request(BIWI_TRAIN, tmp_path, tmp_path / "cache", "published", 240))
    assert data.images.shape == (10, 240, 286, 3)
    entry = BIWI_TRAIN.listed(tmp_path).entries[0]
    with Image.open(entry.image) as image:
        assert expanded_box(*image.size) == (-134, -168, 802, 616)
        by_hand = image.crop((-134, -168, 802, 616)).resize((286, 240), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(data.images[0], np.asarray(by_hand))
