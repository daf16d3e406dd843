"""Rows of a prepared array: labels read, images decoded and cropped, pixels written, by this process or by several.

`python -m bel.data.prepare.worker` is such a process: it reads pickled jobs from stdin and writes pickled results to stdout.
It imports neither torch nor the caller's main module, so that it starts in a fraction of a second.
"""

import contextlib
import hashlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from bel.data.images import decoded
from bel.data.prepare.crops import cut
from bel.data.readers.base import Entry, Label
from bel.errors import UserError
from bel.plugins.module import RUN
from bel.plugins.module import receive as receive_plugins


class Work(Protocol):
    """What several processes can do: anything that can be pickled and has a list of results for a job."""

    def run(self, job: Any) -> list[Any]:
        """Return the results of one job."""


Job = tuple[int, list[Entry]]  # number of the first row, and the entries from there on


class WorkerDiedError(UserError):
    """A worker process was killed; finished jobs are kept."""


@dataclass(frozen=True)
class Row:
    """The result of an entry: the digest of its pixels and its target, or why it is not kept.

    `beyond` says that the reason is the size of the target, not that something cannot be read.
    """

    digest: str | None
    target: tuple[float, ...] = ()
    reason: str = ""
    beyond: bool = False


@dataclass(frozen=True)
class Task:
    """How rows are made: `read` gives an entry's label, `limit` its largest absolute target; file and offset of the array."""

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
        rows = [self.make_row(entry, block[i]) for i, entry in enumerate(entries)]
        place = self.offset + first * block[0].nbytes
        # a memory map, because processes that write() to one file wait for each other; its blocks are allocated
        np.memmap(self.path, np.uint8, "r+", place, block.shape)[:] = block
        return rows

    def make_row(self, entry: Entry, pixels: NDArray[np.uint8]) -> Row:
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
    """Return thirty-two hex digits of one row's pixels."""
    return hashlib.sha256(pixels).hexdigest()[:32]


def run_jobs(task: Work, jobs: Sequence[Any], workers: int, keep: int) -> Generator[tuple[Any, list[Any]], None, None]:
    """Yield each job with its results, as they are ready; several `workers` are processes that inherit the file `keep`."""
    if workers == 1:
        yield from ((job, task.run(job)) for job in jobs)
        return
    waiting = iter(jobs)
    processes = [start_worker(task, keep) for _ in range(min(workers, len(jobs)))]
    try:
        busy = {}  # process and job by the file descriptor of the process's results
        for process, job in zip(processes, waiting, strict=False):
            send(process, job)
            busy[pipe(process.stdout).fileno()] = process, job
        while busy:
            for ready in wait(busy):
                process, job = busy.pop(cast(int, ready))
                result = receive(process)
                if (following := next(waiting, None)) is not None:
                    send(process, following)
                    busy[cast(int, ready)] = process, following
                yield job, result
    finally:
        for process in processes:
            process.kill()
            process.wait()
            pipe(process.stdout).close()
            with contextlib.suppress(BrokenPipeError):
                pipe(process.stdin).close()


def start_worker(task: Work, keep: int) -> subprocess.Popen[bytes]:
    """Start a worker process and send it the task."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command, ends = [sys.executable, "-m", "bel.data.prepare.worker"], subprocess.PIPE
    process = subprocess.Popen(command, stdin=ends, stdout=ends, pass_fds=(keep,), env=environment)
    send(process, {name: module.text for name, (module, _) in RUN.items() if module.text is not None})
    send(process, task)
    return process


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    """Return a stream of a process that was started with pipes."""
    assert stream is not None
    return stream


def send(process: subprocess.Popen[bytes], item: object) -> None:
    """Send a worker its task or a job; `receive` raises where it has died."""
    with contextlib.suppress(BrokenPipeError):
        pickle.dump(item, pipe(process.stdin))
        pipe(process.stdin).flush()


def receive(process: subprocess.Popen[bytes]) -> list[Any]:
    """Return a worker's results. Raises what it raised, and `WorkerDiedError` where it died."""
    try:
        result: Any = pickle.load(pipe(process.stdout))
    except (EOFError, pickle.UnpicklingError):
        code = process.wait()
        raise WorkerDiedError(
            f"a process that reads images ended with code {code} (-9: killed, often for want of memory): "
            "the same command goes on where this one stopped; fewer workers need less memory"
        ) from None
    if isinstance(result, Exception):
        raise result
    return list(result)


def main() -> None:
    """Run jobs until stdin ends; Ctrl-C is left to the parent, whose exit closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jobs, results = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # nothing printed may be mixed with the results
    receive_plugins(pickle.load(jobs))
    task: Work = pickle.load(jobs)
    while True:
        try:
            job: Any = pickle.load(jobs)
        except EOFError:
            return
        try:
            result: object = task.run(job)
        except Exception as error:  # the parent raises it
            result = error
        try:
            pickle.dump(result, results)
            results.flush()
        except BrokenPipeError:
            os._exit(1)


if __name__ == "__main__":
    main()
