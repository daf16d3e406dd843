"""The error of angles that wrap, near the seam of their levels and elsewhere, on heads turned through a whole circle.

    bel-data synth --layout csv --roll 180 --out datasets/roll --subjects 120 --frames 24 --size 64
    python tests/benchmarks/seam.py datasets/roll

Every contender is trained on the same images, and measured on people it has not seen; some minutes on one core.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bel.config import TrainConfig
from bel.data.loading import load
from bel.training.evaluate import Evaluation
from bel.training.loop import fit

NEAR = 15  # degrees on either side of the seam, which is at -180
PROTOCOL = {
    "name": "csv",
    "train": "CSV/labels.csv",
    "group": "subject",
    "test_fraction": 0.1,
    "targets": {"roll": {"low": -180, "period": 360, "levels": 72, "unit": "deg", "flip": -1}},
}
SMALL: dict[str, Any] = {
    "protocol": PROTOCOL, "crop": "frame", "image_size": 48, "backbone": "resnet10", "weights": "none", "batch_size": 16,
    "epochs": 8, "lr": 1e-3, "device": "cpu", "val_fraction": 0.35,
}  # fmt: skip
CONTENDERS: dict[str, dict[str, Any]] = {
    "j": {"head": "bel", "code": "j"},
    "u": {"head": "bel", "code": "u"},
    "b2jdj": {"head": "bel", "code": "b2jdj"},
    "direct": {"head": "direct"},
    "classification": {"head": "classification"},
}


def validation(fields: Mapping[str, Any]) -> Evaluation:
    """Train a config of these fields, and return its predictions of the held-out people after the best epoch."""
    config = TrainConfig.make(SMALL | fields)
    best = None
    for epoch in fit(config, load(config, "train")):
        best = epoch.validation if epoch.is_best else best
    assert best is not None
    return best


def near_and_elsewhere(found: Evaluation) -> tuple[float, float]:
    """Return the mean error in degrees of targets within `NEAR` of the seam, and of all others."""
    errors, near = found.errors(found.headline)[:, 0], near_seam(found.targets[:, 0])
    return errors[near].mean().item(), errors[~near].mean().item()


def near_seam(targets: Tensor) -> Tensor:
    """Return which targets (n,) are within `NEAR` degrees of the seam."""
    return targets.abs() > 180 - NEAR


def main(argv: Sequence[str] | None = None) -> int:
    """Train every contender, and print its error near the seam and elsewhere."""
    parser = argparse.ArgumentParser(
        description="Error of angles that wrap, near the seam of their levels and elsewhere."
    )
    parser.add_argument("data_root", type=Path)
    parser.add_argument("--levels", type=int, default=72)
    parser.add_argument("--epochs", type=int, default=SMALL["epochs"])
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    a = parser.parse_args(argv)
    torch.set_num_threads(1)
    print(f"{'':16} near the seam  elsewhere  ratio")
    for name in a.contenders:
        bits = {} if name == "direct" else {"code_bits": a.levels}
        found = validation({"data_root": str(a.data_root), "epochs": a.epochs} | CONTENDERS[name] | bits)
        near, elsewhere = near_and_elsewhere(found)
        count = int(near_seam(found.targets[:, 0]).sum())
        print(
            f"{name:16}{near:14.1f}{elsewhere:11.1f}{near / elsewhere:7.2f}   {count} of {len(found.names)} images",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
