"""Files and folders that are there whole or not at all, and what killed processes left on the way to them."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path, ending: str = "") -> Iterator[Path]:
    """A new file or folder beside `path` to write, which then becomes it; after an error the older one is still there.

    What killed processes left there is removed first, unless another process writes into the folder just now.
    """
    work = path.with_name(f".{path.name}.{os.getpid()}{ending}")
    with writing_in(path.parent, path.name):
        try:
            yield work
            os.replace(work, path)
        finally:
            discard(work)


@contextmanager
def writing_in(folder: Path, *names: str) -> Iterator[None]:
    """Remove what killed processes left of files `names` in a folder where nobody writes, and be known to write there.

    The kernel ends the lock of a process that is killed, so that no process number has to be believed.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # somebody writes there, or the file system has no locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            discard_left(folder, names)
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield
    finally:
        os.close(lock)


def discard_left(folder: Path, names: tuple[str, ...]) -> None:
    """Remove what `replacing` wrote on the way to files `names`."""
    left = re.compile(rf"\.({'|'.join(map(re.escape, names))})\.\d+(\.\w+)?")
    for path in folder.iterdir():
        if left.fullmatch(path.name):
            discard(path)


def discard(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
