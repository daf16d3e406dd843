"""Prepared data: each image decoded, cropped and resized once into one uint8 array that every trial maps."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bel.data.biwi import BIWI_TEST, BIWI_TRAIN
from bel.data.crops import CROPS, cut
from bel.data.sources import Entry, Label, Source
from bel.data.w300lp import AFLW2000, W300LP
from bel.errors import UserError
from bel.protocols import PROTOCOLS

if TYPE_CHECKING:
    from bel.config import TrainConfig

SOURCES: dict[str, Source] = {
    "biwi_train": BIWI_TRAIN,
    "biwi_test": BIWI_TEST,
    "300w_lp": W300LP,
    "aflw2000": AFLW2000,
}
VERSION = 1  # of the pixels: raise it when a change alters them

Pixels = NDArray[np.uint8]
Progress = Callable[[Iterable[Pixels], int], Iterable[Pixels]]


@dataclass(frozen=True)
class Prepared:
    """Images uint8 (n, size, size, 3), targets float64 (n, axes) in units, one name and one group an image."""

    images: Pixels
    targets: Tensor
    names: list[str]
    groups: list[str]
    left_out: int
    digest: str

    def __len__(self) -> int:
        return len(self.names)


def silent(images: Iterable[Pixels], total: int) -> Iterable[Pixels]:
    """Progress that shows nothing."""
    return images


def prepare(
    source: str, data_root: Path, cache_dir: Path, crop: str, size: int, stride: int = 1, progress: Progress = silent
) -> Prepared:
    """Map the array of a source, made first where there is none for these files and options.

    `size` is in pixels, every `stride`-th image is taken. Raises `UserError` naming the file that cannot be used.
    """
    entries = SOURCES[source].entries(data_root)[::stride]
    digest = fingerprint(entries, source, crop, size)
    folder = cache_dir / f"{source}-{crop}-{size}px-{digest}"
    if not folder.exists():
        build(SOURCES[source], entries, folder, crop, size, progress)
    meta = json.loads((folder / "meta.json").read_text())
    images = np.load(folder / "images.npy", mmap_mode="c")  # copy on write: torch wants a writable array
    targets = torch.from_numpy(np.load(folder / "targets.npy"))
    return Prepared(images, targets, meta["names"], meta["groups"], meta["left_out"], digest)


def load(config: TrainConfig, part: str, progress: Progress = silent) -> Prepared:
    """The prepared `train` or `test` source of a config's protocol; only train is thinned by `frame_stride`."""
    source: str = getattr(PROTOCOLS[config.protocol], part)
    stride = config.frame_stride if part == "train" else 1
    root, cache = Path(config.data_root), Path(config.cache_dir)
    return prepare(source, root, cache, config.crop, config.prepared_size, stride, progress)


def fingerprint(entries: list[Entry], *options: object) -> str:
    """Twelve hex digits of the stems, the sizes and times of their files, and the options."""
    digest = hashlib.sha256(repr((VERSION, options)).encode())
    for entry in entries:
        image, label = entry.image.stat(), entry.label.stat()
        digest.update(
            f"{entry.stem} {image.st_size} {image.st_mtime_ns} {label.st_size} {label.st_mtime_ns}\n".encode()
        )
    return digest.hexdigest()[:12]


def build(source: Source, entries: list[Entry], folder: Path, crop: str, size: int, progress: Progress) -> None:
    """Write the array beside its place and rename it when it is whole, so that a half-made one is never found."""
    labels = [(entry, source.read(entry.label)) for entry in entries]
    kept = [(entry, label) for entry, label in labels if np.abs(label.target).max() <= source.limit]
    if not kept:
        raise UserError(f"none of {len(entries)} images has its target within +-{source.limit}: check the labels")
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        write_images(kept, work / "images.npy", crop, size, progress)
        np.save(work / "targets.npy", np.stack([label.target for _, label in kept]))
        names = [entry.stem for entry, _ in kept]
        meta = {"names": names, "groups": [source.group(n) for n in names], "left_out": len(entries) - len(kept)}
        (work / "meta.json").write_text(json.dumps(meta))
        install(work, folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def install(work: Path, folder: Path) -> None:
    """Rename `work` to `folder`; where another process was first, its result (the same by its name) stays."""
    try:
        os.rename(work, folder)
    except OSError:
        if not folder.exists():
            raise


def write_images(kept: list[tuple[Entry, Label]], path: Path, crop: str, size: int, progress: Progress) -> None:
    """Decode, crop and resize every image into one array on disk, on all cores (Pillow releases the GIL)."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(len(kept), size, size, 3))

    def pixels(pair: tuple[Entry, Label]) -> Pixels:
        entry, label = pair
        try:
            with Image.open(entry.image) as image:
                box = CROPS[crop](label.landmarks, *image.size)
                return cut(image, box, size, stretch=crop == "published" and label.landmarks is not None)
        except (OSError, ValueError, SyntaxError) as error:
            raise UserError(f"cannot read the image {entry.image}: {error}; leave it out of the list") from error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for row, image in enumerate(progress(pool.map(pixels, kept), len(kept))):
            array[row] = image
    array.flush()
