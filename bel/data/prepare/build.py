"""Build a prepared array: in a folder beside its final one, chunk by chunk, renamed when it is complete.

A journal lists the chunks that are written, with the digest of each row. A preparation that was killed continues with the
chunks that are missing, after it has read the others back and compared their digests.
"""

import errno
import hashlib
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

from bel.data.prepare.on_disk import compact, locked, remove_stale, reserve
from bel.data.prepare.verified import CHECKSUM, IMAGES, MANIFEST, TARGETS, checksum, content_digest
from bel.data.prepare.worker import Job, Row, Task, WorkerDiedError, row_digest, run_jobs
from bel.data.protocols import Protocol
from bel.data.readers.base import Listing, Source
from bel.errors import UserError
from bel.files import discard

VERSION = 2  # of the pixels: raise it when a change alters them
CHUNK, CHUNK_BYTES = 64, 16_000_000  # images and bytes of a job, at most: 64 images of 240 pixels are 11 MB
FEW = 4 * CHUNK  # images that one process has finished before others have started
JOURNAL = "journal.jsonl"

Progress = Callable[[Iterable[Any], int], Iterable[Any]]


@dataclass(frozen=True)
class Request:
    """What to prepare: a source, its folder, the crop of each image, its size in pixels, every `stride`-th image.

    `skip` leaves out images that cannot be used, `exif` is as in a config.
    """

    source: Source
    data_root: Path
    cache_dir: Path
    crop: str
    size: int
    margin: float = 0.0
    boxes: Path | None = None
    stride: int = 1
    skip: bool = False
    exif: str = "apply"
    protocol: Protocol | None = None  # whose units the labels must have


@dataclass(frozen=True)
class Array:
    """An array to build: the images of a listing, cropped as requested to `shape` (height, width)."""

    request: Request
    listing: Listing
    shape: tuple[int, int]

    @property
    def row_bytes(self) -> int:
        """Bytes of one image."""
        return 3 * self.shape[0] * self.shape[1]


def build(folder: Path, array: Array, workers: int, progress: Progress, missing: Callable[[], bool]) -> None:
    """Build an array in `folder`, completely or not at all; a second process waits for the first and finds its result.

    `missing` tells whether the array still has to be built; a damaged one stays until the new one replaces it. Raises
    `UserError` for an image that cannot be used and must not be skipped, `OSError` where the disk is full or read-only.
    """
    work = partial(folder)
    with locked(work) as lock:
        if not missing():  # the process that had the lock has built it
            shutil.rmtree(work, ignore_errors=True)
            return
        try:
            rows = write_rows(work, array, workers, lock, progress)
            finish(work, folder.name, array, rows)
            move_into_place(work, folder)
        except (UserError, OSError) as error:
            if not worth_keeping(error):
                shutil.rmtree(work, ignore_errors=True)
            raise
        except KeyboardInterrupt:
            logging.getLogger(__name__).warning("stopped: the same command goes on; what is done is in %s", work)
            raise
    remove_stale(work)


def partial(folder: Path) -> Path:
    """Return the folder in which an array is built."""
    return folder.with_name(f".{folder.name}.partial")


def move_into_place(work: Path, folder: Path) -> None:
    """Rename a complete array to its folder; a damaged one that is there is deleted."""
    damaged = partial(folder.with_name(f"{folder.name}-damaged"))
    discard(damaged)
    if os.path.lexists(folder):
        os.rename(folder, damaged)
    os.rename(work, folder)
    discard(damaged)


def worth_keeping(error: Exception) -> bool:
    """Return whether the same command can continue after an error: not after bad data or a full disk."""
    if isinstance(error, OSError):
        return error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)
    return isinstance(error, WorkerDiedError)


def write_rows(work: Path, array: Array, workers: int, lock: int, progress: Progress) -> list[Row]:
    """Write the pixels of every entry that are not there yet, and return the row of each."""
    path, entries, wanted = work / IMAGES, array.listing.entries, array.request
    offset = reserve(path, (len(entries), *array.shape, 3))
    source = wanted.source
    task = Task(source.read, source.limit, wanted.crop, wanted.margin, array.shape, path, offset, wanted.exif)
    chunk = max(1, min(CHUNK, CHUNK_BYTES // array.row_bytes))
    starts, done = range(0, len(entries), chunk), read_journal(work / JOURNAL, path, offset, array.row_bytes)
    jobs: list[Job] = [(i, entries[i : i + chunk]) for i in starts if i not in done]
    count = sum(len(job[1]) for job in jobs)
    results = run_jobs(task, jobs, 1 if count < FEW else workers, lock)
    with closing(results), (work / JOURNAL).open("a", encoding="utf-8") as journal:
        journal.write("\n")  # ends a line that was being written when the process was killed
        for row in progress(write_journal(results, journal, done), count):
            if row.digest is None and not row.beyond and not wanted.skip:
                raise UserError(f"{row.reason}; correct it, leave it out of the list, or set on_missing to skip")
    return [row for i in starts for row in done[i]]


def write_journal(finished: Iterable[tuple[Job, list[Row]]], journal: Any, done: dict[int, list[Row]]) -> Iterator[Row]:
    """Yield the rows of finished jobs, after adding each job to the journal and to `done`."""
    for (first, _), rows in finished:
        journal.write(json.dumps({"first": first, "rows": [asdict(row) for row in rows]}) + "\n")
        journal.flush()
        done[first] = rows
        yield from rows


def read_journal(journal: Path, path: Path, offset: int, row_bytes: int) -> dict[int, list[Row]]:
    """Return the chunks that an earlier preparation has finished, by their first row, if their pixels match the journal."""
    done: dict[int, list[Row]] = {}
    if not journal.exists():
        return done
    with path.open("rb") as images:
        for line in journal.read_text(encoding="utf-8").splitlines():
            try:
                chunk = json.loads(line)
            except ValueError:
                continue  # empty, or the line that was being written
            first, rows = chunk["first"], [Row(**row | {"target": tuple(row["target"])}) for row in chunk["rows"]]
            images.seek(offset + first * row_bytes)
            if all(row.digest in (None, row_digest(images.read(row_bytes))) for row in rows):
                done[first] = rows
    return done


def finish(work: Path, name: str, array: Array, rows: list[Row]) -> None:
    """Drop the rows that are not kept, and write targets and the manifest. Raises `UserError` where none is kept."""
    kept = [i for i, row in enumerate(rows) if row.digest is not None]
    if not kept:
        raise UserError(f"none of {len(rows)} images can be used; the first: {rows[0].reason}; check data and labels")
    compact(work / IMAGES, kept, len(rows))
    targets = np.array([rows[i].target for i in kept], dtype=np.float64)
    np.save(work / TARGETS, targets)
    manifest = manifest_of(array, rows, kept, targets)
    manifest |= {"folder": name, "shape": [len(kept), *array.shape, 3], "bytes": (work / IMAGES).stat().st_size}
    manifest[CHECKSUM] = checksum(manifest)
    (work / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    for name in (IMAGES, TARGETS, MANIFEST):
        with (work / name).open("rb") as file:
            os.fsync(file.fileno())
    (work / JOURNAL).unlink()  # last: a process that is killed before this continues from it


def manifest_of(array: Array, rows: list[Row], kept: list[int], targets: NDArray[np.float64]) -> dict[str, Any]:
    """Return what the manifest says: the request, how many images were kept or not and why, names and groups."""
    wanted, listing = array.request, array.listing
    stems = [entry.stem for entry in listing.entries]
    bad = {stems[i]: row.reason for i, row in enumerate(rows) if row.digest is None and not row.beyond}
    names, groups = [stems[i] for i in kept], [listing.entries[i].group for i in kept]
    options = {name: getattr(wanted, name) for name in ("crop", "margin", "size", "exif", "stride")}
    return {
        "version": VERSION,
        "source": wanted.source.name,
        "origin": str(listing.origin),
        "list_digest": hashlib.sha256("\n".join(stems).encode()).hexdigest()[:12],
        "options": options | {"boxes": None if wanted.boxes is None else str(wanted.boxes)},
        "unusable": listing.unusable | bad,
        "content_digest": content_digest(names, groups, targets, [rows[i].digest or "" for i in kept]),
        "counts": {
            "named": len(rows) + len(listing.unusable),
            "kept": len(kept),
            "beyond_limit": sum(row.beyond for row in rows),
            "unusable": len(listing.unusable | bad),
        },
        "made_with": {"pillow": PIL.__version__, "numpy": np.__version__},
        "names": names,
        "groups": groups,
    }
