"""Files and folders: written completely or not at all, and refused before the work where they cannot be written."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bel.errors import UserError

LONGEST = 4000  # bytes of a path: the system allows 4,096, and names of unfinished files are longer


@contextmanager
def replacing(path: Path, ending: str = "") -> Iterator[Path]:
    """Yield the path of a new file or folder, which replaces `path` afterwards; after an error the older one remains.

    Leftovers of killed processes are removed first, unless another process is writing into the folder.
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
    """Hold a shared lock on a folder while writing; first remove unfinished files `names` if no other process writes there.

    The kernel releases the lock of a killed process, so process ids are not needed.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # another process writes there, or the file system has no locks
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            discard_left(folder, names)
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield
    finally:
        os.close(lock)


def discard_left(folder: Path, names: tuple[str, ...]) -> None:
    """Remove unfinished files of `replacing` for `names`."""
    left = re.compile(rf"\.({'|'.join(map(re.escape, names))})\.\d+(\.\w+)?")
    for path in folder.iterdir():
        if left.fullmatch(path.name):
            discard(path)


def discard(path: Path) -> None:
    """Remove a file, a link or a folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def refuse_folder(what: str, path: Path) -> None:
    """Raise `UserError` where a path is no folder, cannot be made, or cannot be written to."""
    if "\0" in f"{path}":
        raise UserError(f"{what} {str(path)!r} has a NUL character: choose another name")
    path = path.absolute()
    if len(os.fsencode(path)) > LONGEST:
        raise UserError(
            f"{what} is a path of {len(os.fsencode(path))} bytes, at most {LONGEST} are possible: shorten it"
        )
    there = next((folder for folder in (path, *path.parents) if exists(folder)), Path("/"))
    if not there.is_dir():
        kind = "a link that leads nowhere" if there.is_symlink() and not there.exists() else "a file"
        raise UserError(f"{what} {path} cannot be made: {there} is {kind}; choose another folder")
    longest = os.pathconf(there, "PC_NAME_MAX")
    for name in path.parts[len(there.parts) :]:
        if len(os.fsencode(name)) > longest:
            raise UserError(
                f"{what} has a name of {len(os.fsencode(name))} bytes, at most {longest} are possible: {name}"
            )
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{what} {path} cannot be written: {there} may not be changed; choose another folder")


def refuse_file(what: str, path: Path) -> None:
    """Raise `UserError` where a file is a folder, or cannot be made or replaced."""
    refuse_folder(f"the folder of {what}", path.parent)
    if len(os.fsencode(path.name)) > 200:
        raise UserError(
            f"{what} has a name of {len(os.fsencode(path.name))} bytes, at most 200 are possible: shorten it"
        )
    if path.exists() and not path.is_file():
        raise UserError(
            f"{what} must be a new file, or one to replace, got {path}, which is no file: add a file's name"
        )


def exists(path: Path) -> bool:
    """Return whether a path exists, also as a broken link; False for a name that is too long."""
    try:
        path.lstat()
        return True
    except OSError:
        return False
