import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from bel.data import prepared
from bel.data.batches import MEAN, STD, blur, eval_batches, flip, train_batches
from bel.data.prepared import load, prepare
from bel.data.splits import holdout, split_hash
from bel.errors import UserError


@pytest.fixture
def biwi(rendered, tmp_path):
    """A copy of the rendered BIWI set that a test may damage."""
    shutil.copytree(rendered / "BIWI", tmp_path / "data" / "BIWI")
    return tmp_path / "data"


def get(root, tmp_path, **options):
    return prepare("biwi_train", root, tmp_path / "cache", **({"crop": "frame", "size": 34} | options))


def test_rows_are_the_images_and_labels_of_the_list(biwi, tmp_path):
    data = get(biwi, tmp_path)
    entries = prepared.SOURCES["biwi_train"].entries(biwi)
    assert data.names == [e.stem for e in entries] and data.images.shape == (len(entries), 34, 34, 3)
    with Image.open(entries[5].image) as image:
        np.testing.assert_array_equal(data.images[5], np.asarray(image.resize((34, 34), Image.Resampling.BILINEAR)))
    np.testing.assert_allclose(data.targets[5], prepared.SOURCES["biwi_train"].read(entries[5].label).target)
    assert data.groups[5] == data.names[5][:2]


def test_published_frames_are_black_outside(biwi, tmp_path):
    data = get(biwi, tmp_path, crop="published")
    assert (data.images[:, :4] == 0).all() and data.images[:, 17, 17].any()


def test_prepared_once_and_found_again(biwi, tmp_path):
    first = get(biwi, tmp_path)
    folder = next((tmp_path / "cache").iterdir())
    before = (folder / "images.npy").stat().st_mtime_ns
    assert get(biwi, tmp_path).digest == first.digest
    assert (folder / "images.npy").stat().st_mtime_ns == before and len(list((tmp_path / "cache").iterdir())) == 1


def test_another_option_list_or_file_makes_another(biwi, tmp_path):
    digests = {
        get(biwi, tmp_path).digest,
        get(biwi, tmp_path, size=40).digest,
        get(biwi, tmp_path, crop="published").digest,
    }
    digests.add(get(biwi, tmp_path, stride=2).digest)
    pose = prepared.SOURCES["biwi_train"].entries(biwi)[0].label
    os.utime(pose, ns=(1, 1))
    digests.add(get(biwi, tmp_path).digest)
    assert len(digests) == 5


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n then nothing"])
def test_an_image_that_cannot_be_read_is_named_and_leaves_no_array(biwi, tmp_path, content):
    image = prepared.SOURCES["biwi_train"].entries(biwi)[3].image
    image.write_bytes(content)
    with pytest.raises(UserError, match=f"cannot read the image {image}"):
        get(biwi, tmp_path)
    assert not list((tmp_path / "cache").iterdir())


def test_an_interrupted_preparation_is_not_found(biwi, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(prepared, "install", stop)
        with pytest.raises(KeyboardInterrupt):
            get(biwi, tmp_path)
    assert len(get(biwi, tmp_path)) == len(prepared.SOURCES["biwi_train"].entries(biwi))


def test_images_beyond_the_limit_are_left_out_and_counted(rendered, tmp_path):
    from scipy.io import loadmat, savemat

    shutil.copytree(rendered / "AFLW2000", tmp_path / "AFLW2000")
    path = sorted((tmp_path / "AFLW2000").glob("*.mat"))[0]
    content = {k: v for k, v in loadmat(path).items() if not k.startswith("__")}
    content["Pose_Para"][0][1] = np.radians(100)
    savemat(path, content)
    data = prepare("aflw2000", tmp_path, tmp_path / "cache", "published", 34)
    assert data.left_out == 1 and path.stem not in data.names
    meta = json.loads(next((tmp_path / "cache").glob("*/meta.json")).read_text())
    assert meta["left_out"] == 1


def test_a_holdout_is_seeded_and_keeps_groups_whole():
    groups = [f"{i % 17:02}" for i in range(500)]
    mask = holdout(groups, 0.2, seed=0)
    held_out = {g for g, m in zip(groups, mask, strict=True) if m}
    assert len(held_out) == 3 and not held_out & {g for g, m in zip(groups, mask, strict=True) if not m}
    assert (mask == holdout(groups, 0.2, seed=0)).all()
    assert len({split_hash([str(i) for i in range(500)], holdout(groups, 0.2, seed)) for seed in range(5)}) > 1


@pytest.mark.parametrize(("fraction", "count"), [(0.001, 1), (0.5, 2), (0.99, 3)])
def test_a_holdout_is_never_empty_nor_all(fraction, count):
    assert holdout(["a", "b", "c", "d"], fraction, 0).sum() == count


def test_one_group_cannot_be_split():
    with pytest.raises(UserError, match="at least 2 groups"):
        holdout(["a", "a"], 0.5, 0)


def test_an_epoch_has_every_row_once_in_a_seeded_order(make):
    config = make(batch_size=4)
    data = load(config, "train")
    rows = torch.arange(len(data))

    def targets(seed):
        generator = torch.Generator().manual_seed(seed)
        return torch.cat([t for _, t in train_batches(data, rows, config, generator, torch.device("cpu"))])

    first = targets(0)
    assert len(first) == len(data) // 4 * 4
    assert {tuple(t) for t in first.tolist()} <= {tuple(t) for t in data.targets.tolist()}
    assert torch.equal(first, targets(0)) and not torch.equal(first, targets(1))


@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
def test_evaluation_batches_are_normalised_center_crops(make, memory_format):
    config = make(memory_format=memory_format, eval_batch_size=5)
    data = load(config, "train")
    batch = next(eval_batches(data, torch.arange(7), config, torch.device("cpu")))
    margin = (config.prepared_size - config.image_size) // 2
    crop = data.images[2, margin : margin + 32, margin : margin + 32].astype(np.float32) / 255
    by_hand = (crop - np.array(MEAN)) / np.array(STD)
    torch.testing.assert_close(batch[2].permute(1, 2, 0), torch.from_numpy(by_hand).float(), rtol=1e-4, atol=1e-4)
    assert batch.shape == (5, 3, 32, 32) and batch.is_contiguous(memory_format=config.layout)


def test_a_flip_mirrors_the_image_and_the_signs_of_yaw_and_roll(make):
    images = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    targets = torch.tensor([[10.0, 20, 30], [1, 2, 3]], dtype=torch.float64)
    mirrored, signed = flip(images, targets, torch.tensor([True, False]), make().axes)
    assert torch.equal(mirrored[0], images[0].flip(-1)) and torch.equal(mirrored[1], images[1])
    assert signed.tolist() == [[-10, 20, -30], [1, 2, 3]]


def test_blur_changes_only_the_chosen_images_and_keeps_a_flat_one():
    images = torch.rand(2, 3, 8, 8)
    images[1] = 0.5
    blurred = blur(images, torch.tensor([True, True]))
    assert blurred[0].std() < images[0].std()
    torch.testing.assert_close(blurred[1], images[1])
    assert torch.equal(blur(images, torch.tensor([False, True]))[0], images[0])


def test_batches_differ_between_flip_probabilities(make):
    def epoch(p):
        config = make(flip=p)
        data = load(config, "train")
        generator = torch.Generator().manual_seed(0)
        return torch.cat([t for _, t in train_batches(data, torch.arange(40), config, generator, torch.device("cpu"))])

    never, always = epoch(0.0), epoch(1.0)
    torch.testing.assert_close(always, never * torch.tensor([-1.0, 1, -1], dtype=torch.float64))
