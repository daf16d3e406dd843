"""Train every cell of a grid with all its epochs, for the replays of search.py: `python tests/benchmarks/record_grid.py`.

Wants the BIWI crops in datasets/ and forty minutes of one core; goes on where an interrupted recording stopped.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from bel.config import TrainConfig
from bel.data.loading import load, split
from bel.data.prepare.prepared import Prepared
from bel.training.loop import fit
from bel.training.source import code_version

TABLE = Path(__file__).with_name("grid.csv")
BASE: dict[str, Any] = {
    "protocol": "biwi", "crop": "frame", "image_size": 32, "frame_stride": 10, "backbone": "resnet10", "weights": "none",
    "code_bits": 76, "batch_size": 32, "epochs": 9, "precision": "bf16", "device": "cpu",
}  # fmt: skip
SPACE: dict[str, list[Any]] = {
    "loss": ["bce", "ce", "l1"],
    "lr": [5e-5, 1.2e-4, 3.1e-4, 7.8e-4, 1.9e-3, 4.8e-3, 1.2e-2, 3e-2],
    "code": ["u", "j", "b1jdj", "b2jdj", "hex16", "had"],
}
MEASURED = ["epoch", "val/mae", "val/best_mae", "seconds"]


def cells() -> Iterator[dict[str, Any]]:
    """Every combination of the grid."""
    for values in itertools.product(*SPACE.values()):
        yield dict(zip(SPACE, values, strict=True))


def record(config: TrainConfig, data: Prepared) -> list[list[Any]]:
    """Train one cell; its epochs as MEASURED, to five digits."""
    rows, start = [], time.perf_counter()
    for epoch in fit(config, data):
        spent, start = time.perf_counter() - start, time.perf_counter()
        values = [epoch.metrics["val/mae"], epoch.metrics["val/best_mae"], spent]
        rows.append([epoch.number, *(f"{value:.5g}" for value in values)])
    return rows


def describe(config: TrainConfig, data: Prepared) -> str:
    """The line above the table: what was trained, on what, and by which code."""
    parts = split(config, data)
    fields = " ".join(f"{name}={value}" for name, value in BASE.items())
    return (
        f"# tests/benchmarks/record_grid.py, seed 0, one core: {fields}; {len(parts.train)} training images, val MAE (deg) "
        f"on {len(parts.val)} of {len(parts.val_groups)} other groups, split {parts.digest}; code {code_version()}"
    )


def complete(table: Path) -> set[tuple[str, ...]]:
    """The cells that are in the table with all their epochs."""
    with table.open(newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        counts = Counter(tuple(row[name] for name in SPACE) for row in rows)
    return {cell for cell, count in counts.items() if count == BASE["epochs"]}


def main() -> None:
    """Record what is missing, a cell at a time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", default="datasets", help="folder that holds BIWI/")
    parser.add_argument("--out", type=Path, default=TABLE, help="the table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    configs = [(c, TrainConfig.make(BASE | c | {"data_root": arguments.data_root})) for c in cells()]
    data = load(configs[0][1], "train")
    if not arguments.out.exists():
        header = ",".join([*SPACE, *MEASURED])
        arguments.out.write_text(f"{describe(configs[0][1], data)}\n{header}\n")
    done = complete(arguments.out)
    for cell, config in configs:
        if tuple(str(value) for value in cell.values()) in done:
            continue
        rows = record(config, data)
        with arguments.out.open("a", newline="") as file:  # whole cells only
            csv.writer(file, lineterminator="\n").writerows([*cell.values(), *row] for row in rows)
        print(*cell.values(), f"best {rows[-1][2]}", flush=True)


if __name__ == "__main__":
    main()
