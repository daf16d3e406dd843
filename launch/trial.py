"""One training run as a Ray Tune trainable: an epoch a step, a checkpoint a step, the pictures beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from ray import tune

from bel import checkpoint
from bel.config import TrainConfig
from bel.data.prepared import load
from bel.train import Epoch, fit
from launch.identity import pixels_key
from launch.pictures import draw_code, draw_curve, draw_labels

LAST, BEST = "last.pt", "best.pt"


class Trial(tune.Trainable):
    """`config["values"]` holds every field of a `TrainConfig`; actors are reused, so all state is set in `start`."""

    held = ""  # the `pixels_key` of `data`

    def setup(self, config: dict[str, Any]) -> None:
        """Begin the run of a fresh actor."""
        self.start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another run in this actor."""
        self.start(new_config)
        return True

    def start(self, config: dict[str, Any], resume: dict[str, Any] | None = None) -> None:
        """Load the data and make ready to train, after a checkpoint's epoch if one is given."""
        self.epochs: Iterator[Epoch] = iter(())  # lets go of the last run's network before this one's is made
        self.epoch: Epoch | None = None
        self.best: dict[str, Any] = {}
        self.history: list[dict[str, float]] = []
        torch.set_num_threads(max(1, round(self.trial_resources.head_cpus)))
        self.train_config = TrainConfig.make(config["values"])
        if (
            key := pixels_key(self.train_config)
        ) != self.held:  # a map that is there spares asking for every file again
            self.data, self.held = load(self.train_config, "train"), key
        self.epochs = fit(self.train_config, self.data, resume)

    def step(self) -> dict[str, Any]:
        """Train one epoch and report its metrics."""
        epoch = self.epoch = next(self.epochs)
        self.history.append(epoch.metrics)
        if epoch.is_best:
            self.best = epoch.state()
        return epoch.metrics | {"epoch": epoch.number, "done": epoch.number == self.train_config.epochs}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write last and best state, the config, the split and the pictures."""
        assert self.epoch is not None
        folder = Path(checkpoint_dir)
        state = self.epoch.state()
        checkpoint.save(state | {"history": self.history}, folder / LAST)
        (folder / "split.json").write_text(json.dumps(state["data"], indent=1))
        checkpoint.save(self.best, folder / BEST)
        (folder / "config.yaml").write_text(yaml.safe_dump(self.train_config.as_dict(), sort_keys=False))
        draw_code(self.train_config, self.best["weights"], folder / "code.png")
        draw_labels(self.train_config, self.data.targets, folder / "labels.png")
        draw_curve(self.history, folder / "learning_curve.png")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Go on after the checkpoint's epoch."""
        state = checkpoint.load(Path(checkpoint_dir) / LAST)
        self.start(self.config, resume=state)
        self.history = list(state["history"])
        self.best = checkpoint.load(Path(checkpoint_dir) / BEST)
