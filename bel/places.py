"""Whether a folder or a file can be made where it is to be, asked before the work that fills it; nothing is made."""

from __future__ import annotations

import os
from pathlib import Path

from bel.errors import UserError

LONGEST = 4000  # bytes of a path: the system takes 4,096, and names of what is being written are longer


def refuse_folder(what: str, path: Path) -> None:
    """Raise `UserError` where a folder is none, cannot be made, or cannot be written to."""
    if "\0" in f"{path}":
        raise UserError(f"{what} {str(path)!r} has a NUL character: choose another name")
    path = path.absolute()
    if len(os.fsencode(path)) > LONGEST:
        raise UserError(
            f"{what} is a path of {len(os.fsencode(path))} bytes, at most {LONGEST} are possible: shorten it"
        )
    there = next((folder for folder in (path, *path.parents) if stands(folder)), Path("/"))
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


def stands(path: Path) -> bool:
    """Whether something is at a path, a link that leads nowhere, too; not beyond a name that is too long."""
    try:
        path.lstat()
        return True
    except OSError:
        return False
