"""The boxes of pictures, from a file or a face detector, what a network sees of them, and what it predicts from that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mlflow.entities import Run
from numpy.typing import NDArray
from torch import Tensor

from bel.data.batches import normalise
from bel.data.prepare.crops import refuse_outside
from bel.data.readers.base import Box
from bel.data.readers.boxes import named_boxes
from bel.deploy.calibration import Calibration
from bel.deploy.crop import network_input
from bel.errors import UserError
from bel.precision import plain_fp32
from bel.training.evaluate import stacked
from bel.training.posterior import summary
from results.predict.source import Picture, opencv
from results.retest.loaded_checkpoint import LoadedCheckpoint, load_network
from results.store.calibration import stored_calibration

CASCADE = "haarcascade_frontalface_alt2.xml"
SMALLEST = 12  # the least side of a face that is found is this part of the picture's shorter side
PIXELS = 64_000_000  # of the pictures that are held at once, unless one alone has more

FindBoxes = Callable[[Picture], list[Box]]


def boxes_of_file(path: Path) -> FindBoxes:
    """Return a function that gives the boxes of a CSV of image,x0,y0,x1,y1 in pixels, several lines a picture.

    Raises `UserError`, with the line, for a file that is no such.
    """
    found: dict[str, list[Box]] = {}
    for _, name, box in named_boxes(path, "image"):
        found.setdefault(name, []).append(box)
    return lambda picture: next((found[key] for key in picture.keys if key in found), [])


def face_detector() -> FindBoxes:
    """Return a function that finds upright faces by OpenCV's Haar cascade, the widest first. Raises `UserError` without it."""
    cv2 = opencv("--detect")
    if not hasattr(cv2, "CascadeClassifier"):
        raise UserError(
            f"--detect needs OpenCV 4, for its face detector, got {cv2.__version__}: pip install 'bel-sweeps[video]'"
        )
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)

    def find(picture: Picture) -> list[Box]:
        grey = cv2.equalizeHist(np.asarray(picture.image.convert("L")))
        least = max(min(picture.image.size) // SMALLEST, 20)
        faces = cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=4, minSize=(least, least))
        corners = [(int(x), int(y), int(x + w), int(y + h)) for x, y, w, h in faces]
        return sorted(corners, key=lambda box: (box[0] - box[2], box))

    return find


def grown(find: FindBoxes, share: float) -> FindBoxes:
    """Return a function that finds boxes and adds a share of their sides on every side.

    It raises `UserError` for a box beyond its picture.
    """

    def find_grown(picture: Picture) -> list[Box]:
        boxes = []
        for x0, y0, x1, y1 in find(picture):
            refuse_outside((x0, y0, x1, y1), *picture.image.size)
            dx, dy = round(share * (x1 - x0)), round(share * (y1 - y0))
            boxes.append((x0 - dx, y0 - dy, max(x1 + dx, x0 - dx + 1), max(y1 + dy, y0 - dy + 1)))
        return boxes

    return find_grown


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


@dataclass(frozen=True)
class Predicted:
    """Predictions (n, axes) in units; the posterior's standard deviations if any, and of a calibrated network intervals."""

    values: Tensor
    std: Tensor | None = None
    bounds: tuple[Tensor, Tensor] | None = None

    def take(self, rows: slice) -> Predicted:
        """Return some rows."""
        bounds = self.bounds and (self.bounds[0][rows], self.bounds[1][rows])
        return Predicted(self.values[rows], None if self.std is None else self.std[rows], bounds)


def predict(
    loaded: LoadedCheckpoint, inputs: Sequence[NDArray[np.uint8]], calibration: Calibration | None = None
) -> Predicted:
    """Return predictions in units from images (S, S, 3), with intervals where there is a calibration."""
    model, config = loaded.model.eval(), loaded.config
    device = next(model.parameters()).device
    predictions, posteriors, halves = [], [], []
    with torch.inference_mode(), plain_fp32():
        for images in torch.from_numpy(np.stack(inputs)).split(config.eval_batch_size):
            outputs = model(normalise(images.to(device).permute(0, 3, 1, 2), config.layout))
            predictions.append(next(iter(model.head.decode(outputs).values())).cpu())
            posteriors.append(summary([p.cpu() for p in model.head.posteriors(outputs)], None, config.axes))
            if calibration is not None:
                halves.append(calibration.half_widths(model.head, outputs).cpu())
    values = torch.cat(predictions)
    bounds = None if calibration is None else calibration.bounds(values, torch.cat(halves))
    return Predicted(values, stacked(posteriors).get("std"), bounds)


@dataclass(frozen=True)
class Network:
    """A network that predicts pictures, with the calibration of its run if there is one."""

    loaded: LoadedCheckpoint
    calibration: Calibration | None

    @classmethod
    def of(cls, state: dict[str, Any], run: Run | None, changes: dict[str, Any]) -> Network:
        """Return the network of a checkpoint's state with the calibration of its run; `changes` are fields of its config."""
        loaded = load_network(state, changes, run)
        calibration = None if run is None else stored_calibration(run, state["epoch"], loaded.config.axes)
        return cls(loaded, calibration)

    def predicted(
        self,
        pictures: Iterable[Picture],
        find: FindBoxes | None,
        counts: Counts,
        done: Callable[[int], Any] = lambda number: None,
    ) -> Iterator[tuple[Crops, Predicted]]:
        """Yield the crops of each picture (without `find` the whole of it) with their predictions; count all of them.

        `done` is called with a number of pictures that are done with.
        """
        config = self.loaded.config
        nothing = Predicted(torch.empty(0, len(config.axes)))
        for batch in batches(pictures, config.eval_batch_size):
            cropped = [crops for picture in batch if (crops := crop(picture, find, self.loaded, counts))]
            inputs = [pixels for crops in cropped for pixels in crops.inputs]
            found = predict(self.loaded, inputs, self.calibration) if inputs else nothing
            first = 0
            for crops in cropped:
                yield crops, found.take(slice(first, first := first + len(crops.boxes)))
            counts.pictures += len(cropped)
            counts.predictions += first
            done(len(batch))
