"""Predictions drawn into pictures: the numbers, and a pose as the axes of a head."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from bel.angles import Axis
from bel.data.checking.sheet import TILE, WHITE, draw_axes
from bel.data.prepare.crops import square
from bel.data.readers.base import Box
from bel.text import listed

BLACK = (0, 0, 0)


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
        draw.text(corner, text, fill=WHITE, font=font, stroke_width=width, stroke_fill=BLACK)
    return drawn
