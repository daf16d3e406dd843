"""Prepared data: each image decoded, cropped and resized once into one uint8 array that every trial maps to memory."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bel.data.labels import refuse_units
from bel.data.prepare.build import VERSION, Array, Progress, Request, build, partial
from bel.data.prepare.crops import shape
from bel.data.prepare.verified import DamagedError, State, digest_of, open_verified, state_of
from bel.data.readers.base import Listing, NoImagesError
from bel.data.readers.boxes import read_boxes
from bel.errors import UserError

MOST_WORKERS = 32


@dataclass(frozen=True)
class Prepared:
    """Images uint8 (n, height, width, 3), targets float64 (n, axes) in units, one name and one group an image.

    `images` is a memory map of the file, or a tensor on a device. `left_out` images were beyond the source's limit,
    `skipped` ones could not be used; `digest` is of pixels, targets, names and groups, verified for the state `files`.
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


def silent(items: Iterable[Any], total: int) -> Iterable[Any]:
    """Show no progress."""
    return items


def prepare(wanted: Request, progress: Progress = silent, workers: int | None = None) -> Prepared:
    """Open the array of a source, built first where there is none for these files and options.

    Raises `UserError` naming the file that cannot be used, or a damaged array that cannot be rebuilt.
    """
    listing = usable(wanted)
    data = open_or_build(wanted, listing, progress, workers)
    check_units(wanted, data.targets.numpy(), listing.origin)
    return data


def check_units(wanted: Request, targets: NDArray[np.float64], where: object) -> None:
    """Raise `UserError` where targets (n, axes) contradict the units of the protocol."""
    if wanted.protocol:
        refuse_units(targets, wanted.protocol.axes, wanted.protocol.pose, where)


def open_or_build(wanted: Request, listing: Listing, progress: Progress, workers: int | None) -> Prepared:
    """Open the array of a listing, built first where it is missing or damaged."""
    folder = place(wanted, listing)

    def rebuild(missing: Callable[[], bool]) -> None:
        size = shape(wanted.crop, wanted.size, listing.entries, wanted.source.read)
        processes = min(workers or available_cores(), MOST_WORKERS)
        build(folder, Array(wanted, listing, size), processes, progress, missing)

    if not os.path.lexists(folder) or partial(folder).exists():
        rebuild(lambda: not os.path.lexists(folder))
    found = state_of(folder)
    try:
        return open_prepared(folder, wanted.skip)
    except DamagedError as error:
        logging.getLogger(__name__).warning("%s: it is made again", error)
        try:
            rebuild(lambda: state_of(folder) == found)
        except OSError as why:
            raise UserError(f"{error} and cannot be made again there ({why}): set cache_dir to another folder") from why
    return open_prepared(folder, wanted.skip)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable(wanted: Request) -> Listing:
    """Return the images to prepare, with their boxes. Raises `UserError` where one cannot be used and must not be skipped."""
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
    if listing.entries[0].target is not None:  # of a table: known before any image is read
        check_units(wanted, np.array([entry.target for entry in listing.entries]), listing.origin)
    return replace(listing, entries=listing.entries[:: wanted.stride])


def is_here(wanted: Request) -> bool:
    """Return whether a source has an image with its label in its folder."""
    try:
        usable(replace(wanted, skip=True))
    except NoImagesError:
        return False
    return True


def with_boxes(listing: Listing, path: Path) -> Listing:
    """Return a listing with the boxes of a file; images without one are unusable."""
    found, stems = read_boxes(path), [entry.stem for entry in listing.entries]
    entries = [replace(entry, box=found[entry.stem]) for entry in listing.entries if entry.stem in found]
    without = {stem: f"{path} has no box for {stem}" for stem in stems if stem not in found}
    return Listing(entries, listing.unusable | without, listing.origin)


def place(wanted: Request, listing: Listing) -> Path:
    """Return the folder of the array of these files and options, whether it is there or not."""
    return wanted.cache_dir / f"{wanted.source.name}-{wanted.crop}-{wanted.size}px-{fingerprint(wanted, listing)}"


def fingerprint(wanted: Request, listing: Listing) -> str:
    """Return twelve hex digits of the stems, the sizes and times of their files, their boxes and targets, and the options."""
    options = (VERSION, wanted.source.name, wanted.crop, wanted.margin, wanted.size, wanted.exif)
    version = (wanted.source.version,) if wanted.source.version else ()
    digest = hashlib.sha256(repr((*options, *version, sorted(listing.unusable))).encode())
    for entry in listing.entries:
        stats = [path.stat() for path in (entry.image, entry.label) if path is not None]
        facts = [entry.stem, entry.group, entry.box, entry.target, [(s.st_size, s.st_mtime_ns) for s in stats]]
        digest.update(f"{facts}\n".encode())
    return digest.hexdigest()[:12]


def open_prepared(folder: Path, skip: bool) -> Prepared:
    """Open an array. Raises `DamagedError` where it is not what was written, `UserError` for images that were skipped."""
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
    """Return whether the files have not been written to since they were verified; True for images on a device."""
    return data.files is None or isinstance(data.images, Tensor) or state_of(data.folder) == data.files


def verify(data: Prepared) -> bool:
    """Return whether pixels, targets, names and groups still have their digest; reads all of them."""
    return digest_of(data.names, data.groups, data.targets.numpy(), np.asarray(data.images)) == data.digest


def refuse_changed(data: Prepared) -> None:
    """Raise `UserError` where the files have changed since they were verified."""
    if not unchanged(data) and not verify(data):
        raise UserError(
            f"the prepared array {data.folder} was changed while it was read: the same command makes it again"
        )
