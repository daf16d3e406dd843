"""Train every cell of a grid with all its epochs: `python tests/benchmarks/record_grid.py [--grid sizes]`.

codes is for the replays of search.py, sizes, of two networks and some sizes of images, for those of pareto.py. Wants the BIWI
crops in datasets/ and forty minutes of one core, sizes as much; goes on where an interrupted recording stopped.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bel.config import TrainConfig
from bel.data.loading import load, split
from bel.data.prepare.prepared import Prepared
from bel.training.loop import fit
from bel.training.source import code_version

BASE: dict[str, Any] = {
    "protocol": "biwi", "crop": "frame", "image_size": 32, "frame_stride": 10, "backbone": "resnet10", "weights": "none",
    "code_bits": 76, "batch_size": 32, "epochs": 9, "precision": "bf16", "device": "cpu",
}  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """What is recorded in a table: the lists of a space and what differs from `BASE`, and the metrics of an epoch."""

    table: Path
    space: Mapping[str, list[Any]]
    base: Mapping[str, Any]
    metrics: Sequence[str]
    left_out: Sequence[Mapping[str, Any]] = ()

    def cells(self) -> Iterator[dict[str, Any]]:
        """Every combination but those that are left out."""
        for values in itertools.product(*self.space.values()):
            cell = dict(zip(self.space, values, strict=True))
            if not any(part.items() <= cell.items() for part in self.left_out):
                yield cell


GRIDS = {
    "codes": Grid(
        Path(__file__).with_name("grid.csv"),
        {
            "loss": ["bce", "ce", "l1"],
            "lr": [5e-5, 1.2e-4, 3.1e-4, 7.8e-4, 1.9e-3, 4.8e-3, 1.2e-2, 3e-2],
            "code": ["u", "j", "b1jdj", "b2jdj", "hex16", "had"],
        },
        BASE,
        ("val/mae", "val/best_mae"),
    ),
    "sizes": Grid(
        Path(__file__).with_name("sizes.csv"),
        {
            "backbone": ["resnet10", "resnet18"],
            "image_size": [32, 40, 48],
            "code": ["u", "hex16"],
            "lr": [1e-4, 5e-4, 2.5e-3, 1.2e-2],
        },
        BASE | {"precision": "fp32"},
        ("val/best_mae_groups", "images_per_s"),
        [{"backbone": "resnet18", "image_size": size} for size in (40, 48)],
    ),
}


def record(config: TrainConfig, data: Prepared, metrics: Sequence[str]) -> list[list[Any]]:
    """Train one cell; of each epoch the number, metrics and seconds, to five digits.

    Seconds and images a second are of the core's time in this process, whatever else the machine does.
    """
    rows, start = [], time.process_time()
    images = len(split(config, data).train) // config.batch_size * config.batch_size
    for epoch in fit(config, data):
        spent, start = time.process_time() - start, time.process_time()
        measured = epoch.metrics | {"images_per_s": images / spent}
        values = [*(measured[name] for name in metrics), spent]
        rows.append([epoch.number, *(f"{value:.5g}" for value in values)])
    return rows


def describe(config: TrainConfig, data: Prepared, grid: Grid) -> str:
    """The line above the table: what was trained, on what, and by which code."""
    parts = split(config, data)
    fields = " ".join(f"{name}={value}" for name, value in grid.base.items() if name not in grid.space)
    return (
        f"# tests/benchmarks/record_grid.py, seed 0, one core: {fields}; {len(parts.train)} training images, val MAE (deg) "
        f"on {len(parts.val)} of {len(parts.val_groups)} other groups, split {parts.digest}; code {code_version()}"
    )


def complete(table: Path, names: Sequence[str]) -> set[tuple[str, ...]]:
    """The cells, by fields, that are in the table with all their epochs."""
    with table.open(newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        counts = Counter(tuple(row[name] for name in names) for row in rows)
    return {cell for cell, count in counts.items() if count == BASE["epochs"]}


def main() -> None:
    """Record what is missing, a cell at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", choices=GRIDS, default="codes", help="what is recorded (%(default)s)")
    parser.add_argument("--data-root", default="datasets", help="folder that holds BIWI/")
    parser.add_argument("--out", type=Path, help="the table, the project's own one by default")
    arguments = parser.parse_args()
    grid = GRIDS[arguments.grid]
    out = arguments.out or grid.table
    torch.set_num_threads(1)
    for cell in grid.cells():
        config = TrainConfig.make({**grid.base, **cell, "data_root": arguments.data_root})
        data = load(config, "train")
        if not out.exists():
            header = ",".join([*cell, "epoch", *grid.metrics, "seconds"])
            out.write_text(f"{describe(config, data, grid)}\n{header}\n")
        if tuple(str(value) for value in cell.values()) in complete(out, list(cell)):
            continue
        rows = record(config, data, grid.metrics)
        with out.open("a", newline="") as file:  # whole cells only
            csv.writer(file, lineterminator="\n").writerows([*cell.values(), *row] for row in rows)
        print(*cell.values(), *rows[-1], flush=True)


if __name__ == "__main__":
    main()
