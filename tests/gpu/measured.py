"""What the GPU scripts share: images of noise in memory, runs made ready to be timed, and tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bel.config import TrainConfig
from bel.data.batches import placed
from bel.data.prepare.prepared import Prepared
from bel.precision import pick_device
from bel.training.loop import Epoch, steps
from bel.training.step import WARM_UP

CUDA = torch.cuda.is_available()
HEADS = [{"head": "bel", "code": code} for code in ("j", "u", "b1jdj", "b2jdj", "hex16", "had")] + [
    {"head": head} for head in ("direct", "classification", "rlel", "rotation6d")
]  # of the trials beside each other, in turn


def config_of(backbone: str, size: int, batch: int, number: int = 0, **fields: Any) -> TrainConfig:
    """A config of pose images in memory; trials of different numbers have different heads."""
    own = {"backbone": backbone, "weights": "none", "image_size": size, "batch_size": batch, "val_fraction": 0.05}
    own |= {"crop": "frame", "epochs": 1000, "lr": 1e-4, "schedule": "constant", "device": "auto"}
    return TrainConfig.make(own | HEADS[number % len(HEADS)] | fields)


def noise(config: TrainConfig, rows: int) -> Prepared:
    """Images of noise in memory with random poses: what training computes takes as long as on any others."""
    drawn = np.random.default_rng(0)
    side = config.prepared_size
    images = drawn.integers(0, 256, (rows, side, side, 3), dtype=np.uint8)
    targets = torch.from_numpy(drawn.uniform(-40, 40, (rows, 3)))
    names = [f"{i:06}" for i in range(rows)]
    return Prepared(images, targets, names, [str(i * 40 // rows) for i in range(rows)], 0, 0, "noise", Path())


def sync() -> None:
    """Wait for the GPU."""
    if CUDA:
        torch.cuda.synchronize()


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes, what it gives to a GPU included."""
    sync()
    start = time.perf_counter()
    work()
    sync()
    return time.perf_counter() - start


def ready(configs: Sequence[TrainConfig], data: Prepared) -> list[Iterator[Epoch | None]]:
    """Runs whose next step is one as all later ones are: captured, where steps are; of images that they share."""
    data = placed(data, configs[0], pick_device(configs[0].device))
    runs = [steps(config, data) for config in configs]
    for run in runs:
        for _ in range(WARM_UP + 2):
            next(run)
    return runs


def in_turns(runs: Sequence[Iterator[Epoch | None]], rounds: int) -> None:
    """Train each run by so many steps, in turns."""
    for _ in range(rounds):
        for run in runs:
            next(run)


def card() -> str:
    """The device's name and torch's version."""
    return f"{torch.cuda.get_device_name() if CUDA else 'CPU'}, torch {torch.__version__}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a head, aligned."""
    cells = [list(map(str, row)) for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    print()
    for row in cells:
        first, *rest = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([first.strip().ljust(widths[0]), *rest]))
    sys.stdout.flush()
