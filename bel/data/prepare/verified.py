"""Verification of a prepared array: its digests, once for each state of its files and each node.

A node that has verified a state of the files writes a stamp beside them. A copy of the folder invalidates the stamp: it holds
the inodes of the files and the times of their last change (ctime), which cannot be set.
"""

import hashlib
import json
import platform
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from bel.data.prepare.worker import row_digest
from bel.errors import UserError, sentence
from bel.files import replacing

IMAGES, TARGETS, MANIFEST = "images.npy", "targets.npy", "manifest.json"
CHECKSUM = "checksum"  # in a manifest, of the rest of it
SETTLED = 2.0  # seconds after which another write changes the time of a file, on any file system
BOOT = Path("/proc/sys/kernel/random/boot_id")  # device numbers are valid until the next boot

State = list[tuple[int, ...]]


class DamagedError(UserError):
    """A prepared array that differs from what was written."""


def state_of(folder: Path) -> State:
    """Return device, inode, size and times of each file of an array, which any write changes; () for a missing file."""
    return [file_state(folder / name) for name in (IMAGES, TARGETS, MANIFEST)]


def file_state(path: Path) -> tuple[int, ...]:
    """Return the state of one file."""
    try:
        stat = path.stat()
    except PermissionError:
        raise
    except OSError:  # missing, or a broken link
        return ()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def open_verified(folder: Path) -> tuple[dict[str, Any], NDArray[np.uint8], NDArray[np.float64], State]:
    """Return manifest, memory map of the images, targets, and the state of the files that was verified.

    Raises `DamagedError` where one of them differs from what was written, `PermissionError` where it must not be read.
    """
    state, now = state_of(folder), time.time()
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        images = np.load(folder / IMAGES, mmap_mode="c")  # copy on write: torch wants a writable array
        targets = np.array(np.load(folder / TARGETS, mmap_mode="r"))
        if state_of(folder) != state:
            raise ValueError("its files are being changed")
        if not is_stamped(folder, state):
            refuse_damage(folder, manifest, images, targets)
            stamp(folder, state, now)
    except (PermissionError, DamagedError):
        raise
    except Exception as error:  # numpy and json raise a dozen kinds on damaged files
        reason = str(error) if type(error) is ValueError else sentence(error)
        raise DamagedError(f"the prepared array {folder} is damaged ({reason})") from error
    return manifest, images, targets, state


def stamp_of(folder: Path, state: State) -> tuple[Path, str]:
    """Return path and content of this node's stamp for a state of an array."""
    boot = BOOT.read_text() if BOOT.exists() else ""
    return folder / f".verified-{quote(platform.node(), safe='')}", f"{boot}{folder.name} {state}"


def is_stamped(folder: Path, state: State) -> bool:
    """Return whether this node has verified a state of an array."""
    path, text = stamp_of(folder, state)
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text() == text
    return False


def stamp(folder: Path, state: State, now: float) -> None:
    """Write the stamp of a state that was verified from the time `now` on, if the files are older than `SETTLED`."""
    path, text = stamp_of(folder, state)
    if all(now - changed / 1e9 > SETTLED for *_, changed in state):
        with suppress(OSError), replacing(path) as work:  # a user without write permission verifies each time
            work.write_text(text)


def refuse_damage(
    folder: Path, manifest: dict[str, Any], images: NDArray[np.uint8], targets: NDArray[np.float64]
) -> None:
    """Raise `ValueError` where an array, which is read completely, does not match its manifest, or the manifest is damaged."""
    if CHECKSUM not in manifest:
        raise DamagedError(f"the prepared array {folder} is of an earlier version, without a {CHECKSUM}")
    if checksum(manifest) != manifest[CHECKSUM]:
        raise ValueError(f"{MANIFEST} is not what was written")
    if manifest["folder"] != folder.name:
        raise ValueError(f"it was written as {manifest['folder']}")
    size = (folder / IMAGES).stat().st_size
    if images.dtype != np.uint8 or list(images.shape) != manifest["shape"] or size != manifest["bytes"]:
        raise ValueError(
            f"{IMAGES} has {size} bytes of {images.dtype} {images.shape}, {manifest['bytes']} were written, of uint8 "
            f"{tuple(manifest['shape'])}"
        )
    if targets.dtype != np.float64:
        raise ValueError(f"{TARGETS} is of {targets.dtype}")
    if digest_of(manifest["names"], manifest["groups"], targets, images) != manifest["content_digest"]:
        raise ValueError(f"{IMAGES} or {TARGETS} is not what was written")


def digest_of(names: list[str], groups: list[str], targets: NDArray[np.float64], images: NDArray[np.uint8]) -> str:
    """Return the `content_digest` of an array, which is read completely."""
    pixels = [row_digest(np.ascontiguousarray(row).data) for row in images.view(np.ndarray)]
    return content_digest(names, groups, targets, pixels)


def checksum(manifest: dict[str, Any]) -> str:
    """Return sixty-four hex digits of a manifest without its checksum."""
    rest = {name: value for name, value in manifest.items() if name != CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def content_digest(names: list[str], groups: list[str], targets: NDArray[np.float64], pixels: list[str]) -> str:
    """Return twelve hex digits of an array: digests of the pixels of its rows, targets (n, axes), names, groups."""
    text = json.dumps([names, groups, pixels, targets.tolist()])
    return hashlib.sha256(text.encode()).hexdigest()[:12]
