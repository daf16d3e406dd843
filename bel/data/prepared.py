"""Prepared data: each image decoded, cropped and resized once into one uint8 array that every trial maps."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bel.data.boxes import read_boxes
from bel.data.build import IMAGES, MANIFEST, TARGETS, Order, Progress, build, content_digest
from bel.data.crops import shape
from bel.data.labels import refuse_off_range
from bel.data.sources import Entry, Listing, NoImagesError, Source
from bel.data.worker import row_digest
from bel.errors import UserError

if TYPE_CHECKING:
    from bel.config import TrainConfig

VERSION = 2  # of the pixels: raise it when a change alters them
ON_MISSING = ("error", "skip")
MOST_WORKERS = 32


@dataclass(frozen=True)
class Prepared:
    """Images uint8 (n, height, width, 3), targets float64 (n, axes) in units, one name and one group an image.

    `images` is a map of the file, or a tensor where the whole set lives on a device. `left_out` images were beyond the
    source's limit, `skipped` ones could not be used, `digest` is of pixels, targets, names and groups.
    """

    images: NDArray[np.uint8] | Tensor
    targets: Tensor
    names: list[str]
    groups: list[str]
    left_out: int
    skipped: int
    digest: str
    folder: Path

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Request:
    """What to prepare: a source, its place, the part of each image, its size in pixels, every `stride`-th image."""

    source: Source
    data_root: Path
    cache_dir: Path
    crop: str
    size: int
    margin: float = 0.0
    boxes: Path | None = None
    stride: int = 1
    skip: bool = False
    exif: str = "apply"


def silent(items: Iterable[Any], total: int) -> Iterable[Any]:
    """Progress that shows nothing."""
    return items


def load(config: TrainConfig, part: str, progress: Progress = silent) -> Prepared:
    """The prepared `train` or `test` source of a config's protocol, made first where there is none.

    Raises `UserError` where images cannot be used, or most labels are beyond an axis's range.
    """
    data = prepare(request(config, part), progress)
    refuse_off_range(data.targets, config.definition.axes, data.folder)
    return data


def request(config: TrainConfig, part: str) -> Request:
    """What a config asks for; only train is thinned by `frame_stride`."""
    source: Source = getattr(config.definition, part)
    assert config.crop is not None
    root = Path(config.data_root)
    return Request(
        source,
        root,
        Path(config.cache_dir),
        config.crop,
        config.prepared_size,
        margin=config.margin or 0.0,
        boxes=None if config.boxes is None else root / config.boxes,
        stride=config.frame_stride if part == "train" else 1,
        skip=config.on_missing == "skip",
        exif=config.exif or "apply",
    )


def prepare(wanted: Request, progress: Progress = silent, workers: int | None = None) -> Prepared:
    """Map the array of a source, made first where there is none for these files and options.

    Raises `UserError` naming the file that cannot be used, or an array on disk that is damaged.
    """
    listing = usable(wanted)
    folder = place(wanted, listing)
    if not folder.exists():
        order = Order(
            wanted.source,
            listing.entries,
            wanted.crop,
            wanted.margin,
            image_shape(wanted, listing.entries),
            asked_for(wanted, listing),
            wanted.skip,
            wanted.exif,
        )
        build(folder, order, min(workers or available_cores(), MOST_WORKERS), progress)
    return open_prepared(folder, wanted.skip)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable(wanted: Request) -> Listing:
    """The images to prepare, with their boxes. Raises `UserError` where one cannot be used and none may be skipped."""
    listing = wanted.source.listed(wanted.data_root)
    if wanted.boxes is not None:
        listing = with_boxes(listing, wanted.boxes)
    if listing.unusable and listing.entries and not wanted.skip:
        first = next(iter(listing.unusable.values()))
        raise UserError(
            f"{len(listing.unusable)} of {listing.total} images named by {listing.origin} cannot be used, the first: {first}; "
            "correct that or data_root, or set on_missing to skip"
        )
    if not listing.entries:
        why = ": there is none"
        if listing.unusable:
            why = f"; the first: {next(iter(listing.unusable.values()))}; correct that or data_root"
        raise NoImagesError(
            f"none of {listing.total} images of {wanted.source.name} named by {listing.origin} can be used{why}"
        )
    return replace(listing, entries=listing.entries[:: wanted.stride])


def is_here(wanted: Request) -> bool:
    """Whether a source has an image with its label here."""
    try:
        usable(replace(wanted, skip=True))
    except NoImagesError:
        return False
    return True


def with_boxes(listing: Listing, path: Path) -> Listing:
    """A listing whose images have the boxes of a file; those without one are unusable."""
    found = read_boxes(path)
    entries = [replace(entry, box=found[entry.stem]) for entry in listing.entries if entry.stem in found]
    without = {
        entry.stem: f"{path} has no box for {entry.stem}" for entry in listing.entries if entry.stem not in found
    }
    return Listing(entries, listing.unusable | without, listing.origin)


def image_shape(wanted: Request, entries: list[Entry]) -> tuple[int, int]:
    """Height and width of the prepared images, by the first image that can be opened."""
    for entry in entries:
        try:
            return shape(wanted.crop, wanted.size, entry, wanted.source.read(entry))
        except Exception:  # preparing it will say what is wrong with it
            continue
    return wanted.size, wanted.size


def place(wanted: Request, listing: Listing) -> Path:
    """Where the array of these files and options is or will be."""
    return wanted.cache_dir / f"{wanted.source.name}-{wanted.crop}-{wanted.size}px-{fingerprint(wanted, listing)}"


def fingerprint(wanted: Request, listing: Listing) -> str:
    """Twelve hex digits of the stems, the sizes and times of their files, their boxes and targets, and the options."""
    options = (
        VERSION,
        wanted.source.name,
        wanted.crop,
        wanted.margin,
        wanted.size,
        wanted.exif,
        sorted(listing.unusable),
    )
    digest = hashlib.sha256(repr(options).encode())
    for entry in listing.entries:
        stats = [path.stat() for path in (entry.image, entry.label) if path is not None]
        facts = [entry.stem, entry.group, entry.box, entry.target, [(s.st_size, s.st_mtime_ns) for s in stats]]
        digest.update(f"{facts}\n".encode())
    return digest.hexdigest()[:12]


def asked_for(wanted: Request, listing: Listing) -> dict[str, Any]:
    """What a manifest says of the images' origin and of the options."""
    stems = "\n".join(entry.stem for entry in listing.entries)
    return {
        "version": VERSION,
        "source": wanted.source.name,
        "origin": str(listing.origin),
        "list_digest": hashlib.sha256(stems.encode()).hexdigest()[:12],
        "options": {
            "crop": wanted.crop,
            "margin": wanted.margin,
            "size": wanted.size,
            "exif": wanted.exif,
            "stride": wanted.stride,
            "boxes": None if wanted.boxes is None else str(wanted.boxes),
        },
        "unusable": listing.unusable,
    }


def open_prepared(folder: Path, skip: bool) -> Prepared:
    """Map a whole array. Raises `UserError` where it is not what its manifest says, or lacks images and must not."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        images = np.load(folder / IMAGES, mmap_mode="c")  # copy on write: torch wants a writable array
        targets = torch.from_numpy(np.load(folder / TARGETS))
        names, groups, digest = manifest["names"], manifest["groups"], manifest["content_digest"]
        counts, unusable, size = manifest["counts"], manifest["unusable"], (folder / IMAGES).stat().st_size
        left_out, skipped = counts["beyond_limit"], counts["unusable"]
        if not len(images) == len(targets) == len(names) == len(groups) or size != manifest["bytes"]:
            raise ValueError(f"{IMAGES} has {size} bytes, {manifest['bytes']} were written")
    except Exception as error:  # numpy and json raise a dozen kinds on damaged files
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"the prepared array {folder} is damaged ({reason}): delete it, it is made again") from error
    if skipped and not skip:
        first = next(iter(unusable.values()))
        raise UserError(
            f"{skipped} of {counts['named']} images named by {manifest['origin']} cannot be used, "
            f"the first: {first}; correct that, or set on_missing to skip"
        )
    return Prepared(images, targets, names, groups, left_out, skipped, digest, folder)


def verify(data: Prepared) -> bool:
    """Whether the pixels, targets, names and groups on disk still have the manifest's digest; reads them all."""
    images = np.load(data.folder / IMAGES, mmap_mode="r")
    pixels = [row_digest(np.ascontiguousarray(row).data) for row in images]
    return content_digest(data.names, data.groups, data.targets.numpy(), pixels) == data.digest
