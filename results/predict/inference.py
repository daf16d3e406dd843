"""What a network sees of pictures, and what it predicts from that, a batch at a time."""

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
from results.predict.boxes import FindBoxes, network_input
from results.predict.source import Picture
from results.retest.loaded_checkpoint import LoadedCheckpoint

PIXELS = 64_000_000  # of the pictures that are held at once, unless one alone has more


@dataclass(frozen=True)
class Crops:
    """A picture, its boxes, the region of each that is cropped (None: all of it), and the network's inputs (S, S, 3)."""

    picture: Picture
    boxes: Sequence[Box]
    regions: Sequence[Box | None]
    inputs: Sequence[NDArray[np.uint8]]


@dataclass
class Counts:
    """How many pictures were predicted, in how many boxes, how many had no box; and why the others failed."""

    pictures: int = 0
    predictions: int = 0
    without_box: int = 0
    failed: list[str] = field(default_factory=list)


def batches(pictures: Iterable[Picture], most: int) -> Iterator[list[Picture]]:
    """Yield lists of at most `most` pictures, fewer where they are large."""
    batch: list[Picture] = []
    pixels = 0
    for picture in pictures:
        batch.append(picture)
        pixels += picture.image.width * picture.image.height
        if len(batch) == most or pixels > PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch


def crop(picture: Picture, find: FindBoxes | None, loaded: LoadedCheckpoint, counts: Counts) -> Crops | None:
    """Return a picture's boxes (without `find` the whole of it) and the network's inputs; None, and count it, if one fails."""
    config = loaded.config
    try:
        boxes = [(0, 0, *picture.image.size)] if find is None else find(picture)
        regions = [None] if find is None else boxes
        inputs = [network_input(picture.image, region, config, config.image_size) for region in regions]
    except UserError as error:
        place = picture.name if picture.frame is None else f"{picture.name}, frame {picture.frame}"
        counts.failed.append(f"{place}: {error}")
        return None
    counts.without_box += not boxes
    return Crops(picture, boxes, regions, inputs)


def predict(loaded: LoadedCheckpoint, inputs: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, Tensor | None]:
    """Return predictions (n, axes) in units from images (S, S, 3), and the posterior's standard deviations if any."""
    model, config = loaded.model.eval(), loaded.config
    device = next(model.parameters()).device
    predictions, posteriors = [], []
    with torch.inference_mode(), plain_fp32():
        for images in torch.from_numpy(np.stack(inputs)).split(config.eval_batch_size):
            outputs = model(normalise(images.to(device).permute(0, 3, 1, 2), config.layout))
            predictions.append(next(iter(model.head.decode(outputs).values())).cpu())
            posteriors.append(summary([p.cpu() for p in model.head.posteriors(outputs)], None, config.axes))
    return torch.cat(predictions), stacked(posteriors).get("std")
