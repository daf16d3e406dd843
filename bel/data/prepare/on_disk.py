"""A prepared array on disk: its .npy file, allocated before it is written and compacted in place afterwards, and its lock.

The lock is on the folder, in which one process at a time builds an array.
"""

import contextlib
import errno
import fcntl
import io
import logging
import os
import shutil
from collections.abc import Iterator
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


@contextlib.contextmanager
def locked(work: Path) -> Iterator[int]:
    """Lock the folder of a preparation, made if it is missing, for this process and its children."""
    work.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with contextlib.suppress(FileExistsError):
            work.mkdir()
        try:
            lock = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue  # the process that had it has finished
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logging.getLogger(__name__).warning("another process prepares %s: waiting for it", work.name)
                fcntl.flock(lock, fcntl.LOCK_EX)
            if is_still(work, lock):
                yield lock
                return
        finally:
            os.close(lock)


def is_still(path: Path, opened: int) -> bool:
    """Return whether a path still is the folder that was opened: it may have been renamed or removed meanwhile."""
    try:
        return os.path.samestat(os.fstat(opened), path.stat())
    except FileNotFoundError:
        return False


def remove_stale(work: Path) -> None:
    """Remove the folders of interrupted preparations of this source, crop and size with other lists or files."""
    alike = work.name.rpartition("-")[0]
    for other in work.parent.glob(f"{alike}-*.partial"):
        with contextlib.suppress(OSError):
            lock = os.open(other, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(other)
            finally:
                os.close(lock)
