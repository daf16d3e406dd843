"""Batches from a prepared array: gathered and cropped as bytes, augmented and normalised as tensors on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bel.angles import Axis
from bel.data.prepared import Prepared

if TYPE_CHECKING:
    from bel.config import TrainConfig

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet
BLUR = 5  # pixels


def train_batches(
    data: Prepared, rows: Tensor, config: TrainConfig, generator: torch.Generator, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch in random order: images (B, 3, S, S) and targets in units (B, axes) on the device.

    Order, crops, flips and blurs come from `generator` alone.
    """
    order = rows[torch.randperm(len(rows), generator=generator)]
    margin = config.prepared_size - config.image_size
    for batch in order[: len(rows) // config.batch_size * config.batch_size].split(config.batch_size):
        corners = torch.randint(margin + 1, (len(batch), 2), generator=generator)
        flipped, blurred = torch.rand(2, len(batch), generator=generator) < torch.tensor([[config.flip], [config.blur]])
        images = normalise(gather(data, batch, corners, config.image_size).to(device), config.layout)
        targets = data.targets[batch].to(device)
        images, targets = flip(images, targets, flipped, config.axes)
        yield blur(images, blurred), targets


def eval_batches(data: Prepared, rows: Tensor, config: TrainConfig, device: torch.device) -> Iterator[Tensor]:
    """Center crops (B, 3, S, S) on the device, in the order of `rows`."""
    margin = config.prepared_size - config.image_size
    for batch in rows.split(config.eval_batch_size):
        corners = torch.full((len(batch), 2), margin // 2)
        yield normalise(gather(data, batch, corners, config.image_size).to(device), config.layout)


def gather(data: Prepared, rows: Tensor, corners: Tensor, size: int) -> Tensor:
    """Rows (B,) and their upper left corners (B, 2) -> bytes (B, size, size, 3)."""
    batch = np.empty((len(rows), size, size, 3), dtype=np.uint8)
    for i, (row, (y, x)) in enumerate(zip(rows.tolist(), corners.tolist(), strict=True)):
        batch[i] = data.images[row, y : y + size, x : x + size]
    return torch.from_numpy(batch)


def normalise(images: Tensor, layout: torch.memory_format) -> Tensor:
    """Bytes (B, S, S, 3) -> ImageNet-normalised floats (B, 3, S, S) in a memory layout."""
    mean, std = (torch.tensor(values, device=images.device) * 255 for values in (MEAN, STD))
    return ((images.float() - mean) / std).permute(0, 3, 1, 2).contiguous(memory_format=layout)


def flip(images: Tensor, targets: Tensor, chosen: Tensor, axes: Sequence[Axis]) -> tuple[Tensor, Tensor]:
    """Mirror the chosen images (B,), a mask on the CPU, and give their targets the signs of a mirrored scene."""
    if not chosen.any():
        return images, targets
    chosen = chosen.to(images.device)
    signs = torch.tensor([axis.flip or 1 for axis in axes], dtype=targets.dtype, device=targets.device)
    mirrored = torch.where(chosen[:, None, None, None], images.flip(-1), images)
    return mirrored, torch.where(chosen[:, None], targets * signs, targets)


def blur(images: Tensor, chosen: Tensor) -> Tensor:
    """Box-blur the chosen images (B,), a mask on the CPU."""
    if not chosen.any():
        return images
    chosen = chosen.to(images.device)
    blurred = F.avg_pool2d(images, BLUR, stride=1, padding=BLUR // 2, count_include_pad=False)
    return torch.where(chosen[:, None, None, None], blurred, images)
