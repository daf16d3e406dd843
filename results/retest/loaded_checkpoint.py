"""A checkpoint with its network, for a re-test: its validation error has to repeat before the test split is measured."""

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Run

from bel.config import TrainConfig
from bel.data.loading import load, refuse_leak, request
from bel.data.prepare.prepared import Prepared, is_here, usable
from bel.errors import UserError
from bel.heads.decoders import STEPPED
from bel.model import Model
from bel.plugins.registry import digests
from bel.precision import AVAILABLE, pick_device
from bel.run_layout import BY_IMAGE, CHECKPOINT
from bel.training import checkpoint
from bel.training.evaluate import Evaluation, unit, width
from results.analysis.leaderboard import find_runs
from results.store.registry import find_version
from results.store.runs import artifact, find_run

SAME, OTHER_BATCH, OTHER_DEVICE = 1e-6, 1e-4, 1e-2  # degrees by which a repeated validation error may differ


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint's state, its config on this machine, its network, and the run that it is of, if any."""

    state: dict[str, Any]
    config: TrainConfig
    model: Model
    run: Run | None

    @property
    def logged(self) -> float:
        """The logged validation MAE over images of the checkpoint's epoch."""
        return float(self.run.data.metrics[BY_IMAGE] if self.run else self.state["metrics"]["val/mae"])

    @property
    def here(self) -> dict[str, str]:
        """Device, library and code version of this machine, and the plug-ins."""
        return checkpoint.environment(next(self.model.parameters()).device, self.config.as_dict())


def one_run(run_id: str) -> Run:
    """Return the run of an id, or a sweep's best trial. Raises `UserError` where a sweep has several tables."""
    runs = find_runs(run_id)
    if len(runs) > 1:
        best = ", ".join(f"{run.info.run_id} ({run.data.params['protocol'][:40]})" for run in runs)
        raise UserError(f"sweep {run_id} has a best trial for each of its tables: give the id of one of them, {best}")
    return runs[0]


def add_source(parser: argparse.ArgumentParser, of_file: str = "without MLflow") -> None:
    """Add the options that say which checkpoint: of a run, of a registered model, or a file."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run-id", help="MLflow id of a trial, or of a sweep (its best trial)")
    source.add_argument("--model", metavar="NAME@ALIAS", help="registered model, or NAME/VERSION of one")
    source.add_argument("--checkpoint", type=Path, metavar="FILE", help=f"checkpoint file, {of_file}")


def read_state(a: argparse.Namespace) -> tuple[dict[str, Any], Run | None]:
    """Return the state of the checkpoint that the options of `add_source` say, and its run; a file has none."""
    if a.checkpoint is not None:
        return checkpoint.load(a.checkpoint), None
    run = one_run(a.run_id) if a.model is None else run_of_model(a.model)
    return fetch_state(run), run


def run_of_model(reference: str) -> Run:
    """Return the run of a registered model. Raises `UserError` where there is no such model."""
    version = find_version(reference)
    print(f"model {reference}: version {version.version} of {version.name}")
    return find_run(version.run_id)


def fetch_state(run: Run) -> dict[str, Any]:
    """Return the state of a run's best checkpoint. Raises `UserError` where the run has none."""
    with artifact(run, CHECKPOINT) as path:
        if path is None:
            raise UserError(
                f"run {run.info.run_id} ({run.info.status}) has no {CHECKPOINT} that can be read: there is none in "
                f"{run.info.artifact_uri}"
            )
        return checkpoint.load(path)


def load_network(state: dict[str, Any], changes: dict[str, Any], run: Run | None = None) -> LoadedCheckpoint:
    """Return a checkpoint with its network, on the kind of device that trained it if there is one here."""
    trained_on = state["environment"]["device"].split()[0]
    device = trained_on if AVAILABLE.get(trained_on, bool)() else "auto"
    config = checkpoint.config_of(state, {"weights": "none", "device": device} | changes)
    remark_plugins(state, config)
    model = checkpoint.restore(state, config)
    model.to(device=pick_device(config.device), memory_format=config.layout)  # type: ignore[call-overload]
    return LoadedCheckpoint(state, config, model, run)


def remark_plugins(state: dict[str, Any], config: TrainConfig) -> None:
    """Warn where a plug-in of a checkpoint is another version here: what it predicts may be other numbers."""
    made, here = state["environment"].get("plug-ins", ""), digests(config.as_dict())
    if made != here:
        warnings.warn(
            f"the checkpoint was trained with the plug-ins {made or 'none'}, and here is {here or 'none'}: bel-eval says "
            "whether its error repeats",
            stacklevel=2,
        )


def load_test(config: TrainConfig) -> Prepared:
    """Return the test split. Raises `UserError` where an image or a group of it is in train, too, if that is here."""
    train, test = (request(config, part) for part in ("train", "test"))
    if is_here(train):
        refuse_leak(usable(train).entries, usable(test).entries, config.data_root)
    return load(config, "test")


def tolerance(loaded: LoadedCheckpoint, evaluation: Evaluation) -> float:
    """Return how much the validation error may differ: by device and library version first, then by batch size.

    Another batch size may flip an argmax between neighbouring levels, on at most 5 images. The bounds are in degrees;
    for another unit they are the same part of the widest range as of 200 degrees.
    """
    axes = loaded.config.axes
    scale = 1.0 if unit(axes) == "deg" else max(width(axis, axes) for axis in axes) / 200
    if any(loaded.here[name] != loaded.state["environment"][name] for name in ("device", "torch")):
        return scale * OTHER_DEVICE
    if loaded.config.eval_batch_size == loaded.state["config"]["eval_batch_size"]:
        return scale * SAME
    flips = 5 * max(width(axis, axes) / axis.levels for axis in axes) / len(evaluation.names)
    return max(scale * OTHER_BATCH, flips) if evaluation.headline in STEPPED else scale * OTHER_BATCH
