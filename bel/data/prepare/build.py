"""Making a prepared array: in a folder beside its place, chunk by chunk, and renamed when it is whole.

A chunk that is written is noted in a journal with the digest of each row, so that a preparation that was killed goes on
with the chunks that are missing, after it has read the others back and compared their digests.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from bel.data.prepare.lock import locked, remove_stale
from bel.data.prepare.verified import CHECKSUM, IMAGES, MANIFEST, TARGETS, checksum, content_digest
from bel.data.prepare.worker import Job, Row, Task, WorkerDiedError, answers, row_digest
from bel.data.readers.base import Entry, Source
from bel.errors import UserError
from bel.files import discard

CHUNK, CHUNK_BYTES = 64, 16_000_000  # of a job, at most: 240 pixels make 11 MB
FEW = 4 * CHUNK  # images that one process has done before others have started
JOURNAL = "journal.jsonl"

Progress = Callable[[Iterable[Any], int], Iterable[Any]]


@dataclass(frozen=True)
class Order:
    """What to make: an array of the entries of a source, cut by `crop` with `margin` to `shape` (height, width).

    `described` goes into the manifest, with `unusable` among it: stem to reason of images that have no files; `skip`
    leaves out further ones that cannot be used, `exif` is as in a config.
    """

    source: Source
    entries: list[Entry]
    crop: str
    margin: float
    shape: tuple[int, int]
    described: dict[str, Any]
    skip: bool
    exif: str = "apply"

    @property
    def row_bytes(self) -> int:
        """Bytes of one image."""
        return 3 * self.shape[0] * self.shape[1]


def build(folder: Path, order: Order, workers: int, progress: Progress, missing: Callable[[], bool]) -> None:
    """Make `folder` as ordered, whole or not at all; a second process waits for the first and finds its result.

    `missing` tells whether the array is still to be made; a damaged one is there until another can take its place.

    Raises `UserError` for an image that cannot be used and may not be skipped, `OSError` where the disk is full or
    read-only.
    """
    work = partial(folder)
    with locked(work) as lock:
        if not missing():  # made by whom we waited for
            shutil.rmtree(work, ignore_errors=True)
            return
        try:
            rows = fill(work, order, workers, lock, progress)
            finish(work, folder.name, order, rows)
            put(work, folder)
        except (UserError, OSError) as error:
            if not worth_keeping(error):
                shutil.rmtree(work, ignore_errors=True)
            raise
        except KeyboardInterrupt:
            logging.getLogger(__name__).warning("stopped: the same command goes on; what is done is in %s", work)
            raise
    remove_stale(work)


def partial(folder: Path) -> Path:
    """Where an array is made before it is whole."""
    return folder.with_name(f".{folder.name}.partial")


def put(work: Path, folder: Path) -> None:
    """Give a whole array its place; a damaged one that is there goes."""
    damaged = partial(folder.with_name(f"{folder.name}-damaged"))
    discard(damaged)
    if os.path.lexists(folder):
        os.rename(folder, damaged)
    os.rename(work, folder)
    discard(damaged)


def worth_keeping(error: Exception) -> bool:
    """Whether the same command may go on after an error with what is done: not over bad data, nor a full disk."""
    if isinstance(error, OSError):
        return error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
    return isinstance(error, WorkerDiedError)


def fill(work: Path, order: Order, workers: int, lock: int, progress: Progress) -> list[Row]:
    """Write the pixels of every entry that are not there yet, and return what became of each."""
    path, entries = work / IMAGES, order.entries
    offset = reserve(path, (len(entries), *order.shape, 3))
    task = Task(order.source.read, order.source.limit, order.crop, order.margin, order.shape, path, offset, order.exif)
    chunk = max(1, min(CHUNK, CHUNK_BYTES // order.row_bytes))
    starts, done = range(0, len(entries), chunk), recall(work / JOURNAL, path, offset, order.row_bytes)
    jobs: list[Job] = [(i, entries[i : i + chunk]) for i in starts if i not in done]
    count = sum(len(job[1]) for job in jobs)
    crew = answers(task, jobs, 1 if count < FEW else workers, lock)
    with closing(crew), (work / JOURNAL).open("a", encoding="utf-8") as journal:
        journal.write("\n")  # ends a line that was being written when the process was killed
        for row in progress(noted(crew, journal, done), count):
            if row.digest is None and not row.beyond and not order.skip:
                raise UserError(f"{row.reason}; correct it, leave it out of the list, or set on_missing to skip")
    return [row for i in starts for row in done[i]]


def reserve(path: Path, shape: tuple[int, ...]) -> int:
    """Make a .npy file of uint8 with all its blocks on disk, if it is not there, and return where its data begins.

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
    """Give a file its blocks where the system can: a sparse one would find the disk full in the middle."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.truncate(file, size)


def npy_header(shape: tuple[int, ...]) -> bytes:
    """The header of a .npy file of uint8; its length does not depend on the number of rows."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def noted(finished: Iterable[tuple[Job, list[Row]]], journal: Any, done: dict[int, list[Row]]) -> Iterator[Row]:
    """The rows of finished jobs, each job written to the journal and to `done` first."""
    for (first, _), rows in finished:
        journal.write(json.dumps({"first": first, "rows": [asdict(row) for row in rows]}) + "\n")
        journal.flush()
        done[first] = rows
        yield from rows


def recall(journal: Path, path: Path, offset: int, row_bytes: int) -> dict[int, list[Row]]:
    """Chunks that an earlier preparation has finished and whose pixels are still what it noted, by their first row."""
    done: dict[int, list[Row]] = {}
    if not journal.exists():
        return done
    with path.open("rb") as images:
        for line in journal.read_text(encoding="utf-8").splitlines():
            try:
                note = json.loads(line)
            except ValueError:
                continue  # empty, or the line that was being written
            first, rows = note["first"], [Row(**row | {"target": tuple(row["target"])}) for row in note["rows"]]
            images.seek(offset + first * row_bytes)
            if all(row.digest in (None, row_digest(images.read(row_bytes))) for row in rows):
                done[first] = rows
    return done


def finish(work: Path, name: str, order: Order, rows: list[Row]) -> None:
    """Drop the rows that are not kept, and write targets and the manifest. Raises `UserError` where none is kept."""
    kept = [i for i, row in enumerate(rows) if row.digest is not None]
    if not kept:
        raise UserError(f"none of {len(rows)} images can be used; the first: {rows[0].reason}; check data and labels")
    compact(work / IMAGES, kept, len(rows))
    targets = np.array([rows[i].target for i in kept], dtype=np.float64)
    np.save(work / TARGETS, targets)
    manifest = described(order, rows, kept, targets)
    manifest |= {"folder": name, "shape": [len(kept), *order.shape, 3], "bytes": (work / IMAGES).stat().st_size}
    manifest[CHECKSUM] = checksum(manifest)
    (work / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    for name in (IMAGES, TARGETS, MANIFEST):
        with (work / name).open("rb") as file:
            os.fsync(file.fileno())
    (work / JOURNAL).unlink()  # last: whoever is killed before this goes on from it


def described(order: Order, rows: list[Row], kept: list[int], targets: NDArray[np.float64]) -> dict[str, Any]:
    """What the manifest says: what was asked, what became of it, and the names and groups of the kept rows."""
    without, entries = order.described["unusable"], order.entries
    bad = {entries[i].stem: row.reason for i, row in enumerate(rows) if row.digest is None and not row.beyond}
    names, groups = [entries[i].stem for i in kept], [entries[i].group for i in kept]
    return order.described | {
        "content_digest": content_digest(names, groups, targets, [rows[i].digest or "" for i in kept]),
        "counts": {
            "named": len(rows) + len(without),
            "kept": len(kept),
            "beyond_limit": sum(row.beyond for row in rows),
            "unusable": len(without | bad),
        },
        "made_with": {"pillow": PIL.__version__, "numpy": np.__version__},
        "unusable": without | bad,
        "names": names,
        "groups": groups,
    }


def compact(path: Path, kept: list[int], total: int) -> None:
    """Move the kept rows of an array on disk together, in place, and cut the rest off."""
    if len(kept) == total:
        return
    shape = np.load(path, mmap_mode="r").shape
    row, header = int(np.prod(shape[1:])), npy_header((len(kept), *shape[1:]))
    with path.open("r+b") as file:
        for to, place in enumerate(kept):
            if to != place:
                os.pwrite(
                    file.fileno(), os.pread(file.fileno(), row, len(header) + place * row), len(header) + to * row
                )
        file.truncate(len(header) + len(kept) * row)
        file.write(header)
