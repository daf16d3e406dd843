"""The same batches on the GPU to the last bit wherever the images live, and images that live where they should."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bel.data.batches import eval_batches, placed, train_batches
from bel.data.loading import load, split
from bel.errors import UserError
from tests.bel.training.test_loop import AUGMENTED
from tests.gpu.conftest import allowed, unlike


def batches(config, device, place):
    """Training batches and evaluation batches, on the CPU, of images that live where the config's `cache` would say."""
    config = replace(config, cache=place)
    data = load(config, "train")
    there, parts = placed(data, config, device), split(config, data)
    generator = torch.Generator().manual_seed(3)
    train = list(train_batches(there, parts.train, config, generator, device))
    tested = list(eval_batches(there, parts.val, config, device))
    assert {part.device.type for part in (*tested, *(part for pair in train for part in pair))} == {device.type}
    return {"train": [[part.cpu() for part in pair] for pair in train], "eval": [images.cpu() for images in tested]}


@pytest.mark.parametrize("fields", [{}, AUGMENTED], ids=["plain", "augmented"])
@pytest.mark.parametrize("memory_format", ["channels_last", "contiguous"])
def test_batches_are_the_same_wherever_the_images_live(make, gpu, fields, memory_format):
    config = make(eval_batch_size=5, memory_format=memory_format, **fields)
    found = {place: batches(config, gpu, place) for place in ("host", "device", "auto")}
    assert len(found["host"]["train"]) == 7 and [len(images) for images in found["host"]["eval"]] == [5, 5, 2]
    for place in ("device", "auto"):
        assert not (off := unlike(found["host"], found[place])), f"host and {place}:\n{off}"


def test_batches_without_augmentation_are_those_of_the_cpu(make, gpu):
    config = make(eval_batch_size=5)
    assert not (found := unlike(batches(config, torch.device("cpu"), "host"), batches(config, gpu, "device"))), found


def test_batches_with_augmentation_are_nearly_those_of_the_cpu(make, gpu):
    config = make(**AUGMENTED)
    pairs = [batches(config, device, "host")["train"] for device in (torch.device("cpu"), gpu)]
    assert not (found := unlike(*([targets for _, targets in train] for train in pairs))), f"targets:\n{found}"
    (images, others) = (torch.cat([images for images, _ in train]) for train in pairs)
    off = (images - others).abs()
    assert off.mean() < 1e-4, f"normalised pixels differ by {off.mean():.2e} on average, {off.max():.2e} at most"


@pytest.mark.parametrize(("place", "there"), [("device", True), ("host", False), ("auto", True)])
def test_images_live_where_the_config_says(make, gpu, place, there):
    config = make(cache=place)
    data = load(config, "train")
    images = placed(data, config, gpu).images
    if there:
        assert isinstance(images, torch.Tensor) and images.device.type == gpu.type
        assert np.array_equal(images.cpu().numpy(), data.images)
    else:
        assert images is data.images and isinstance(images, np.ndarray)


def test_auto_keeps_images_that_would_take_much_of_the_memory_on_the_host(make, gpu, monkeypatch):
    config = make(cache="auto")
    data = load(config, "train")
    free, _ = torch.cuda.mem_get_info(gpu)
    for factor, there in ((1.5, True), (0.5, False)):
        monkeypatch.setattr("bel.data.batches.SHARE", factor * data.images.nbytes / free)
        images = placed(data, config, gpu).images
        said = f"{data.images.nbytes} bytes, {factor} times as many allowed of {free} free: they live in {type(images)}"
        assert isinstance(images, torch.Tensor) == there, said


def test_images_that_the_device_does_not_hold_are_said(make, gpu):
    config = make(cache="device", image_size=448)
    data = load(config, "train")
    with allowed(0), pytest.raises(UserError, match=r"images take .* GB, more than cuda.* set cache to auto") as error:
        placed(data, config, gpu)
    assert "\n" not in str(error.value)
