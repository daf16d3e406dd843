"""Which part of an image the network sees: a box (x0, y0, x1, y1) in pixels, upper end exclusive; black outside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box = tuple[int, int, int, int]
Landmarks = NDArray[np.float64]


def landmark_box(landmarks: Landmarks, width: int, height: int) -> Box:
    """Published box of 300W_LP and AFLW2000: landmarks (2, points) with 0.6 of their extent around, inside the image.

    Points with a coordinate <= 0 are missing; x or y decides which, whichever keeps fewer points.
    """
    present = min(landmarks[0] > 0, landmarks[1] > 0, key=np.count_nonzero)
    kept = landmarks[:, present]
    x0, y0 = (int(low) for low in kept.min(1))
    x1, y1 = (int(high) for high in kept.max(1))
    dx, dy = 0.6 * abs(x1 - x0), 0.6 * abs(y1 - y0)
    return (
        max(int(x0 - dx), 0),
        max(int(y0 - dy), 0),
        min(int(x1 + dx), width - 1),
        min(int(y1 + dy), height - 1),
    )


def expanded_box(width: int, height: int, k: float = 0.35) -> Box:
    """Published box of BIWI: the frame expanded on every side, each side from the values already updated."""
    x0, y0, x1, y1 = 0.0, 0.0, float(width), float(height)
    x0 -= 0.6 * k * (x1 - x0)
    y0 -= k * (y1 - y0)
    x1 += 0.6 * k * (x1 - x0)
    y1 += 0.6 * k * (y1 - y0)
    return int(x0), int(y0), int(x1), int(y1)


def published(landmarks: Landmarks | None, width: int, height: int) -> Box:
    """What the published preparation cuts: around the landmarks where there are some, else the expanded frame."""
    return expanded_box(width, height) if landmarks is None else landmark_box(landmarks, width, height)


def frame(landmarks: Landmarks | None, width: int, height: int) -> Box:
    """The whole image, for data that is cropped already."""
    return 0, 0, width, height


CROPS: dict[str, Callable[[Landmarks | None, int, int], Box]] = {"published": published, "frame": frame}


def cut(image: Image.Image, box: Box, size: int, stretch: bool) -> NDArray[np.uint8]:
    """Box of an image as (size, size, 3): stretched to the square, or its shorter side fitted and the rest cut off."""
    if not stretch:
        box = inner_square(box)
    return np.asarray(image.convert("RGB").crop(box).resize((size, size), Image.Resampling.BILINEAR))


def inner_square(box: Box) -> Box:
    """The centred square of a box, of its shorter side."""
    x0, y0, x1, y1 = box
    side = min(x1 - x0, y1 - y0)
    left, top = x0 + (x1 - x0 - side) // 2, y0 + (y1 - y0 - side) // 2
    return left, top, left + side, top + side
