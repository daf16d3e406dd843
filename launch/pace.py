"""Progress of a run within its epochs, and the time that is left."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bel.config import TrainConfig
from bel.data.loading import split
from bel.data.prepare.prepared import Prepared
from bel.text import duration
from bel.training.loop import Epoch, steps


@dataclass(frozen=True)
class Pace:
    """Progress within an epoch: its number, from 1, its steps that are done, and images/s since it began."""

    epoch: int
    epochs: int
    step: int
    steps: int
    images_per_s: float
    batch_size: int

    @property
    def part(self) -> float:
        """Share of the epoch that is done."""
        return self.step / self.steps

    @property
    def done(self) -> int:
        """Steps of the whole run that are done."""
        return (self.epoch - 1) * self.steps + self.step

    @property
    def left(self) -> str:
        """Time of training until the end of the run, without validation, as text."""
        return duration((self.epochs * self.steps - self.done) * self.batch_size / self.images_per_s)

    @property
    def cells(self) -> list[str]:
        """Share of the epoch, steps, images/s and time left, as text."""
        return [f"{self.part:.0%}", f"{self.step}/{self.steps}", f"{self.images_per_s:.0f}", self.left]

    def __str__(self) -> str:
        part, step, speed, left = self.cells
        return f"epoch {self.epoch}/{self.epochs}  {part}  step {step}  {speed} images/s  {left} left"


def paced(
    config: TrainConfig, data: Prepared, resume: dict[str, Any] | None, report: Callable[[Pace], None], every: float
) -> Iterator[Epoch]:
    """Train as `bel.training.loop.fit` does and report the pace, at most `every` seconds, without waiting for a GPU.

    Raises immediately what `fit` raises.
    """
    count = len(split(config, data).train) // config.batch_size
    return counted(steps(config, data, resume), config, resume["epoch"] if resume else 0, count, report, every)


def counted(
    run: Iterator[Epoch | None],
    config: TrainConfig,
    done: int,
    count: int,
    report: Callable[[Pace], None],
    every: float,
) -> Iterator[Epoch]:
    """Iterate over the epochs of a run, `count` steps each, that goes on after `done` of them."""
    step, reported = 0, time.monotonic()
    begun = reported
    for made in run:
        if made is None:
            step, now = step + 1, time.monotonic()
            if now - reported >= every:
                speed = step * config.batch_size / max(now - begun, 1e-9)
                report(Pace(done + 1, config.epochs, step, count, speed, config.batch_size))
                reported = now
        else:
            yield made
            done, step, begun = made.number, 0, time.monotonic()
