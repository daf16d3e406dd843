"""Rows of a prepared array: labels read, images decoded and cropped, pixels written, by this process or by several.

`python -m bel.data.prepare.worker` is such a process: pickled jobs come on stdin, pickled answers go to stdout. It imports
neither torch nor the caller's main module, so that it starts in a fraction of a second wherever the caller runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bel.data.images import decoded
from bel.data.prepare.crops import cut
from bel.data.readers.base import Entry, Label
from bel.errors import UserError


class Work(Protocol):
    """What several processes can do: anything that can be pickled and makes a list of answers of a job."""

    def run(self, job: Any) -> list[Any]:
        """The answers of one job."""


Job = tuple[int, list[Entry]]  # number of the first row, and the entries from there on


class WorkerDiedError(UserError):
    """A process that was at work was killed; what is done is kept."""


@dataclass(frozen=True)
class Row:
    """What became of an entry: the digest of its pixels and its target, or why it is not kept.

    `beyond` says that the reason is the target's size, not that something cannot be read.
    """

    digest: str | None
    target: tuple[float, ...] = ()
    reason: str = ""
    beyond: bool = False


@dataclass(frozen=True)
class Task:
    """How rows are made: `read` gives an entry's label, `limit` its largest absolute target; the array's place on disk."""

    read: Callable[[Entry], Label]
    limit: float
    crop: str
    margin: float
    shape: tuple[int, int]
    path: Path
    offset: int
    exif: str = "apply"

    def run(self, job: Job) -> list[Row]:
        """Write the pixels of a job's entries to their rows; those that are not kept stay black."""
        first, entries = job
        block = np.zeros((len(entries), *self.shape, 3), dtype=np.uint8)
        rows = [self.make(entry, block[i]) for i, entry in enumerate(entries)]
        place = self.offset + first * block[0].nbytes
        # mapped, because processes that write() to one file wait for each other; its blocks are reserved
        np.memmap(self.path, np.uint8, "r+", place, block.shape)[:] = block
        return rows

    def make(self, entry: Entry, pixels: NDArray[np.uint8]) -> Row:
        """Fill the pixels (height, width, 3) of one entry. Raises `OSError` where a file cannot be reached just now."""
        try:
            label = self.read(entry)
            if np.abs(label.target).max() > self.limit:
                return Row(None, reason=f"{entry.stem} is beyond +-{self.limit:g}", beyond=True)
            image = decoded(entry.image, self.exif)
            pixels[:] = cut(image, entry, label, self.crop, self.margin, self.shape)
        except UserError as error:
            return Row(None, reason=f"{error}" if str(entry.image.parent) in str(error) else f"{entry.image}: {error}")
        return Row(row_digest(pixels.data), tuple(label.target.tolist()))


def row_digest(pixels: memoryview | bytes) -> str:
    """Thirty-two hex digits of one row's pixels."""
    return hashlib.sha256(pixels).hexdigest()[:32]


def answers(task: Work, jobs: Sequence[Any], workers: int, keep: int) -> Generator[tuple[Any, list[Any]], None, None]:
    """Each job with its answers, as they are ready; beyond one worker by as many processes, which inherit the file `keep`."""
    if workers == 1:
        yield from ((job, task.run(job)) for job in jobs)
        return
    waiting = iter(jobs)
    crew = [hire(task, keep) for _ in range(min(workers, len(jobs)))]
    try:
        with selectors.DefaultSelector() as ready:
            for process, job in zip(crew, islice(waiting, len(crew)), strict=True):
                send(process, job)
                ready.register(pipe(process.stdout), selectors.EVENT_READ, (process, job))
            while ready.get_map():
                for key, _ in ready.select():
                    process, job = key.data
                    answer = receive(process)
                    ready.unregister(key.fileobj)
                    if (following := next(waiting, None)) is not None:
                        send(process, following)
                        ready.register(key.fileobj, selectors.EVENT_READ, (process, following))
                    yield job, answer
    finally:
        for process in crew:
            process.kill()
            process.wait()
            pipe(process.stdout).close()
            with contextlib.suppress(BrokenPipeError):
                pipe(process.stdin).close()


def hire(task: Work, keep: int) -> subprocess.Popen[bytes]:
    """Start a worker process and tell it the task."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "bel.data.prepare.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(keep,),
        env=environment,
    )
    send(process, task)
    return process


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    """A pipe that was asked for."""
    assert stream is not None
    return stream


def send(process: subprocess.Popen[bytes], item: object) -> None:
    """Give a worker something to do; one that died is noticed by `receive`."""
    with contextlib.suppress(BrokenPipeError):
        pickle.dump(item, pipe(process.stdin))
        pipe(process.stdin).flush()


def receive(process: subprocess.Popen[bytes]) -> list[Any]:
    """A worker's answer. Raises what it raised, and `UserError` where it died."""
    try:
        answer: Any = pickle.load(pipe(process.stdout))
    except (EOFError, pickle.UnpicklingError):
        code = process.wait()
        raise WorkerDiedError(
            f"a process that reads images ended with code {code} (-9: killed, often for want of memory): "
            "the same command goes on where this one stopped; fewer workers need less memory"
        ) from None
    if isinstance(answer, Exception):
        raise answer
    return list(answer)


def main() -> None:
    """Answer jobs until stdin ends; Ctrl-C is for the parent, whose end closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs, results = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not end up among the answers
    task: Work = pickle.load(jobs)
    while True:
        try:
            job: Any = pickle.load(jobs)
        except EOFError:
            return
        try:
            answer: object = task.run(job)
        except Exception as error:  # raised again where it can be shown
            answer = error
        try:
            pickle.dump(answer, results)
            results.flush()
        except BrokenPipeError:
            os._exit(1)


if __name__ == "__main__":
    main()
