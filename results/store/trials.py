"""Which runs a question is about: those of a sweep by its name or its parent run, or of several, perhaps filtered."""

from __future__ import annotations

import re
from collections.abc import Sequence

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from bel.errors import UserError
from bel.run_layout import OUTCOME, PARENT, RANKED, TRIAL, Outcome
from results.store.runs import UNKNOWN, find_run, reach, whole

RUN_ID = re.compile(r"[0-9a-f]{32}")


def parents(names: Sequence[str]) -> list[Run]:
    """The parent runs of sweeps, each named by its run id or by its name, that of its experiment: then its latest one.

    Raises `UserError` for a name that no sweep has.
    """
    return [by_id(name) if RUN_ID.fullmatch(name) else by_name(name) for name in names]


def by_id(run_id: str) -> Run:
    """The parent run of an id, or of a trial's id the sweep that it is of."""
    run = find_run(run_id)
    return find_run(run.data.tags[PARENT]) if PARENT in run.data.tags else run


def by_name(name: str) -> Run:
    """The latest parent run of a sweep's name."""
    client = reach()
    experiment = client.get_experiment_by_name(name)
    found = [] if experiment is None else client.search_runs([experiment.experiment_id], order_by=["start_time DESC"])
    for run in found:
        if PARENT not in run.data.tags:
            return run
        return find_run(run.data.tags[PARENT])
    known = [e.name for e in client.search_experiments(max_results=1000) if e.name != "Default"]
    raise UserError(
        f"no sweep {name!r} in the MLflow store {mlflow.get_tracking_uri()}: it has {known}; or give a run id"
    )


def trials(sweeps: Sequence[Run], condition: str = "") -> list[Run]:
    """All trials of some sweeps, however they ended, each once; `condition` is a filter of MLflow's.

    Raises `UserError` for a condition that MLflow refuses.
    """
    found: dict[str, Run] = {}
    for parent in sweeps:
        where = f"tags.`{PARENT}` = '{parent.info.run_id}'" + (f" and {condition}" if condition else "")
        token = None
        while True:
            try:
                page = MlflowClient().search_runs(
                    [parent.info.experiment_id], where, max_results=5000, page_token=token
                )
            except MlflowException as error:
                if error.error_code not in UNKNOWN:
                    raise
                raise UserError(f"MLflow refuses the filter {condition!r}: {str(error).splitlines()[0]}") from error
            for run in page:
                key = run.data.tags.get(TRIAL, run.info.run_id)
                if key not in found or (outcome(run) in RANKED and outcome(found[key]) not in RANKED):
                    found[key] = run
            token = page.token
            if not token:
                break
    return [whole(run) for run in found.values()]


STATUS = {"FINISHED": Outcome.FINISHED, "RUNNING": Outcome.RUNNING, "KILLED": Outcome.CUT}  # of a run without the tag


def outcome(run: Run) -> Outcome:
    """What became of a trial; a run without our tag, or with one of another version, is judged by its status in MLflow."""
    try:
        return Outcome(run.data.tags[OUTCOME])
    except (KeyError, ValueError):
        return STATUS.get(run.info.status, Outcome.FAILED)
