"""What a dataset reader is: the files of a dataset, the label in one of them, and the group that a stem belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bel.errors import UserError


@dataclass(frozen=True)
class Entry:
    """One image on disk, with the file of its label."""

    stem: str
    image: Path
    label: Path


@dataclass(frozen=True)
class Label:
    """Target in the axes' order and units (axes,), and the landmarks in pixels (2, points) where the dataset has them."""

    target: NDArray[np.float64]
    landmarks: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Source:
    """One half of a protocol on disk.

    `entries(data_root)` lists its files, `read(label_file)` reads one label, `group(stem)` names the unit that must not
    be divided by a split, `limit` is the largest absolute target that is kept.
    """

    entries: Callable[[Path], list[Entry]]
    read: Callable[[Path], Label]
    group: Callable[[str], str]
    limit: float = float("inf")


def find_folder(data_root: Path, name: str, inside: str) -> Path:
    """`data_root/name`, or `data_root` itself where that is the dataset's own folder: the one that holds `inside`.

    A pattern like */*.jpg fits other datasets too, so that it is only believed in a folder of the dataset's name.
    """
    for folder in (data_root / name, data_root):
        if any(folder.glob(inside)) and (folder.name == name or "*" not in inside):
            return folder
    raise UserError(
        f"no {name} images in {str(data_root)!r}: neither {data_root / name / inside} nor {data_root / inside} is there; "
        f"set data_root to the folder that holds {name}/ (or render one with: bel-data synth)"
    )


def read_list(path: Path) -> list[str]:
    """Stems in a list file, one a line; blank lines are skipped."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list {path}: {error}") from error
    stems = [line.strip() for line in lines if line.strip()]
    if not stems:
        raise UserError(f"the list {path} names no image: write one stem a line, or remove the file to scan the folder")
    return stems


def find_images(folder: Path, stems: list[str], endings: tuple[str, ...], label: str, listed_in: Path) -> list[Entry]:
    """Entries for stems below `folder`: the first of `endings` that exists is the image, stem + `label` its label file.

    Raises `UserError` naming the first missing file and how many are missing.
    """
    found, missing = [], []
    for stem in stems:
        images = [folder / f"{stem}{ending}" for ending in endings]
        image = next((path for path in images if path.is_file()), None)
        label_file = folder / f"{stem}{label}"
        if image is None:
            missing.append(images[0])
        elif not label_file.is_file():
            missing.append(label_file)
        else:
            found.append(Entry(stem, image, label_file))
    if missing:
        raise UserError(
            f"{len(missing)} of {len(stems)} files named by {listed_in} do not exist, the first is {missing[0]}: "
            "correct the list or data_root"
        )
    return found
