"""What a network sees of a picture: the crop that its training images were, of the whole picture or of a box in it."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bel.config import TrainConfig
from bel.data.prepare.crops import center, cut, expanded_box, part, resized_shape
from bel.data.readers.base import Box, Entry, Label


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
