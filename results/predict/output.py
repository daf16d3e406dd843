"""What `bel-predict` writes: a table of predictions, pictures or a video with them drawn in, and a sheet of a folder."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from bel.angles import Axis
from bel.config import TrainConfig
from bel.data.checking.sheet import LEGEND, PICKED, TILE, WHITE, draw_axes, grid, labelled
from bel.data.prepare.crops import square
from bel.data.readers.base import Box
from bel.deploy.crop import network_input
from bel.text import cell, listed
from results.predict.inference import Crops, Predicted
from results.predict.source import Source, VideoWriter

TABLE, PICTURES, VIDEO, SHEET = "predictions.csv", "pictures", "annotated.mp4", "sheet.jpg"
BOX = ("x0", "y0", "x1", "y1")
KEPT = (".jpg", ".jpeg", ".png")  # suffixes of pictures that are written in their own format


class Output:
    """The files of a folder, written picture by picture; the sheet, of a folder's pictures in equal steps, at the end."""

    def __init__(self, folder: Path, source: Source, config: TrainConfig, calibrated: bool = False) -> None:
        self.folder, self.config = folder, config
        self.axes, self.pose = config.axes, config.definition.pose
        self.tiles: list[Image.Image] = []
        self.number = 0
        count = PICKED if source.path.is_dir() else 0
        self.on_sheet = set(np.linspace(0, source.count - 1, count).round().tolist())
        self.video = VideoWriter(folder / VIDEO, source.rate) if source.video else None
        self.file = (folder / TABLE).open("w", newline="", encoding="utf-8")
        self.table = csv.writer(self.file, lineterminator="\n")
        self.table.writerow(["file", "frame", *columns(self.axes, calibrated)])

    def add(self, crops: Crops, found: Predicted) -> None:
        """Write a picture with what was predicted for each of its boxes."""
        picture = crops.picture
        values: list[list[float]] = found.values.tolist()
        for box, row in zip(crops.boxes, numbers_of(found), strict=True):
            frame = "" if picture.frame is None else picture.frame
            self.table.writerow([cell(picture.name), frame, *box, *map(text_of, row)])
        drawn = annotate(picture.image, crops.boxes, values, self.axes, self.pose)
        if self.video:
            self.video.write(drawn)
        else:
            save(drawn, self.folder / PICTURES / picture.name)
        if self.number in self.on_sheet and crops.boxes:
            image = Image.fromarray(network_input(picture.image, crops.regions[0], self.config, TILE))
            text = prediction_text(values[0], self.axes, self.pose)
            self.tiles.append(labelled(image, picture.name, text, values[0] if self.pose else None))
        self.number += 1

    def close(self) -> None:
        """Close the files, and write the sheet."""
        self.file.close()
        if self.video:
            self.video.close()
        if self.tiles:
            title = f"{len(self.tiles)} of {self.number}, as the network saw them    {LEGEND if self.pose else ''}"
            grid(self.tiles, title).save(self.folder / SHEET, quality=92)


def columns(axes: Sequence[Axis], calibrated: bool) -> list[str]:
    """Return the names of the columns of a prediction: box, predictions, standard deviations, ends of intervals."""
    names = [axis.name for axis in axes]
    more = [f"{kind}_{name}" for kind in ("std", "lower", "upper")[: 3 if calibrated else 1] for name in names]
    return [*BOX, *names, *more]


def numbers_of(found: Predicted) -> list[list[float | None]]:
    """Return for each prediction the numbers of its columns behind the box; None of a head without a posterior."""
    std = torch.full_like(found.values, torch.nan) if found.std is None else found.std
    rows: list[list[float]] = torch.cat([found.values, std, *(found.bounds or ())], 1).tolist()
    return [[None if math.isnan(x) and found.std is None else x for x in row] for row in rows]


def text_of(value: float | None) -> str:
    """Return a number as a cell of the table; empty for None."""
    return "" if value is None else f"{value:.6f}"


def save(image: Image.Image, path: Path) -> None:
    """Write a picture in the format of its suffix, or as PNG; under a new name where another one has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path if path.suffix.lower() in KEPT else path.with_name(f"{path.name}.png")
    while path.exists():
        path = path.with_name(f"_{path.name}")
    image.save(path, quality=92)  # of JPEG


def prediction_text(values: Sequence[float], axes: Sequence[Axis], pose: bool) -> str:
    """Return a prediction in units as one line."""
    if pose:
        return "  ".join(f"{axis.name[0]} {value:.0f}" for axis, value in zip(axes, values, strict=True))
    parts = [f"{axis.name} {value:.4g} {axis.unit}".strip() for axis, value in zip(axes, values, strict=True)]
    return listed(parts, between="  ")


def annotate(
    image: Image.Image, boxes: Sequence[Box], rows: Sequence[Sequence[float]], axes: Sequence[Axis], pose: bool
) -> Image.Image:
    """Return a picture with the prediction of each box in units drawn in: a head's axes, its box, and the numbers."""
    drawn = image.copy()
    draw = ImageDraw.Draw(drawn)
    for box, values in zip(boxes, rows, strict=True):
        length = max(box[2] - box[0], box[3] - box[1])
        width = max(round(length / TILE), 1)
        if box != (0, 0, *image.size):
            draw.rectangle(box, outline=WHITE, width=width)
        if pose:
            draw_axes(draw, values, square(*box, 0))
        font = ImageFont.load_default(max(length / 14, 9))
        corner = (max(box[0], 0) + 2 * width, max(box[1], 0) + 2 * width)
        text = prediction_text(values, axes, pose)
        draw.text(corner, text, fill=WHITE, font=font, stroke_width=width, stroke_fill="black")
    return drawn
