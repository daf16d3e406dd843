from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import center_crop

from bel.data.batches import MEAN, STD, eval_batches, normalise, placed, prefetch, train_batches
from bel.data.loading import load
from bel.data.prepare.prepared import Prepared
from bel.training.build import build_model
from bel.training.evaluate import evaluate

CPU = torch.device("cpu")


def epoch(config, data, seed=0, rows=None):
    """Images and targets of an epoch."""
    rows = torch.arange(len(data)) if rows is None else rows
    batches = list(train_batches(data, rows, config, torch.Generator().manual_seed(seed), CPU))
    return torch.cat([images for images, _ in batches]), torch.cat([targets for _, targets in batches])


def test_an_epoch_has_every_row_once_in_a_seeded_order(make):
    config = make(batch_size=4)
    data = load(config, "train")
    _, first = epoch(config, data)
    assert len(first) == len(data) // 4 * 4
    assert {tuple(t) for t in first.tolist()} <= {tuple(t) for t in data.targets.tolist()}
    assert torch.equal(first, epoch(config, data)[1]) and not torch.equal(first, epoch(config, data, seed=1)[1])


@pytest.mark.parametrize("fields", [{}, {"flip": 0.5, "jitter": 0.3, "rotate": 5}])
def test_a_batch_of_two_views_has_that_of_one_and_then_the_same_rows_with_other_draws(make, fields):
    one, two = make(batch_size=4, **fields), make(batch_size=4, regulariser="rnc", **fields)
    data = load(one, "train")
    generators = (torch.Generator().manual_seed(0) for _ in range(2))
    batches, both = (
        list(train_batches(data, torch.arange(26), config, generator, CPU))
        for config, generator in zip((one, two), generators, strict=True)
    )
    assert len(batches) == len(both) == 6
    for (images, targets), (views, labels) in zip(batches, both, strict=True):
        assert views.shape == (8, 3, 32, 32) and views.is_contiguous(memory_format=two.layout)
        assert torch.equal(views[:4], images) and torch.equal(labels[:4], targets)
        assert not torch.equal(views[4:], images)
        torch.testing.assert_close(labels[4:].abs(), targets.abs(), atol=30 if fields else 0, rtol=0)


@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
def test_evaluation_batches_are_normalised_center_crops(make, memory_format):
    config = make(memory_format=memory_format, eval_batch_size=5)
    data = load(config, "train")
    batch = next(eval_batches(data, torch.arange(7), config, CPU))
    margin = (config.prepared_size - config.image_size) // 2
    crop = data.images[2, margin : margin + 32, margin : margin + 32].astype(np.float32) / 255
    by_hand = (crop - np.array(MEAN)) / np.array(STD)
    torch.testing.assert_close(batch[2].permute(1, 2, 0), torch.from_numpy(by_hand).float(), rtol=1e-4, atol=1e-4)
    assert batch.shape == (5, 3, 32, 32) and batch.is_contiguous(memory_format=config.layout)


@pytest.mark.parametrize("fields", [{}, {"jitter": 0.2, "rotate": 10, "flip": 0.5, "erase": 0.5, "blur": 0.5}])
@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
def test_images_on_the_device_give_the_same_batches_as_the_map(make, fields, memory_format):
    config = make(memory_format=memory_format, cache="device", **fields)
    data = load(config, "train")
    there = placed(data, config, CPU)
    assert isinstance(there.images, torch.Tensor) and not isinstance(data.images, torch.Tensor)
    for ours, other in zip(epoch(config, data), epoch(config, there), strict=True):
        assert torch.equal(ours, other)
    rows = torch.tensor([3, 1, 8])
    assert torch.equal(*(next(eval_batches(d, rows, config, CPU)) for d in (data, there)))


@pytest.mark.parametrize("where", ["auto", "host"])
def test_on_a_cpu_the_map_is_the_memory(make, where):
    data = load(make(), "train")
    assert placed(data, make(cache=where), CPU) is data


def test_random_crops_of_wide_images_reach_both_sides(make):
    config = make(image_size=32, batch_size=2)
    data = load(config, "train")
    ramp = np.broadcast_to(np.arange(60, dtype=np.uint8)[:, None], (len(data), 34, 60, 3))
    images, _ = epoch(config, replace(data, images=ramp))
    first = (images[:, 0, 0, 0] * STD[0] + MEAN[0]) * 255
    assert first.min().round() <= 2 and first.max().round() >= 26


def test_batches_of_augmented_images_have_augmented_targets(make):
    data = load(make(), "train")
    _, never = epoch(make(), data)
    _, always = epoch(make(flip=1.0), data)
    torch.testing.assert_close(always, never * torch.tensor([-1.0, 1, -1], dtype=torch.float64))
    _, turned = epoch(make(rotate=20), data)
    assert not torch.equal(turned[:, 2], never[:, 2]) and (turned - never).abs().max() < 60


def test_an_augmentation_leaves_order_and_crops_as_they_were(make):
    data = load(make(), "train")
    plain, _ = epoch(make(), data)
    some, _ = epoch(make(erase=0.3, batch_size=8), data)
    same = (plain == some).flatten(1).all(1)
    assert 0.4 < same.float().mean() < 1


def test_the_next_batch_is_fetched_while_the_caller_computes():
    asked = []

    def get(rows, corners):
        asked.append(int(rows))
        return rows

    batches = prefetch(get, [(torch.tensor(i), torch.tensor(0)) for i in range(3)])
    assert int(next(batches)) == 0
    assert [int(i) for i in batches] == [1, 2] and asked == [0, 1, 2]


def test_what_fails_in_the_other_thread_is_raised_here():
    with pytest.raises(IndexError):
        list(prefetch(lambda rows, corners: [][0], [(torch.tensor(0), torch.tensor(0))]))


def test_evaluation_does_not_depend_on_where_the_images_live(make):
    config = make(cache="device")
    data, model = load(config, "train"), build_model(config)
    here, there = (evaluate(model, d, torch.arange(20), config) for d in (data, placed(data, config, CPU)))
    assert torch.equal(here.predictions["expected"], there.predictions["expected"])


@pytest.mark.parametrize("there", [False, True], ids=["map", "device"])
@pytest.mark.parametrize("margin", range(61))
def test_a_center_crop_is_torchvisions_at_every_margin(make, margin, there):
    config = make(cache="device" if there else "host")
    pixels = np.random.default_rng(margin).integers(256, size=(2, 32 + margin, 32 + 60 - margin, 3), dtype=np.uint8)
    data = placed(Prepared(pixels, torch.zeros(2, 3), ["a", "b"], ["a", "b"], 0, 0, "", Path()), config, CPU)
    wanted = center_crop(torch.from_numpy(pixels).permute(0, 3, 1, 2), [32, 32])
    assert torch.equal(next(eval_batches(data, torch.arange(2), config, CPU)), normalise(wanted, config.layout))
    if margin % 4 == 3 or (60 - margin) % 4 == 3:  # as checkpoints of before were measured
        older = next(eval_batches(data, torch.arange(2), replace(config, center_crop="floor"), CPU))
        y, x = margin // 2, (60 - margin) // 2
        cut = torch.from_numpy(pixels)[:, y : y + 32, x : x + 32].permute(0, 3, 1, 2)
        assert torch.equal(older, normalise(cut, config.layout)) and not torch.equal(cut, wanted)
