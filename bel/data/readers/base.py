"""What a dataset reader gives: the images of a dataset with their groups, and the label of each.

A new dataset is one reader file with its `Source`s, and one entry of `PROTOCOLS`.
"""

import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bel.data.readers.cells import read_text
from bel.errors import UserError

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels, upper end exclusive


class NoImagesError(UserError):
    """No image of a source is in its folder; a caller that does not need them may continue."""


@dataclass(frozen=True)
class Entry:
    """One image on disk, its group, which no split may divide, and its label file.

    From a table of all labels it has the target (in the order and units of the axes) and the box instead of a label file.
    """

    stem: str
    image: Path
    group: str
    label: Path | None = None
    target: tuple[float, ...] | None = None
    box: Box | None = None


@dataclass(frozen=True)
class Listing:
    """Images named by a list, a table or a folder (`origin`): `entries` with all their files, the others `unusable`.

    `unusable` maps a stem to a sentence that says why and names the file.
    """

    entries: list[Entry]
    unusable: dict[str, str]
    origin: Path

    @property
    def total(self) -> int:
        """Number of images that are named."""
        return len(self.entries) + len(self.unusable)


@dataclass(frozen=True)
class Label:
    """Target (axes,) in the order and units of the axes, and landmarks (2, points) in pixels where the dataset has some."""

    target: NDArray[np.float64]
    landmarks: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Source:
    """The train or the test part of a protocol on disk; its functions can be pickled, for other processes.

    `listed(data_root)` gives the images of the published list (or of a scan where there is no list), `scanned` all images
    on disk, `read(entry)` one label. `limit` is the largest absolute target that is kept, `frame` the published width and
    height, `filelist` the name of the list in the dataset's folder, `version` changes with a plug-in's source.
    """

    name: str
    listed: Callable[[Path], Listing]
    scanned: Callable[[Path], Listing]
    read: Callable[[Entry], Label]
    limit: float = float("inf")
    frame: tuple[int, int] | None = None
    filelist: str = ""
    version: str = ""


def find_folder(data_root: Path, name: str, inside: str) -> Path:
    """Return `data_root/name`, or `data_root` where that is the dataset's folder: the one that contains `inside`.

    A pattern like */*.jpg matches other datasets too, so it counts only in a folder with the name of the dataset.
    Raises `NoImagesError` where neither contains it.
    """
    for folder in (data_root / name, data_root):
        if any(folder.glob(inside)) and (name in (folder.name, folder.resolve().name) or "*" not in inside):
            return folder
    rendered = f"bel-data synth --layout {'biwi' if name == 'BIWI' else '300w_lp'} --out {shlex.quote(str(data_root))}"
    raise NoImagesError(
        f"no {name} images in {str(data_root)!r}: neither {data_root / name / inside} nor {data_root / inside} is there; "
        f"set data_root to the folder that holds {name}/ (or render one: {rendered})"
    )


def read_list(path: Path) -> list[str]:
    """Return the stems in a list file, one a line, without blank lines. Raises `UserError` where one is named twice."""
    lines = read_text(path, "the list").splitlines()
    stems = [line.strip() for line in lines if line.strip()]
    if not stems:
        raise UserError(f"the list {path} names no image: write one stem a line, or remove the file to scan the folder")
    refuse_twice(path, stems)
    return stems


def refuse_twice(origin: Path, stems: list[str]) -> None:
    """Raise `UserError` where a stem is named twice: it would count double."""
    stem, times = Counter(stems).most_common(1)[0]
    if times > 1:
        raise UserError(f"{origin} names {stem} {times} times: leave one line of it")


def find_images(
    folder: Path,
    stems: list[str],
    endings: tuple[str, ...],
    label: str,
    group: Callable[[str], str],
    origin: Path,
) -> Listing:
    """Return the images of stems below `folder`: the first of `endings` that exists is the image, stem + `label` its label."""
    found: list[Entry] = []
    unusable: dict[str, str] = {}
    for stem in stems:
        images = [folder / f"{stem}{ending}" for ending in endings]
        image = next((path for path in images if path.is_file()), None)
        label_file = folder / f"{stem}{label}"
        if not is_text(stem):
            unusable[stem] = f"{folder / ascii(stem)} has a name that is not UTF-8: rename it"
        elif image is None:
            linked = next((path for path in images if path.is_symlink()), None)
            unusable[stem] = absent(linked or images[0])
        elif not label_file.is_file():
            unusable[stem] = absent(label_file)
        else:
            found.append(Entry(stem, image, group(stem), label_file))
    return Listing(found, unusable, origin)


def is_text(name: str) -> bool:
    """Return whether the name of a file is valid Unicode."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def absent(path: Path) -> str:
    """Return why a path is no file."""
    if path.is_symlink():
        return f"{path} is a link that leads to no file"
    return f"{path} is a folder" if path.is_dir() else f"{path} does not exist"
