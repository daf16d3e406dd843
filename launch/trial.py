"""One training run as a Ray Tune trainable: an epoch a step, a checkpoint a step, the pictures beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from ray import tune

from bel import checkpoint
from bel.config import TrainConfig
from bel.data.prepared import load
from bel.errors import UserError
from bel.train import Epoch, fit
from launch.pictures import draw_code, draw_curve

LAST, BEST = "last.pt", "best.pt"


class Trial(tune.Trainable):
    """`config["values"]` holds every field of a `TrainConfig`; actors are reused, so all state is set in `start`."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin the run of a fresh actor."""
        self.start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another run in this actor."""
        self.start(new_config)
        return True

    def start(self, config: dict[str, Any], resume: dict[str, Any] | None = None) -> None:
        """Load the data and make ready to train, after a checkpoint's epoch if one is given."""
        torch.set_num_threads(max(1, round(self.trial_resources.head_cpus)))
        self.train_config = TrainConfig.make(on_gpu(config["values"], self.trial_resources.required_resources))
        self.history: list[dict[str, float]] = []
        self.best: dict[str, Any] = {}
        self.epochs: Iterator[Epoch] = fit(self.train_config, load(self.train_config, "train"), resume)

    def step(self) -> dict[str, Any]:
        """Train one epoch and report its metrics."""
        self.epoch = next(self.epochs)
        self.history.append(self.epoch.metrics)
        if self.epoch.is_best:
            self.best = self.epoch.state()
        return self.epoch.metrics | {"epoch": self.epoch.number, "done": self.epoch.number == self.train_config.epochs}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write last and best state, the config and the pictures."""
        folder = Path(checkpoint_dir)
        checkpoint.save(self.epoch.state() | {"history": self.history}, folder / LAST)
        checkpoint.save(self.best, folder / BEST)
        (folder / "config.yaml").write_text(yaml.safe_dump(self.train_config.as_dict(), sort_keys=False))
        draw_code(self.train_config, folder / "code.png")
        draw_curve(self.history, folder / "learning_curve.png")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Go on after the checkpoint's epoch."""
        state = checkpoint.load(Path(checkpoint_dir) / LAST)
        self.start(self.config, resume=state)
        self.history = list(state["history"])
        self.best = checkpoint.load(Path(checkpoint_dir) / BEST)


def on_gpu(values: dict[str, Any], resources: dict[str, float]) -> dict[str, Any]:
    """Values with device auto made definite: the GPU share that the trial holds is used, and without one none is.

    Raises `UserError` where torch cannot see the GPU that the trial holds.
    """
    if values["device"] != "auto":
        return values
    held = resources.get("GPU", 0) > 0
    if held and not torch.cuda.is_available():
        raise UserError(
            f"the trial holds a GPU (CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')}), but this torch "
            "cannot use it: install a CUDA build of torch, or set resources.gpu to 0"
        )
    return values | {"device": "cuda" if held else "cpu"}
