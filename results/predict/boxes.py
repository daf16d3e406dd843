"""The boxes of a picture, from a file or a face detector, and the network's input for one of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bel.config import TrainConfig
from bel.data.prepare.crops import center, cut, expanded_box, part, refuse_outside, resized_shape
from bel.data.readers.base import Box, Entry, Label
from bel.data.readers.boxes import named_boxes
from bel.errors import UserError
from results.predict.source import Picture, opencv

CASCADE = "haarcascade_frontalface_alt2.xml"
SMALLEST = 12  # the least side of a face that is found is this part of the picture's shorter side

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


def network_input(image: Image.Image, box: Box | None, config: TrainConfig, side: int) -> NDArray[np.uint8]:
    """Return what a network trained with `config` sees of a box (None: the whole image), as evaluation crops (side, side, 3).

    A box stands for the one of crop boxes, for the landmarks' extent, and otherwise for a whole image.
    """
    size = round(side * config.prepared_size / config.image_size)
    crop, margin, label, to = config.crop or "frame", config.margin or 0.0, Label(np.empty(0)), (size, size)
    if crop != "published":
        crop, margin = ("frame", 0.0) if box is None else ("boxes", margin)
    elif not has_landmarks(config):
        image, box = (image if box is None else part(image, box)), None
        x0, y0, x1, y1 = expanded_box(*image.size)
        to = resized_shape(x1 - x0, y1 - y0, size)
    elif box is None:
        crop = "frame"
    else:  # a landmark at 0 or below counts as missing
        label = Label(np.empty(0), np.maximum(np.array(box, np.float64).reshape(2, 2).T, 1e-6))
    pixels = cut(image, Entry("", Path(), "", box=box), label, crop, margin, to)
    top, left = center(pixels.shape, side, config.center_crop)
    return pixels[top : top + side, left : left + side]


def has_landmarks(config: TrainConfig) -> bool:
    """Return whether the images of a config's protocol have landmarks."""
    return "landmarks" in config.definition.crops
