"""The calibration of a run: the file that `bel-results calibrate` writes, and the intervals that it gives a network."""

from collections.abc import Sequence
from typing import Any

from mlflow.entities import Run

from bel.angles import Axis
from bel.deploy.calibration import Calibration
from bel.deploy.calibration_file import calibration_of, read
from bel.run_layout import CALIBRATION
from results.store.runs import artifact


def fetch_calibration(run: Run) -> dict[str, Any] | None:
    """Read the calibration of a run as it was written; None where it has none. Raises `UserError` for a damaged file."""
    with artifact(run, CALIBRATION) as path:
        return None if path is None else read(path)


def stored_calibration(run: Run, epoch: int, axes: Sequence[Axis]) -> Calibration | None:
    """Return the intervals of a run's checkpoint, of this epoch and these axes; None where it has none."""
    facts = fetch_calibration(run)
    return None if facts is None else calibration_of(facts, epoch, axes)
