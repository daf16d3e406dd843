"""The file `calibration.json`: what `bel-results calibrate` writes beside a checkpoint, read and checked."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bel.angles import Axis
from bel.deploy.calibration import Calibration
from bel.errors import UserError, sentence

AGAIN = "run `bel-results calibrate` on its run again"


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
