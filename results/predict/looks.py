"""Looks at pictures: the parts that a network is shown of them, and what it says of those, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bel.data.batches import normalise
from bel.data.readers.base import Box
from bel.errors import UserError
from bel.precision import plain_fp32
from bel.training.evaluate import stacked, summary
from results.predict.faces import Find, seen, whole
from results.predict.frames import Picture
from results.retest.subject import Subject

PIXELS = 64_000_000  # of the pictures that are held at once, unless one alone has more


@dataclass(frozen=True)
class Look:
    """A picture, its boxes, which part is meant by each (None: all of it), and what the network sees of them (S, S, 3)."""

    picture: Picture
    boxes: Sequence[Box]
    parts: Sequence[Box | None]
    pixels: Sequence[NDArray[np.uint8]]


@dataclass
class Tally:
    """What became of the pictures: how many were predicted, in how many boxes, how many had none; why others were not."""

    pictures: int = 0
    predictions: int = 0
    without: int = 0
    failed: list[str] = field(default_factory=list)


def chunks(pictures: Iterable[Picture], most: int) -> Iterator[list[Picture]]:
    """Pictures in lists of at most `most`, fewer where they are large."""
    chunk: list[Picture] = []
    pixels = 0
    for picture in pictures:
        chunk.append(picture)
        pixels += picture.image.width * picture.image.height
        if len(chunk) == most or pixels > PIXELS:
            yield chunk
            chunk, pixels = [], 0
    if chunk:
        yield chunk


def look_at(picture: Picture, find: Find | None, subject: Subject, tally: Tally) -> Look | None:
    """A picture with its boxes and what the network sees of each; None, with a line in the tally, where one is wrong."""
    config = subject.config
    try:
        boxes = whole(picture) if find is None else find(picture)
        parts = [None] if find is None else boxes
        pixels = [seen(picture.image, part, config, config.image_size) for part in parts]
    except UserError as error:
        place = picture.name if picture.frame is None else f"{picture.name}, frame {picture.frame}"
        tally.failed.append(f"{place}: {error}")
        return None
    tally.without += not boxes
    return Look(picture, boxes, parts, pixels)


def predict(subject: Subject, pixels: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, Tensor | None]:
    """Images (S, S, 3), as evaluation sees them -> predictions (n, axes) in units, and the posterior's deviations if any."""
    model, config = subject.model.eval(), subject.config
    device = next(model.parameters()).device
    predictions, posteriors = [], []
    with torch.inference_mode(), plain_fp32():
        for images in torch.from_numpy(np.stack(pixels)).split(config.eval_batch_size):
            outputs = model(normalise(images.to(device).permute(0, 3, 1, 2), config.layout))
            predictions.append(next(iter(model.head.decode(outputs).values())).cpu())
            posteriors.append(summary([p.cpu() for p in model.head.posteriors(outputs)], None, config.axes))
    return torch.cat(predictions), stacked(posteriors).get("std")
