"""What `Model.predict` takes: paths, PIL images and arrays, one or many, as pictures with their boxes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bel.data.images import decoded, orientation, refuse, rgb, upright
from bel.data.readers.base import Box
from bel.errors import UserError, whole, within
from results.predict import inference
from results.predict.source import Picture, files_below, refuse_no_picture

OneImage: TypeAlias = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]
Images: TypeAlias = OneImage | Sequence[OneImage]
KINDS = "a path, a PIL image or a uint8 array (height, width) or (height, width, 3)"


def pictures_of(images: Images, exif: str) -> Iterator[Picture]:
    """Yield images in RGB, upright if `exif` is `apply`, named by their paths or by their numbers from 0.

    Raises `UserError` for anything else.
    """
    for number, image in enumerate(listed(images)):
        if isinstance(image, str | os.PathLike):
            yield from files(Path(image), exif)
        elif isinstance(image, Image.Image):
            yield Picture(str(number), of_pil(image, f"image {number}", exif))
        elif isinstance(image, np.ndarray):
            yield Picture(str(number), Image.fromarray(checked(image, f"image {number}")).convert("RGB"))
        else:
            raise UserError(f"image {number} must be {KINDS}, got {type(image).__name__}")


def listed(images: Any) -> Sequence[Any]:
    """Return one image or several as a list."""
    several = isinstance(images, list | tuple) or (isinstance(images, np.ndarray) and images.ndim == 4)
    found = list(images) if several else [images]
    if not found:
        raise UserError(f"there is no image to predict: give {KINDS}, or a list of them")
    return found


def files(path: Path, exif: str) -> Iterator[Picture]:
    """Yield the picture of a file, or all below a folder in the order of their names."""
    found = files_below(path)[0] if path.is_dir() else [path]
    if not found:
        raise UserError(f"no image in {path} or below")
    for file in found:
        refuse_no_picture(file)
        try:
            yield Picture(str(file), decoded(file, exif))
        except OSError as error:
            raise UserError(f"cannot read the image {file}: {error.strerror}") from error


def of_pil(image: Image.Image, what: str, exif: str) -> Image.Image:
    """Return a PIL image in RGB, upright if `exif` is `apply`. Raises `UserError` for pixels of more than 8 bits."""
    try:
        refuse(image)
        return upright(rgb(image), orientation(image), exif)
    except UserError as error:
        raise UserError(f"{what} cannot be used: {error}") from error


def checked(array: NDArray[Any], what: str) -> NDArray[np.uint8]:
    """Return an array of pixels. Raises `UserError` for another type or shape."""
    if array.dtype != np.uint8:
        raise UserError(f"{what} must be of uint8, 0 to 255, got {array.dtype}: multiply and convert it first")
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)) or 0 in array.shape:
        raise UserError(f"{what} must be of shape (height, width) or (height, width, 3), RGB, got {array.shape}")
    return array


def boxes_of(
    boxes: Sequence[Sequence[Box]] | None, detect: bool, grow: float, pictures: Sequence[Picture]
) -> inference.FindBoxes | None:
    """Return the function that finds the boxes of a picture; None for whole pictures. Raises `UserError` for wrong options."""
    within("grow", grow, -0.45, 10)
    if boxes is not None and detect:
        raise UserError("boxes and detect are two ways to find boxes: give one of them")
    if boxes is None:
        if grow and not detect:
            raise UserError("grow is of boxes: give boxes or detect, or leave it out")
        return inference.grown(inference.face_detector(), grow) if detect else None
    if len(boxes) != len(pictures):
        raise UserError(
            f"boxes must have a list of boxes for each of the {len(pictures)} images, got {len(boxes)} lists"
        )
    by_picture = {id(picture): [box_of(box) for box in found] for picture, found in zip(pictures, boxes, strict=True)}
    return inference.grown(lambda picture: by_picture[id(picture)], grow)


def box_of(value: Any) -> Box:
    """Return a box. Raises `UserError` unless it is four whole numbers."""
    try:
        x0, y0, x1, y1 = (whole(part) for part in value)
    except (TypeError, ValueError):
        raise UserError(
            f"a box is (x0, y0, x1, y1) in pixels, got {value!r}: boxes has a list of them for each image"
        ) from None
    return x0, y0, x1, y1
