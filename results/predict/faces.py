"""Which parts of a picture `bel-predict` looks at, from a file of boxes or a face detector, and what a network sees of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bel.config import TrainConfig
from bel.data.prepare.crops import center, cut, expanded_box, fitted, part, refuse_outside
from bel.data.readers.base import Box, Entry, Label
from bel.data.readers.boxes import named_boxes
from bel.errors import UserError
from results.predict.frames import Picture, opencv

CASCADE = "haarcascade_frontalface_alt2.xml"
SMALLEST = 12  # faces that fit beside each other into a picture, at most, where they are looked for

Find = Callable[[Picture], list[Box]]


def whole(picture: Picture) -> list[Box]:
    """The whole picture."""
    return [(0, 0, *picture.image.size)]


def listed(path: Path) -> Find:
    """Boxes of a CSV of image,x0,y0,x1,y1 in pixels, several lines a picture allowed. Raises `UserError` by line."""
    found: dict[str, list[Box]] = {}
    for _, name, box in named_boxes(path, "image"):
        found.setdefault(name, []).append(box)
    return lambda picture: next((found[key] for key in picture.keys if key in found), [])


def detector() -> Find:
    """Upright faces that OpenCV's Haar cascade finds, the widest first. Raises `UserError` without that."""
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


def grown(find: Find, share: float) -> Find:
    """Boxes with a share of their width and height added on every side. Raises `UserError` for one beyond its picture."""

    def find_grown(picture: Picture) -> list[Box]:
        boxes = []
        for x0, y0, x1, y1 in find(picture):
            refuse_outside((x0, y0, x1, y1), *picture.image.size)
            dx, dy = round(share * (x1 - x0)), round(share * (y1 - y0))
            boxes.append((x0 - dx, y0 - dy, max(x1 + dx, x0 - dx + 1), max(y1 + dy, y0 - dy + 1)))
        return boxes

    return find_grown


def seen(image: Image.Image, box: Box | None, config: TrainConfig, side: int) -> NDArray[np.uint8]:
    """What a network trained with `config` sees of a box (None: the whole image), as evaluation cuts it (side, side, 3).

    A box stands for the one of crop boxes, for the landmarks' extent, and otherwise for a whole image.
    """
    size = round(side * config.prepared_size / config.image_size)
    crop, margin, label, to = config.crop or "frame", config.margin or 0.0, Label(np.empty(0)), (size, size)
    if crop != "published":
        crop, margin = ("frame", 0.0) if box is None else ("boxes", margin)
    elif not landmarked(config):
        image, box = (image if box is None else part(image, box)), None
        x0, y0, x1, y1 = expanded_box(*image.size)
        to = fitted(x1 - x0, y1 - y0, size)
    elif box is None:
        crop = "frame"
    else:  # a landmark at 0 or below counts as missing
        label = Label(np.empty(0), np.maximum(np.array(box, np.float64).reshape(2, 2).T, 1e-6))
    pixels = cut(image, Entry("", Path(), "", box=box), label, crop, margin, to)
    top, left = center(pixels.shape, side, config.center_crop)
    return pixels[top : top + side, left : left + side]


def landmarked(config: TrainConfig) -> bool:
    """Whether the images of a config's protocol have landmarks."""
    return "landmarks" in config.definition.crops
