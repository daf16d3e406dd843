"""Train every configuration of a grid with five seeds, for the replays of racing.py: `python tests/benchmarks/record_race.py`.

Renders its heads, takes a quarter of an hour of one core, and goes on where an interrupted recording stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import nn

from bel.config import TrainConfig
from bel.data.command import main as bel_data
from bel.data.loading import load, split
from bel.data.prepare.prepared import Prepared
from bel.model import BACKBONES
from bel.training.checkpoint import restore
from bel.training.evaluate import evaluate, overall
from bel.training.loop import fit
from bel.training.source import code_version

TABLE = Path(__file__).with_name("race.json")
SEEDS = 5
HEADS = {  # rendered: those that train, and other people that measure
    "train": {"subjects": 80, "frames": 12, "size": 40, "seed": 0},
    "judge": {"subjects": 24, "frames": 32, "size": 40, "seed": 1},
}
BASE: dict[str, Any] = {
    "protocol": {
        "name": "csv", "train": "CSV/labels.csv", "test_fraction": 0.05, "image": "image", "group": "subject",
        "targets": {"yaw": {"low": -90, "high": 90, "levels": 180, "unit": "deg", "flip": -1}},
    },
    "val_fraction": 0.04, "selection": "last", "crop": "frame", "image_size": 32, "backbone": "four_layers", "weights": "none",
    "batch_size": 16, "epochs": 5, "precision": "fp32", "device": "cpu",
}  # fmt: skip
SPACE: dict[str, list[Any]] = {"code": ["u", "j", "b2jdj", "hex16", "had"], "lr": [1e-4, 1e-3, 1e-2]}


def four_layers() -> nn.Module:
    """Return a network of 0.2 million parameters, small enough for sixty trainings on one core."""
    widths = (3, 32, 64, 96, 128)
    layers = [
        layer
        for before, width in pairwise(widths)
        for layer in (nn.Conv2d(before, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * 4, 1))


def cells() -> list[dict[str, Any]]:
    """Every combination of the grid."""
    return [dict(zip(SPACE, values, strict=True)) for values in itertools.product(*SPACE.values())]


def record(config: TrainConfig, data: Prepared, judge: Prepared) -> list[float]:
    """Train one run and return its error on each of the people that measure, to five digits."""
    *_, epoch = fit(config, data)
    found = evaluate(restore(epoch.state(), config), judge, torch.arange(len(judge.names)), config)
    return [float(f"{overall(errors, config.axes):.5g}") for errors in found.group_errors(found.headline)]


def describe(config: TrainConfig, data: Prepared, judge: Prepared) -> dict[str, Any]:
    """What was trained, on what, and by which code."""
    count = len(split(config, data).train)
    images = f"{count} images train, {len(judge.names)} of {len(set(judge.groups))} other people measure"
    return {"by": "tests/benchmarks/record_race.py", "heads": HEADS, "base": BASE, "images": images,
            "code": code_version()}  # fmt: skip


def render(folder: Path) -> None:
    """Render the heads that are not there yet."""
    for part, how in HEADS.items():
        if not (folder / part).exists():
            options = [text for name, value in how.items() for text in (f"--{name}", str(value))]
            bel_data(["synth", "--layout", "csv", "--out", str(folder / part), *options])


def write(table: dict[str, Any], path: Path) -> None:
    """Write the table, a run a line."""
    lines = ",\n".join(json.dumps(run) for run in table["runs"])
    head = json.dumps(table | {"runs": []}, indent=1).removesuffix("[]\n}")
    path.write_text(f"{head}[\n{lines}\n]}}\n")


def main() -> None:
    """Record what is missing, a run at a time: all configurations with one seed, then with the next."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, help="folder for the heads, which are rendered there unless they are (a temporary one)"
    )
    parser.add_argument("--out", type=Path, default=TABLE, help="the table")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    BACKBONES["four_layers"] = four_layers
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.data or Path(temporary)
        render(folder)
        config = TrainConfig.make(BASE | cells()[0] | {"data_root": str(folder / "train")})
        data, judge = (load(replace(config, data_root=str(folder / part)), "train") for part in HEADS)
        table = json.loads(arguments.out.read_text()) if arguments.out.exists() else {"runs": []}
        table = describe(config, data, judge) | {"runs": table["runs"]}
        for seed, cell in itertools.product(range(SEEDS), cells()):
            values = cell | {"seed": seed}
            if not any(run["values"] == values for run in table["runs"]):
                table["runs"].append({"values": values, "groups": record(replace(config, **values), data, judge)})
                write(table, arguments.out)
                print(*values.values(), f"{fmean(table['runs'][-1]['groups']):.3f}", flush=True)


if __name__ == "__main__":
    main()
