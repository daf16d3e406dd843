"""The lock of a folder in which one process at a time builds an array; the lock is on the folder."""

import contextlib
import fcntl
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


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
