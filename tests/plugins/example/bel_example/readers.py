"""Pictures of a dot: `dots/train|test/SERIES/NAME.png`, its place in pixels in `NAME.txt`; a series is a group."""

from functools import partial
from pathlib import Path

import numpy as np

from bel.angles import Axis
from bel.data.protocols import Protocol
from bel.data.readers.base import Entry, Label, Listing, Source, find_folder, find_images


def scanned(data_root: Path, part: str) -> Listing:
    """Return every image of `part`."""
    folder = find_folder(data_root, "dots", part) / part
    stems = sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.glob("*/*.png"))
    return find_images(folder, stems, (".png",), ".txt", lambda stem: f"{part} {stem.split('/')[0]}", folder)


def read(entry: Entry) -> Label:
    """Read x and y."""
    assert entry.label is not None
    return Label(np.loadtxt(entry.label))


def source(part: str) -> Source:
    """Return the source of one part."""
    images = partial(scanned, part=part)
    return Source(part, images, images, read)


DOTS = Protocol(
    axes=(
        Axis("x", 0, 40, 40, unit="px", check_unit=False),
        Axis("y", 0, 40, 40, unit="px", flip=1, check_unit=False),
    ),
    train=source("train"),
    test=source("test"),
    pose=False,
    crops=("frame", "boxes"),
)
