"""Crops: the part of an image that a network sees, a box (x0, y0, x1, y1) in pixels, upper end exclusive; black outside."""

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bel.data.images import EXIF, opened, refuse_mode, refuse_pixels, rgb
from bel.data.readers.base import Box, Entry, Label
from bel.errors import UserError, one_of

Landmarks = NDArray[np.float64]
PUBLISHED_SIDE = 224  # pixels of the published crops around landmarks, before any later resize
AS_STORED = ("published", "landmarks")  # their landmarks and published numbers are of images that EXIF did not turn
MARGINS = {"boxes": 0.0, "landmarks": 0.3}  # share of the box added on every side, of the crops with a margin


def present(landmarks: Landmarks) -> Landmarks:
    """Landmarks (2, points) without the missing ones. Raises `UserError` where fewer than two are left.

    Points with a coordinate <= 0 are missing; x or y decides which, whichever keeps fewer points.
    """
    kept = landmarks[:, min(landmarks[0] > 0, landmarks[1] > 0, key=np.count_nonzero)]
    if kept.shape[1] < 2:
        raise UserError(f"{kept.shape[1]} of {landmarks.shape[1]} landmarks are present: no box around them")
    return kept


def landmark_box(landmarks: Landmarks, width: int, height: int) -> Box:
    """Published box of 300W_LP and AFLW2000: landmarks (2, points) with 0.6 of their extent around, inside the image."""
    kept = present(landmarks)
    x0, y0 = (int(low) for low in kept.min(1))
    x1, y1 = (int(high) for high in kept.max(1))
    dx, dy = 0.6 * abs(x1 - x0), 0.6 * abs(y1 - y0)
    left, top = max(int(x0 - dx), 0), max(int(y0 - dy), 0)
    right, bottom = min(int(x1 + dx), width - 1), min(int(y1 + dy), height - 1)
    if right <= left or bottom <= top:
        raise UserError(f"its landmarks lie outside the image of {width} x {height} pixels: was it cropped later?")
    return left, top, right, bottom


def expanded_box(width: int, height: int, k: float = 0.35) -> Box:
    """Published box of BIWI: the frame expanded on every side, each side from the values already updated."""
    x0, y0, x1, y1 = 0.0, 0.0, float(width), float(height)
    x0 -= 0.6 * k * (x1 - x0)
    y0 -= k * (y1 - y0)
    x1 += 0.6 * k * (x1 - x0)
    y1 += 0.6 * k * (y1 - y0)
    return int(x0), int(y0), int(x1), int(y1)


def published(entry: Entry, label: Label, width: int, height: int, margin: float) -> Box:
    """Return the published crop: around landmarks where the dataset has some, else the expanded frame."""
    return expanded_box(width, height) if label.landmarks is None else landmark_box(label.landmarks, width, height)


def frame(entry: Entry, label: Label, width: int, height: int, margin: float) -> Box:
    """Return a square around the whole image; for data that is cropped already."""
    return square(0, 0, width, height, 0)


def boxes(entry: Entry, label: Label, width: int, height: int, margin: float) -> Box:
    """Return a square around the box of the image, from a table or a file."""
    if entry.box is None:
        raise UserError(f"{entry.image} has no box: crop boxes wants a file of them (boxes), or box columns of a csv")
    x0, y0, x1, y1 = entry.box
    refuse_outside((x0, y0, x1, y1), width, height)
    return square(x0, y0, x1, y1, margin)


def landmarks(entry: Entry, label: Label, width: int, height: int, margin: float) -> Box:
    """Return a square around the present landmarks."""
    if label.landmarks is None:
        raise UserError(f"{entry.image} has no landmarks: crop landmarks is for data sets that have some")
    kept = present(label.landmarks)
    (x0, y0), (x1, y1) = kept.min(1).tolist(), kept.max(1).tolist()
    refuse_outside((x0, y0, x1, y1), width, height)
    return square(x0, y0, x1, y1, margin)


def refuse_outside(box: tuple[float, float, float, float], width: int, height: int) -> None:
    """Raise `UserError` where a box is outside the image, or so large that it must be of another image."""
    x0, y0, x1, y1 = box
    if min(x1, width) <= max(x0, 0) or min(y1, height) <= max(y0, 0) or max(x1 - x0, y1 - y0) > 10 * max(width, height):
        raise UserError(f"its box {[round(x) for x in box]} is not of this image of {width} x {height} pixels")


def square(x0: float, y0: float, x1: float, y1: float, margin: float) -> Box:
    """Return the square around a box, with `margin` of the box's longer side on every side."""
    side = round(max(x1 - x0, y1 - y0) * (1 + 2 * margin))
    left, top = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    return left, top, left + max(side, 1), top + max(side, 1)


CROPS: dict[str, Callable[[Entry, Label, int, int, float], Box]] = {
    crop.__name__: crop for crop in (published, frame, boxes, landmarks)
}


def margin_rule(margin: float | None, crop: str) -> float | None:
    """Return the margin of a crop, its default if None. Raises `UserError` for a crop without a margin."""
    if crop not in MARGINS and margin is not None:
        raise UserError(f"margin belongs to crop {' or '.join(MARGINS)}, not to {crop}: leave margin out")
    return MARGINS.get(crop) if margin is None else margin


def exif_rule(exif: str | None, crop: str, recipe: str) -> str:
    """Return whether EXIF turns images: by default unless recipe or crop is of images as stored. Raises `UserError`."""
    published = recipe == "published" or crop in AS_STORED
    rule = exif or ("ignore" if published else "apply")
    one_of("exif", rule, EXIF)
    if published and rule == "apply":
        raise UserError(
            f"exif must be ignore with recipe {recipe} and crop {crop}, which are of images as stored: leave exif out, or "
            "set recipe to clean and crop to frame or boxes"
        )
    return rule


CENTERS: dict[str, Callable[[int], int]] = {
    "round": lambda margin: round(margin / 2),  # half to even, as torchvision's CenterCrop does
    "floor": lambda margin: margin // 2,
}


def center(shape: tuple[int, ...], side: int, rule: str) -> tuple[int, int]:
    """Return top and left of the center crop of images (height, width, 3) to `side` pixels, by a rule of `CENTERS`."""
    return CENTERS[rule](shape[0] - side), CENTERS[rule](shape[1] - side)


def shape(crop: str, size: int, entries: Iterable[Entry], read: Callable[[Entry], Label]) -> tuple[int, int]:
    """Return height and width of the prepared images of a source: a square of `size`.

    Published frames keep the aspect of most of them, with `size` as the shorter side, so that random crops move sideways.
    Raises `UserError` where most frames have no common aspect.
    """
    found: Counter[tuple[int, int]] = Counter()
    for entry in entries if crop == "published" else ():
        try:
            if read(entry).landmarks is not None:
                return size, size
            with opened(entry.image) as image:
                x0, y0, x1, y1 = expanded_box(*image.size)
                found[resized_shape(x1 - x0, y1 - y0, size)] += 1
        except Exception:  # preparing it reports what is wrong
            continue
    usual, count = found.most_common(1)[0] if found else ((size, size), 1)
    if 2 * count <= found.total():
        raise UserError(
            f"crop published is of frames of one shape, these have {len(found)}: set crop to frame or boxes"
        )
    return usual


def resized_shape(width: int, height: int, size: int) -> tuple[int, int]:
    """Return height and width of an image resized to a shorter side of `size`, the longer one rounded down."""
    return (int(size * height / width), size) if height > width else (size, int(size * width / height))


def cut(
    image: Image.Image, entry: Entry, label: Label, crop: str, margin: float, to: tuple[int, int]
) -> NDArray[np.uint8]:
    """Cut the crop of an image as (height, width, 3) = `to`. Raises `UserError` where it has none.

    The published crop around landmarks is first stretched to 224 x 224 without antialias, as in its source; every other
    crop must have the aspect of `to`.
    """
    box = CROPS[crop](entry, label, *image.size, margin)
    refuse_mode(image)
    image = rgb(image)
    if crop == "published" and label.landmarks is not None:
        whole, side = part(image, box), (PUBLISHED_SIDE, PUBLISHED_SIDE)
        cropped = whole.transform(side, Image.Transform.EXTENT, (0, 0, *whole.size), Image.Resampling.BILINEAR)
    else:
        refuse_aspect(image, box, to)
        cropped = part(image, box)
    refuse_pixels(to[1], to[0], "what is made of it")
    return np.asarray(cropped.resize(to[::-1], Image.Resampling.BILINEAR))


def refuse_aspect(image: Image.Image, box: Box, to: tuple[int, int]) -> None:
    """Raise `UserError` where a box has not the aspect of (height, width) = `to`."""
    if resized_shape(box[2] - box[0], box[3] - box[1], min(to)) != to:
        raise UserError(
            f"it is {image.width} x {image.height}, of another shape than most images of its set, which crop published keeps "
            "whole: leave it out, or set crop to frame or boxes"
        )


def part(image: Image.Image, box: Box) -> Image.Image:
    """Return a box of an image, black outside of it. Raises `UserError` for too many pixels."""
    refuse_large(box)
    return image.crop(box)


def refuse_large(box: Box) -> None:
    """Raise `UserError` for a box with more pixels than a picture may have."""
    refuse_pixels(box[2] - box[0], box[3] - box[1], "its crop", "it, or its box,")
