"""What is re-tested: a checkpoint with its network, whose validation error has to repeat before test is measured."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mlflow.entities import Run

from bel.config import TrainConfig
from bel.data.loading import load, request
from bel.data.prepare.prepared import Prepared, is_here, usable
from bel.data.splits import Split, refuse_leak
from bel.errors import UserError
from bel.heads.decoders import STEPPED
from bel.model import Model
from bel.precision import pick_device
from bel.run_layout import BY_IMAGE
from bel.training import checkpoint
from bel.training.evaluate import Evaluation, evaluate, unit, width
from results.store.artifacts import fetch_checkpoint

SAME, OTHER_BATCH, OTHER_DEVICE = 1e-6, 1e-4, 1e-2  # degrees by which a repeated validation error may differ


@dataclass(frozen=True)
class Subject:
    """What is re-tested: a checkpoint's state, its config here, its network, and its run where it came from one."""

    state: dict[str, Any]
    config: TrainConfig
    model: Model
    run: Run | None

    @property
    def logged(self) -> float:
        """The validation MAE of the checkpoint's epoch over images, as it was logged."""
        return float(self.run.data.metrics[BY_IMAGE] if self.run else self.state["metrics"]["val/mae"])

    @property
    def here(self) -> dict[str, str]:
        """Device, library and code version of this re-test."""
        return checkpoint.environment(next(self.model.parameters()).device)


def fetch_state(run: Run) -> dict[str, Any]:
    """The best checkpoint of a run."""
    with tempfile.TemporaryDirectory() as folder:
        return checkpoint.load(fetch_checkpoint(run, Path(folder)))


def open_subject(state: dict[str, Any], changes: dict[str, Any], run: Run | None = None) -> Subject:
    """Rebuild a checkpoint's network, on the kind of device that it was trained on if there is one."""
    trained_on = state["environment"]["device"].split()[0]
    device = trained_on if trained_on == "cpu" or torch.cuda.is_available() else "auto"
    config = checkpoint.config_of(state, {"weights": "none", "device": device} | changes)
    model = checkpoint.restore(state, config)
    model.to(device=pick_device(config.device), memory_format=config.layout)  # type: ignore[call-overload]
    return Subject(state, config, model, run)


@dataclass(frozen=True)
class Repetition:
    """A validation split measured again: its evaluation, how far from the logged error, and how far it may be."""

    evaluation: Evaluation
    difference: float
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether the logged error repeats."""
        return self.difference <= self.allowed


def repeat(subject: Subject, parts: Split) -> Repetition:
    """Measure the selection split again. Raises `UserError` where the data gives another split than the checkpoint's."""
    digest, trained = parts.digest, subject.state["data"]["split_hash"]
    if digest != trained:
        raise UserError(
            f"the data in {subject.config.data_root} gives the split {digest}, the checkpoint had {trained}: "
            "other images or lists; set data_root to its data"
        )
    evaluation = evaluate(subject.model, parts.held, parts.val, subject.config)
    measured = evaluation.metrics("val")["val/mae"]
    return Repetition(evaluation, abs(measured - subject.logged), tolerance(subject, evaluation))


def load_test(config: TrainConfig) -> Prepared:
    """The test split. Raises `UserError` where an image or a group of it is in train, too, if train is here."""
    train, test = (request(config, part) for part in ("train", "test"))
    if is_here(train):
        refuse_leak(usable(train).entries, usable(test).entries, config.data_root)
    return load(config, "test")


def tolerance(subject: Subject, evaluation: Evaluation) -> float:
    """How much the validation error may differ: by device and library version first, then by batch size.

    Another batch size may flip an argmax between neighbouring levels, on at most 5 images. The bounds are in degrees;
    for another unit they are the same part of the widest range as of 200 degrees.
    """
    axes = subject.config.axes
    scale = 1.0 if unit(axes) == "deg" else max(width(axis, axes) for axis in axes) / 200
    if any(subject.here[name] != subject.state["environment"][name] for name in ("device", "torch")):
        return scale * OTHER_DEVICE
    if subject.config.eval_batch_size == subject.state["config"]["eval_batch_size"]:
        return scale * SAME
    flips = 5 * max(width(axis, axes) / axis.levels for axis in axes) / len(evaluation.names)
    return max(scale * OTHER_BATCH, flips) if evaluation.headline in STEPPED else scale * OTHER_BATCH
