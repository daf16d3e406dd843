"""Batches from a prepared array: gathered and cropped as bytes, then augmented and normalised on the device."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bel.config import TrainConfig
from bel.data.augment import augment, augment_targets, draw, joined, within_axes
from bel.data.prepare.crops import center
from bel.data.prepare.prepared import Prepared, refuse_changed
from bel.errors import UserError
from bel.precision import copy_to

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet
AT_ONCE = 2**24  # bytes in float32 of the batches that are made at once on a GPU; about three times as much is in use
SHARE = 0.25  # of a device's free memory that the images may take with cache auto


def placed(data: Prepared, config: TrainConfig, device: torch.device) -> Prepared:
    """Return data with its images on the device, where `cache` says so, with auto where they fit well."""
    if config.cache == "host" or isinstance(data.images, Tensor):
        return data
    if config.cache == "auto":
        if device.type != "cuda":
            return data  # the memory map is in the CPU's memory already, and shared
        free, _ = torch.cuda.mem_get_info(device)
        if data.images.nbytes > SHARE * free:
            return data
    try:
        there = replace(data, images=torch.from_numpy(data.images).to(device, copy=True))
    except torch.OutOfMemoryError as error:
        size = data.images.nbytes / 1e9
        raise UserError(f"the images take {size:.1f} GB, more than {device} has free: set cache to auto") from error
    refuse_changed(data)
    return there


def train_batches(
    data: Prepared, rows: Tensor, config: TrainConfig, generator: torch.Generator, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in random order: images (B, 3, S, S) and targets in units (B, axes) on the device.

    Order, crops and augmentations come from `generator` alone. A batch of two views has the images of a batch of one, and
    then the same ones with draws of their own.
    """
    count = len(rows) // config.batch_size * config.batch_size
    order = rows[torch.randperm(len(rows), generator=generator)][:count]
    settings = config.augmentation
    axes = config.definition.axes  # not those of the head, so that every head sees the same images
    height, width = data.images.shape[1:3]
    margin = height - config.image_size, width - config.image_size
    draws = joined([draw(count, margin, generator) for _ in range(config.views)])
    together = torch.arange(len(draws.corners)).view(config.views, -1, config.batch_size).transpose(0, 1).flatten()
    order, draws = order.repeat(config.views)[together], draws[together]
    draws = within_axes(data.targets[order], draws, settings, axes)
    batch = config.views * config.batch_size
    size = batch * batches_at_once(config, device)
    parts = [slice(i, min(i + size, len(order))) for i in range(0, len(order), size)]
    wanted = [(order[part], draws[part].corners) for part in parts]
    for part, pixels in zip(parts, gathered(data, config.image_size, device, wanted), strict=True):
        targets = to_device(augment_targets(data.targets[order[part]], draws[part], settings, axes), device)
        images = normalise(augment(pixels.permute(0, 3, 1, 2), draws[part], settings), config.layout)
        yield from zip(images.split(batch), targets.split(batch), strict=True)


def batches_at_once(config: TrainConfig, device: torch.device) -> int:
    """Return how many batches are made at once: on a GPU several, as each kernel is launched from Python."""
    batch = config.views * config.batch_size * 3 * config.image_size**2 * 4
    return max(1, AT_ONCE // batch) if device.type == "cuda" else 1


def eval_batches(data: Prepared, rows: Tensor, config: TrainConfig, device: torch.device) -> Iterator[Tensor]:
    """Yield center crops (B, 3, S, S) on the device, in the order of `rows`."""
    corner = torch.tensor(center(data.images.shape[1:], config.image_size, config.center_crop))
    batches = [(batch, corner.expand(len(batch), 2)) for batch in rows.split(config.eval_batch_size)]
    for pixels in gathered(data, config.image_size, device, batches):
        yield normalise(pixels.permute(0, 3, 1, 2), config.layout)


def gathered(
    data: Prepared, size: int, device: torch.device, batches: Iterable[tuple[Tensor, Tensor]]
) -> Iterator[Tensor]:
    """Yield bytes (B, size, size, 3) on the device for rows (B,) and upper left corners (B, 2) y, x of each batch."""
    if isinstance(data.images, Tensor):
        return (gather_on_device(data.images, size, *batch) for batch in batches)
    stream = torch.cuda.current_stream(device) if device.type == "cuda" else None
    return prefetch(partial(gather_from_map, data.images, size, device, stream), batches)


def prefetch(get: Callable[[Tensor, Tensor], Tensor], batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
    """Yield `get` of each batch; another thread prepares the next one meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        pending = None
        for batch in batches:
            following = thread.submit(get, *batch)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


@cache
def copy_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of a GPU for copies of batches; a single one, because memory is cached for each."""
    return torch.cuda.Stream(device)


def gather_from_map(
    images: NDArray[np.uint8],
    size: int,
    device: torch.device,
    stream: torch.cuda.Stream | None,
    rows: Tensor,
    corners: Tensor,
) -> Tensor:
    """Gather from the memory map; to a GPU through pinned memory, while `stream`, which uses the batch, computes."""
    batch = torch.empty(len(rows), size, size, 3, dtype=torch.uint8, pin_memory=stream is not None)
    pixels = batch.numpy()
    for i, (row, (y, x)) in enumerate(zip(rows.tolist(), corners.tolist(), strict=True)):
        pixels[i] = images[row, y : y + size, x : x + size]
    if stream is None:
        return batch.to(device)
    with torch.cuda.stream(copy_stream(device)):
        there = batch.to(device, non_blocking=True)
    copy_stream(device).synchronize()  # only this thread waits
    there.record_stream(stream)  # its memory is not reused before that stream has finished
    return there


def gather_on_device(images: Tensor, size: int, rows: Tensor, corners: Tensor) -> Tensor:
    """Gather from images on the device."""
    side = torch.arange(size, device=images.device)
    row, y, x = (copy_to(part, images.device) for part in (rows[:, None, None], *corners.T[:, :, None]))
    return images[row, (y + side)[:, :, None], (x + side)[:, None, :]]


def normalise(images: Tensor, layout: torch.memory_format) -> Tensor:
    """Bytes or floats (B, 3, S, S) in 0..255 -> ImageNet-normalised floats (B, 3, S, S) in a memory layout."""
    scale, shift = constants(images.device)
    if images.permute(0, 2, 3, 1).is_contiguous():  # channels last: whole rows at once are several times as fast
        side = images.shape[-1]
        lines = images.permute(0, 2, 3, 1).reshape(-1, 3 * side)
        flat = lines.to(torch.float32, copy=True).mul_(scale.repeat(side)).add_(shift.repeat(side))
        normal = flat.view(len(images), -1, side, 3).permute(0, 3, 1, 2)
    else:
        normal = images * scale[:, None, None] + shift[:, None, None]
    return normal.contiguous(memory_format=layout)


@cache
def constants(device: torch.device) -> tuple[Tensor, Tensor]:
    """Return scale and shift (3,) that normalise a byte."""
    mean, std = (torch.tensor(values, dtype=torch.float64) * 255 for values in (MEAN, STD))
    return (1 / std).float().to(device), (-mean / std).float().to(device)


def to_device(targets: Tensor, device: torch.device) -> Tensor:
    """Copy targets to the device without waiting for it."""
    return copy_to(targets.pin_memory() if device.type == "cuda" else targets, device)
