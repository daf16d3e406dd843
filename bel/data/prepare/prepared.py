"""Prepared data: each image decoded, cropped and resized once into one uint8 array that every trial maps."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bel.data.labels import refuse_units
from bel.data.prepare.build import Order, Progress, build, partial
from bel.data.prepare.crops import shape
from bel.data.prepare.verified import DamagedError, State, digest_of, open_verified, state_of
from bel.data.readers.base import Listing, NoImagesError, Source
from bel.data.readers.boxes import read_boxes
from bel.errors import UserError

if TYPE_CHECKING:
    from bel.data.protocols import Protocol

VERSION = 2  # of the pixels: raise it when a change alters them
MOST_WORKERS = 32


@dataclass(frozen=True)
class Prepared:
    """Images uint8 (n, height, width, 3), targets float64 (n, axes) in units, one name and one group an image.

    `images` is a map of the file, or a tensor where the whole set lives on a device. `left_out` images were beyond the
    source's limit, `skipped` ones could not be used, `digest` is of pixels, targets, names and groups, and was verified
    for a state of its `files`.
    """

    images: NDArray[np.uint8] | Tensor
    targets: Tensor
    names: list[str]
    groups: list[str]
    left_out: int
    skipped: int
    digest: str
    folder: Path
    files: State | None = None

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
    protocol: Protocol | None = None  # whose units the labels are to be in


def silent(items: Iterable[Any], total: int) -> Iterable[Any]:
    """Progress that shows nothing."""
    return items


def prepare(wanted: Request, progress: Progress = silent, workers: int | None = None) -> Prepared:
    """Map the array of a source, made first where there is none for these files and options.

    Raises `UserError` naming the file that cannot be used, or an array on disk that is damaged.
    """
    listing = usable(wanted)
    data = made(wanted, listing, progress, workers)
    check_units(wanted, data.targets.numpy(), listing.origin)
    return data


def check_units(wanted: Request, targets: NDArray[np.float64], where: object) -> None:
    """Raise `UserError` where targets (n, axes) contradict the units of the protocol."""
    if wanted.protocol:
        refuse_units(targets, wanted.protocol.axes, wanted.protocol.pose, where)


def made(wanted: Request, listing: Listing, progress: Progress, workers: int | None) -> Prepared:
    """The array of a listing, made where it is not there or damaged."""
    folder = place(wanted, listing)
    if not os.path.lexists(folder) or partial(folder).exists():
        make(wanted, listing, progress, workers, lambda: not os.path.lexists(folder))
    found = state_of(folder)
    try:
        return open_prepared(folder, wanted.skip)
    except DamagedError as error:
        logging.getLogger(__name__).warning("%s: it is made again", error)
        try:
            make(wanted, listing, progress, workers, lambda: state_of(folder) == found)
        except OSError as why:
            raise UserError(f"{error} and cannot be made again there ({why}): set cache_dir to another folder") from why
    return open_prepared(folder, wanted.skip)


def make(
    wanted: Request, listing: Listing, progress: Progress, workers: int | None, missing: Callable[[], bool]
) -> None:
    """Make the array of a listing while it is `missing`."""
    size = shape(wanted.crop, wanted.size, listing.entries, wanted.source.read)
    described = asked_for(wanted, listing)
    order = Order(wanted.source, listing.entries, wanted.crop, wanted.margin, size, described, wanted.skip, wanted.exif)
    build(place(wanted, listing), order, min(workers or available_cores(), MOST_WORKERS), progress, missing)


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
    if listing.entries[0].target is not None:  # a table's, which are known before any image is read
        check_units(wanted, np.array([entry.target for entry in listing.entries]), listing.origin)
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
    """Map a whole array. Raises `DamagedError` where it is not what was written, `UserError` where images must not lack."""
    manifest, images, targets, files = open_verified(folder)
    names, groups, digest, counts = (manifest[key] for key in ("names", "groups", "content_digest", "counts"))
    left_out, skipped = counts["beyond_limit"], counts["unusable"]
    if skipped and not skip:
        first = next(iter(manifest["unusable"].values()))
        raise UserError(
            f"{skipped} of {counts['named']} images named by {manifest['origin']} cannot be used, "
            f"the first: {first}; correct that, or set on_missing to skip"
        )
    return Prepared(images, torch.from_numpy(targets), names, groups, left_out, skipped, digest, folder, files)


def unchanged(data: Prepared) -> bool:
    """Whether nobody has written to the files of a map since they were verified, or the images are no map of a file."""
    return data.files is None or isinstance(data.images, Tensor) or state_of(data.folder) == data.files


def verify(data: Prepared) -> bool:
    """Whether pixels, targets, names and groups still have their digest; reads them all."""
    return digest_of(data.names, data.groups, data.targets.numpy(), np.asarray(data.images)) == data.digest


def refuse_changed(data: Prepared) -> None:
    """Raise `UserError` where images that were read are not any more what was verified before."""
    if not unchanged(data) and not verify(data):
        raise UserError(
            f"the prepared array {data.folder} was changed while it was read: the same command makes it again"
        )
