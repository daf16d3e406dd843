"""Predictions drawn into pictures, and on a sheet of what the network saw; a pose as the axes of a head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from bel.angles import Axis
from bel.data.checking.sheet import CAPTION, COLUMNS, GREY, LEGEND, TILE, WHITE, draw_axes
from bel.data.prepare.crops import square
from bel.data.readers.base import Box
from bel.text import listed

BLACK = (0, 0, 0)


class Placed(ImageDraw.ImageDraw):
    """Draws into a square of an image what is meant for a tile of the sheet."""

    def __init__(self, image: Image.Image, box: Box) -> None:
        super().__init__(image)
        self.left, self.top, right, _ = square(*box, 0)
        self.scale = (right - self.left) / TILE

    def placed(self, xy: Any) -> list[float]:
        """Coordinates of the tile, flat or in pairs -> of the image."""
        points = np.reshape(xy, (-1, 2)) * self.scale + (self.left, self.top)
        return points.ravel().tolist()

    def line(self, xy: Any, fill: Any = None, width: int = 0, joint: str | None = None) -> None:
        """A line in the tile."""
        super().line(self.placed(xy), fill, max(round(width * self.scale), 1), joint)

    def ellipse(self, xy: Any, *args: Any, **kwargs: Any) -> None:
        """An ellipse in the tile."""
        super().ellipse(self.placed(xy), *args, **kwargs)


def said(values: Sequence[float], axes: Sequence[Axis], pose: bool) -> str:
    """The numbers of a prediction in a line."""
    if pose:
        return "  ".join(f"{axis.name[0]} {value:.0f}" for axis, value in zip(axes, values, strict=True))
    parts = [f"{axis.name} {value:.4g} {axis.unit}".strip() for axis, value in zip(axes, values, strict=True)]
    return listed(parts, between="  ")


def annotate(
    image: Image.Image, boxes: Sequence[Box], rows: Sequence[Sequence[float]], axes: Sequence[Axis], pose: bool
) -> Image.Image:
    """A picture with the values of each box in units drawn in: a head's axes, its box, and the numbers."""
    drawn = image.copy()
    draw = ImageDraw.Draw(drawn)
    for box, values in zip(boxes, rows, strict=True):
        length = max(box[2] - box[0], box[3] - box[1])
        width = max(round(length / TILE), 1)
        if box != (0, 0, *image.size):
            draw.rectangle(box, outline=WHITE, width=width)
        if pose:
            draw_axes(Placed(drawn, box), values)
        font = ImageFont.load_default(max(length / 14, 9))
        place = (max(box[0], 0) + 2 * width, max(box[1], 0) + 2 * width)
        draw.text(place, said(values, axes, pose), fill=WHITE, font=font, stroke_width=width, stroke_fill=BLACK)
    return drawn


def draw_tile(
    pixels: NDArray[np.uint8], name: str, values: Sequence[float], axes: Sequence[Axis], pose: bool
) -> Image.Image:
    """What the network saw, (TILE, TILE, 3), with its name and its values in units."""
    tile = Image.new("RGB", (TILE, TILE + CAPTION))
    tile.paste(Image.fromarray(pixels), (0, 0))
    draw = ImageDraw.Draw(tile)
    if pose:
        draw_axes(draw, values)
    draw.text((3, TILE + 1), name[-27:], fill=GREY)
    draw.text((3, TILE + 13), said(values, axes, pose)[:30], fill=WHITE)
    return tile


def draw_sheet(tiles: Sequence[Image.Image], title: str, pose: bool) -> Image.Image:
    """Tiles in rows of six below a title."""
    rows = math.ceil(len(tiles) / COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, CAPTION + rows * (TILE + CAPTION)))
    ImageDraw.Draw(sheet).text((6, 6), f"{title}    {LEGEND if pose else ''}", fill=WHITE)
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (i % COLUMNS * TILE, CAPTION + i // COLUMNS * (TILE + CAPTION)))
    return sheet
