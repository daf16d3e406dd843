"""How far a run is within its epochs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from bel.config import TrainConfig
from bel.data.loading import split
from bel.data.prepare.prepared import Prepared
from bel.training.loop import Epoch, steps


@dataclass(frozen=True)
class Pace:
    """An epoch, from 1, that is being trained, its steps that are done, and images a second since it began."""

    epoch: int
    epochs: int
    step: int
    steps: int
    images_per_s: float
    batch_size: int

    @property
    def part(self) -> float:
        """The part of the epoch that is done."""
        return self.step / self.steps

    @property
    def done(self) -> int:
        """Steps of the run that are done."""
        return (self.epoch - 1) * self.steps + self.step

    @property
    def left(self) -> str:
        """The time that training takes to the run's end, without validation."""
        return duration((self.epochs * self.steps - self.done) * self.batch_size / self.images_per_s)

    @property
    def cells(self) -> list[str]:
        """The part of the epoch, its steps, images a second and the time that is left, as text."""
        return [f"{self.part:.0%}", f"{self.step}/{self.steps}", f"{self.images_per_s:.0f}", self.left]

    def __str__(self) -> str:
        part, step, speed, left = self.cells
        return f"epoch {self.epoch}/{self.epochs}  {part}  step {step}  {speed} images/s  {left} left"


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def paced(
    config: TrainConfig, data: Prepared, resume: dict[str, Any] | None, tell: Callable[[Pace], None], every: float
) -> Iterator[Epoch]:
    """`bel.training.loop.fit`, which on the way tells its pace, at most every so many seconds; a GPU is not waited for.

    Raises at once what `fit` does.
    """
    count = len(split(config, data).train) // config.batch_size
    return counted(steps(config, data, resume), config, resume["epoch"] if resume else 0, count, tell, every)


def counted(
    run: Iterator[Epoch | None], config: TrainConfig, done: int, count: int, tell: Callable[[Pace], None], every: float
) -> Iterator[Epoch]:
    """The epochs of a run that goes on after `done` of them, with `count` steps in each."""
    step, told = 0, time.monotonic()
    begun = told
    for made in run:
        if made is None:
            step, now = step + 1, time.monotonic()
            if now - told >= every:
                speed = step * config.batch_size / max(now - begun, 1e-9)
                tell(Pace(done + 1, config.epochs, step, count, speed, config.batch_size))
                told = now
        else:
            yield made
            done, step, begun = made.number, 0, time.monotonic()
