"""The calibration of a run: the file that `bel-results calibrate` writes, and the intervals that it gives a network."""

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run

from bel.angles import Axis
from bel.deploy.calibration import Calibration
from bel.errors import UserError, sentence
from bel.run_layout import CALIBRATION
from results.store.runs import artifact

AGAIN = "run `bel-results calibrate` on its run again"


def fetch_calibration(run: Run) -> dict[str, Any] | None:
    """Read the calibration of a run as it was written; None where it has none. Raises `UserError` for a damaged file."""
    with artifact(run, CALIBRATION) as path:
        return None if path is None else read(path)


def read(path: Path) -> dict[str, Any]:
    """Read a file. Raises `UserError` where it is not as `bel-results calibrate` writes it."""
    try:
        return checked(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path} holds no calibration of ours ({sentence(error)}): {AGAIN}") from error


def checked(facts: Any) -> dict[str, Any]:
    """Return what a file says. Raises `ValueError`, `KeyError` or `TypeError` where that is not as it is written."""
    axes, quantiles, temperatures = facts["axes"], facts["quantiles"], facts["temperatures"]
    numbers = [quantiles] if temperatures is None else [quantiles, temperatures]
    fits = isinstance(axes, list) and all(isinstance(name, str) for name in axes) and 0 < facts["level"] < 1
    fits = fits and all(len(values) == len(axes) for values in numbers)
    fits = fits and all(math.isfinite(value) and value >= 0 for values in numbers for value in values)
    fits = fits and all(
        value > 0 for value in temperatures or ()
    )  # a quantile of whole levels, all of them right, is 0
    if not (fits and isinstance(facts["epoch"], int) and isinstance(facts["measured"], dict)):
        raise ValueError("its levels, temperatures and quantiles are not what they should be")
    return dict(facts)


def calibration_of(facts: dict[str, Any], epoch: int, axes: Sequence[Axis]) -> Calibration:
    """Return the intervals that a file gives the network of an epoch. Raises `UserError` where it is of another network."""
    if (facts["epoch"], facts["axes"]) != (epoch, [axis.name for axis in axes]):
        raise UserError(
            f"the calibration is of epoch {facts['epoch']} and axes {facts['axes']}, the checkpoint of another network: {AGAIN}"
        )
    temperatures = None if facts["temperatures"] is None else tuple(map(float, facts["temperatures"]))
    return Calibration(facts["level"], tuple(axes), tuple(map(float, facts["quantiles"])), temperatures)


def stored_calibration(run: Run, epoch: int, axes: Sequence[Axis]) -> Calibration | None:
    """Return the intervals of a run's checkpoint, of this epoch and these axes; None where it has none."""
    facts = fetch_calibration(run)
    return None if facts is None else calibration_of(facts, epoch, axes)


def calibration_at(source: str, epoch: int, axes: Sequence[Axis]) -> Calibration | None:
    """Return the intervals that lie beside a registered checkpoint, at the address of a folder; None where there are none."""
    if CALIBRATION not in {Path(file.path).name for file in mlflow.artifacts.list_artifacts(artifact_uri=source)}:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = mlflow.artifacts.download_artifacts(f"{source}/{CALIBRATION}", dst_path=folder)
        return calibration_of(read(Path(path)), epoch, axes)
