"""What a sweep's searcher was told, on its parent run: the first call decides it, and later ones read it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from bel.run_layout import TOLD_FILE, WARM_START, Outcome
from launch.schedule.guide import Source, Told, WarmStart
from launch.spec.combinations import Plan
from launch.spec.sweep_file import Sweep
from launch.tracking.store import newest
from launch.warm_start.sources import Identify, find_warm_start, said


def warm_start(sweep: Sweep, plans: Sequence[Plan], identify: Identify, key: str, fresh: bool) -> WarmStart | None:
    """Return what the searcher of a sweep is told: as its parent run has it, else from the sweeps that are named.

    None where it names none. Raises `UserError` for a name that no sweep has.
    """
    if not sweep.warm_start:
        return None
    experiment = MlflowClient().get_experiment_by_name(sweep.name)
    parent = None if experiment is None or fresh else newest(experiment.experiment_id, key)
    if parent and WARM_START in parent.data.tags:
        return read(parent)
    return find_warm_start(sweep, plans, identify, key)


def record(found: WarmStart | None, parent_id: str) -> WarmStart | None:
    """Write what a searcher is told into the parent run, unless that is done, and return what it says."""
    if found is None:
        return None
    client = MlflowClient()
    parent = client.get_run(parent_id)
    if WARM_START in parent.data.tags:
        return read(parent)
    stages = [[asdict(one) for one in stage] for stage in found.stages]
    client.log_dict(parent_id, {"sources": values(found), "stages": stages}, TOLD_FILE)
    client.set_tag(parent_id, WARM_START, json.dumps({one.run_id: [one.name, one.told] for one in found.sources}))
    return found


def read(parent: Run) -> WarmStart:
    """Return what a parent run says that its searcher was told."""
    content = mlflow.artifacts.load_dict(f"runs:/{parent.info.run_id}/{TOLD_FILE}")
    return WarmStart(
        [list(map(told, stage)) for stage in content["stages"]], [Source(**one) for one in content["sources"]]
    )


def told(content: dict[str, Any]) -> Told:
    """Return a configuration as it was written as JSON, where tuples are lists."""
    tuples = {name: tuple(content[name]) for name in ("run_ids", "results", "drawn")}
    values = {name: tuple(one) if isinstance(one, list) else one for name, one in content["values"].items()}
    return Told(**content | tuples | {"values": values, "outcome": Outcome(content["outcome"])})


def values(found: WarmStart) -> list[dict[str, Any]]:
    """Return the sources in plain values."""
    return [asdict(source) for source in found.sources]


def lines(sources: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield what is said of each source."""
    for one in sources:
        how = f"{one['exact']} as measured, {one['told'] - one['exact']} on the scale of this sweep's errors"
        partly = f", {one['partly']} of them in some dimensions alone" if one["partly"] else ""
        others = f"; not told {said(one['left_out'])}" if one["left_out"] else ""
        yield f"warm start from {one['name']} (run {one['run_id']}): {one['told']} configurations told, {how}{partly}{others}"
