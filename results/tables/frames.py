"""Results as pandas frames: the rows of the JSON documents, an interval as two columns."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Run

from bel.run_layout import BEST_EPOCH, BY_IMAGE, ERROR, OBJECTIVE
from results.analysis.configurations import Configuration
from results.store.runs import outcome

PARAMETERS = ("head", "code", "code_bits", "loss", "lr", "seed", "fold")  # of a trial
METRICS = {"mae_groups": OBJECTIVE, "mae": BY_IMAGE, "epoch": BEST_EPOCH, "images_per_s": "images_per_s"}


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with each interval as two values, its lower and its upper end."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if name.endswith("interval"):
            low, high = name.replace("interval", "low"), name.replace("interval", "high")
            found[low], found[high] = value or (None, None)
        else:
            found[name] = value
    return found


def numeric(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame in which columns of None alone are of NaN, as where there is no interval."""
    return frame.astype({name: float for name in frame if len(frame) and frame[name].isna().all()})


def board_frame(record: Mapping[str, Any]) -> pd.DataFrame:
    """Return a leaderboard; its `attrs` have the facts, why it is not comparable with the first one, and the method."""
    frame = numeric(pd.DataFrame(map(flat, record["rows"])))
    frame.attrs = {name: value for name, value in record.items() if name != "rows"}
    return frame


def contender_frame(values: Mapping[str, Any]) -> pd.DataFrame:
    """Return the contenders of a comparison with their errors, and their differences from the first one."""
    gaps = {one["letter"]: one for one in values["differences"]}
    rows = []
    for one in values["contenders"]:
        gap = gaps.get(one["letter"], {"mean": None, "interval": None, "verdict": "first"})
        names = ("letter", "name", "decoder", "seeds", "run_ids", "mae", "interval", "mae_by_image")
        row = {name: one[name] for name in names}
        row |= {f"mae_{axis}": error for axis, error in one["by_axis"].items()}
        row |= {"minus_first": gap["mean"], "minus_first_interval": gap["interval"], "verdict": gap["verdict"]}
        rows.append(flat(row))
    return numeric(pd.DataFrame(rows))


def part_frame(values: Mapping[str, Any], parts: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return parts of a comparison (by group or by target), with a column of errors for each contender's letter."""
    letters = [one["letter"] for one in values["contenders"]]
    rows = [
        {name: value for name, value in part.items() if name != "mae"} | dict(zip(letters, part["mae"], strict=True))
        for part in parts
    ]
    return pd.DataFrame(rows)


def image_frame(one: Configuration) -> pd.DataFrame:
    """Return a row for each image and repeat: its group, by axis target, prediction and absolute error, and their mean.

    Errors by axis are in its unit; `error` is over all axes in the unit of the tables, which `attrs` has.
    """
    frames = []
    for number, found in enumerate(one.seeds):
        columns: dict[str, Any] = {"image": found.names, "group": found.groups, "repeat": number}
        columns["error"] = found.mean_errors(one.decoder)
        parts = {"target": found.values["target"], "predicted": found.values[one.decoder]}
        parts |= {"error": found.errors(one.decoder)} | {k: v for k, v in found.values.items() if k == "std"}
        columns |= {
            f"{kind}_{axis}": np.asarray(v)[:, i] for i, axis in enumerate(found.axes) for kind, v in parts.items()
        }
        frames.append(pd.DataFrame(columns))
    frame = pd.concat(frames, ignore_index=True)
    axes = one.seeds[0].meaning["axes"]
    frame.attrs = {"configuration": one.name, "decoder": one.decoder, "unit": one.seeds[0].meaning["unit"]}
    frame.attrs["units"] = {axis["name"]: axis["unit"] for axis in axes}
    return frame


def run_frame(runs: Iterable[Run]) -> pd.DataFrame:
    """Return a row for each trial, however it ended: id, outcome, errors of its best epoch, and its most varied fields."""
    rows = []
    for run in runs:
        row = {"run_id": run.info.run_id, "name": run.info.run_name, "outcome": str(outcome(run))}
        row |= {name: run.data.metrics.get(metric) for name, metric in METRICS.items()}
        row |= {name: run.data.params.get(name) for name in PARAMETERS}
        rows.append(row | {"reason": run.data.tags.get(ERROR, "")})
    return numeric(pd.DataFrame(rows, columns=["run_id", "name", "outcome", *METRICS, *PARAMETERS, "reason"]))
