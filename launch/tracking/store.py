"""What MLflow has of a sweep: its parent run, its trials, and which of them need not be trained again."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from mlflow.entities import Experiment, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from bel.errors import UserError
from bel.run_layout import (
    CHECKPOINT,
    CODE_VERSION,
    CONFIG,
    DECIDED,
    DROPPED,
    FRESH,
    GENERATION,
    HOURS,
    OUTCOME,
    PARENT,
    PREDICTIONS,
    SCHEDULED,
    SPLIT,
    SWEEP,
    TRIAL,
    Outcome,
)
from bel.training.source import code_version
from launch.identity import Facts
from launch.spec.sweep_file import Sweep
from launch.tracking.lease import Lease
from results.store.connect import is_away
from results.store.runs import file_names, search
from results.store.runs import outcome as outcome_of

FILES = (CONFIG, SPLIT, PREDICTIONS["val"])  # of each run that has an error, beside its checkpoint
KEY_FIELDS = ("name", "base", "space", "exclude", "points", "search", "root")  # of a sweep: those that identify it
STATUS = {  # of a run in MLflow
    Outcome.FINISHED: "FINISHED",
    Outcome.STOPPED: "FINISHED",
    Outcome.DIVERGED: "FAILED",
    Outcome.FAILED: "FAILED",
    Outcome.CUT: "KILLED",
}


@dataclass(frozen=True)
class Store:
    """Experiment and parent run of a sweep, and its trials in MLflow, by key."""

    experiment_id: str
    parent_id: str
    children: dict[str, Run]  # runs of the sweep itself, however they ended
    known: dict[str, tuple[Run, Outcome, bool]]  # decided trials: run, outcome, whether another sweep trained it
    hours: float = 0.0  # of earlier calls
    key: str = ""  # the sweep's
    fresh: bool = False  # whether it reuses no states and trials of earlier calls
    lease: Lease | None = None  # None: nothing is written


def sweep_key(sweep: Sweep, facts: Facts, files: list[dict[str, str]]) -> str:
    """Return 16 hex digits that identify a sweep: by its search, code, data and files, but not its number of trials."""
    values = {name: value for name, value in asdict(sweep).items() if name in KEY_FIELDS}
    values |= {"warm_start": sweep.warm_start} if sweep.warm_start else {}  # the key of any other sweep is as before
    values["base"] = {name: value for name, value in values["base"].items() if name != "plugins"}  # their digests count
    options = {name: value for name, value in values["search"].items() if name != "trials"}
    values["search"] = {
        name: value for name, value in options.items() if value or name != "race"
    }  # as before there were any
    seen, named = (sorted({json.dumps(part, sort_keys=True) for part in parts}) for parts in (facts.values(), files))
    return hashlib.sha256(json.dumps([values, seen, named, code_version()]).encode()).hexdigest()[:16]


def read_store(sweep: Sweep, key: str, fresh: bool) -> Store:
    """Read what MLflow has of a sweep, without writing; ids are empty where there is no experiment or parent run yet."""
    experiment = MlflowClient().get_experiment_by_name(sweep.name)
    refuse_deleted(experiment)
    parent = None if experiment is None or fresh else newest(experiment.experiment_id, key)
    return read(experiment.experiment_id if experiment else "", key, parent, fresh)


def read(experiment_id: str, key: str, parent: Run | None, fresh: bool) -> Store:
    """Read the trials of a sweep; decided ones count only where their files can be fetched."""
    parent_id, children, hours = "", [], 0.0
    if parent:
        parent_id, hours = parent.info.run_id, float(parent.data.tags.get(HOURS, 0))
        children = search([experiment_id], tagged({PARENT: parent_id}))
        fresh = FRESH in parent.data.tags
    others = [] if fresh else trials_of_other_sweeps(parent_id)
    known = {run.data.tags[TRIAL]: (run, Outcome.FINISHED, True) for run in others}
    for run in children:
        known.pop(run.data.tags[TRIAL], None)
        if run.data.tags.get(OUTCOME) in DECIDED and has_files(
            run, outcome := outcome_of(run)
        ):  # the tag alone decides
            known[run.data.tags[TRIAL]] = run, outcome, False
    own = {run.data.tags[TRIAL]: run for run in children}
    return Store(experiment_id, parent_id, own, known, hours, key, fresh)


def knows(run_id: str) -> bool:
    """Whether the store has a run."""
    try:
        return bool(MlflowClient().get_run(run_id))
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def trials_of_other_sweeps(parent_id: str) -> list[Run]:
    """Find the trials of other sweeps that finished with this code and have their checkpoint, the newest first."""
    wanted = tagged({OUTCOME: Outcome.FINISHED, CODE_VERSION: code_version()})
    found = search(None, f"{wanted} and tags.`{PARENT}` != '{parent_id}'")
    return [run for run in found if DROPPED not in run.data.tags]


def has_files(run: Run, outcome: Outcome, kept: bool = True) -> bool:
    """Whether the store has the files of a run that ended, its checkpoint too where that is kept; else train it again."""
    kept = kept and DROPPED not in run.data.tags
    needed = set() if outcome == Outcome.DIVERGED else {*FILES, CHECKPOINT} if kept else set(FILES)
    try:
        return not needed or needed <= file_names(run)
    except (MlflowException, OSError) as error:
        if is_away(error):
            raise
        return False


def scheduled_histories(store: Store, protocols: set[str], metrics: Sequence[str]) -> dict[str, list[dict[str, float]]]:
    """Return by key the epochs, with metrics, of the sweep's own trials of some protocols that the scheduler could stop."""
    found = {}
    for key, (run, _, reused) in store.known.items():
        if not reused and run.data.tags.get(SCHEDULED) == "True" and run.data.params.get("protocol") in protocols:
            found[key] = history(run.info.run_id, metrics)
    return found


def history(run_id: str, metrics: Sequence[str]) -> list[dict[str, float]]:
    """Return the epochs of a run in MLflow that have all of some metrics, with these."""
    entries: dict[int, dict[str, float]] = {}
    for metric in metrics:
        for point in MlflowClient().get_metric_history(run_id, metric):
            entries.setdefault(point.step, {"epoch": float(point.step)})[metric] = point.value
    return [entries[step] for step in sorted(entries) if entries[step].keys() >= {*metrics}]


def newest(experiment_id: str, key: str) -> Run | None:
    """Find the parent run of a sweep: the one of the last call with --fresh, if there was any."""
    found = search([experiment_id], tagged({SWEEP: key}))
    return max(found, key=lambda run: (generation(run), run.info.start_time), default=None)


def generation(parent: Run) -> int:
    """Return how many parent runs of the same sweep were made before one."""
    return int(parent.data.tags.get(GENERATION, 0))


def refuse_deleted(experiment: Experiment | None) -> None:
    """Raise `UserError` for an experiment that somebody has deleted."""
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"the MLflow experiment {experiment.name!r} was deleted: restore it there, or give the sweep another name"
        )


def tagged(tags: Mapping[str, str]) -> str:
    """Return MLflow's filter for runs that have all of the tags."""
    return " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
