"""The .npy file of a prepared array: allocated before it is written, and compacted in place afterwards."""

import errno
import io
import os
import shutil
from pathlib import Path

import numpy as np


def reserve(path: Path, shape: tuple[int, ...]) -> int:
    """Allocate a .npy file of uint8 on disk, if it is not there, and return the offset of its data.

    Raises `OSError` where the disk has no room, before any work is done.
    """
    header = npy_header(shape)
    size = len(header) + int(np.prod(shape))
    if not path.exists() or path.stat().st_size != size:
        free = shutil.disk_usage(path.parent).free
        if free < size:
            raise OSError(errno.ENOSPC, f"no room for {size / 1e9:.2f} GB, {free / 1e9:.2f} GB are free", str(path))
        with path.open("wb") as file:
            try:
                allocate(file.fileno(), size)
            except OSError as error:
                raise OSError(error.errno, f"no room for {size / 1e9:.2f} GB: {error.strerror}", str(path)) from error
    with path.open("r+b") as file:
        file.write(header)
    return len(header)


def allocate(file: int, size: int) -> None:
    """Allocate the blocks of a file where the system can: writing to a sparse one may fail late, on a full disk."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)


def npy_header(shape: tuple[int, ...]) -> bytes:
    """The header of a .npy file of uint8; its length does not depend on the number of rows."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def compact(path: Path, kept: list[int], total: int) -> None:
    """Move the kept rows of an array on disk together, in place, and cut off the rest."""
    if len(kept) == total:
        return
    images = np.load(path, mmap_mode="r+")
    header, size = npy_header((len(kept), *images.shape[1:])), len(kept) * images[0].nbytes
    for new, old in enumerate(kept):
        if new != old:
            images[new] = images[old]
    images.flush()
    del images
    with path.open("r+b") as file:
        file.truncate(len(header) + size)
        file.write(header)
