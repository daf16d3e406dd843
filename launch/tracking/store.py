"""What MLflow knows of a sweep: its parent run, its trials, and which of them need not be trained again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mlflow.entities import Experiment, Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.file_utils import local_file_uri_to_path

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
from bel.source import code_version
from launch.identity import Facts
from launch.spec.sweep_file import Sweep
from launch.tracking.lease import Lease
from launch.tracking.writer import is_away

FILES = (CONFIG, SPLIT, PREDICTIONS["val"])  # of each run that came to an error, beside its checkpoint
DECIDES = ("name", "base", "space", "exclude", "points", "search")  # what makes a sweep another one


@dataclass(frozen=True)
class Store:
    """Where a sweep writes: its experiment and parent run, and what MLflow knows of its trials, by key."""

    experiment_id: str
    parent_id: str
    children: dict[str, Run]  # those of the sweep itself, however they ended
    known: dict[str, tuple[Run, Outcome, bool]]  # decided ones: run, outcome, whether another sweep trained it
    hours: float = 0.0  # that earlier calls took
    key: str = ""  # of the sweep
    fresh: bool = False  # whether it takes no states or trials from before
    lease: Lease | None = None  # that this process drives it; None: it only looks


def sweep_key(sweep: Sweep, facts: Facts, files: list[dict[str, str]]) -> str:
    """Sixteen hex digits that identify a sweep: the same search on the same code, data and files, however many trials."""
    values = {name: value for name, value in asdict(sweep).items() if name in DECIDES}
    values["search"] = {name: value for name, value in values["search"].items() if name != "trials"}
    seen, named = (sorted({json.dumps(part, sort_keys=True) for part in parts}) for parts in (facts.values(), files))
    return hashlib.sha256(json.dumps([values, seen, named, code_version()]).encode()).hexdigest()[:16]


def look(sweep: Sweep, key: str, fresh: bool) -> Store:
    """What MLflow knows of a sweep, without writing: ids are empty where there are none yet."""
    client = MlflowClient()
    experiment = client.get_experiment_by_name(sweep.name)
    refuse_deleted(experiment)
    parent = None if experiment is None or fresh else newest(client, experiment.experiment_id, key)
    return read(client, experiment.experiment_id if experiment else "", key, parent, fresh)


def read(client: MlflowClient, experiment_id: str, key: str, parent: Run | None, fresh: bool) -> Store:
    """What MLflow knows of the trials of a sweep, of those alone whose files can be fetched."""
    parent_id, children, hours = "", [], 0.0
    if parent:
        parent_id, hours = parent.info.run_id, float(parent.data.tags.get(HOURS, 0))
        children = search(client, [experiment_id], {PARENT: parent_id})
        fresh = FRESH in parent.data.tags
    known = {} if fresh else {run.data.tags[TRIAL]: (run, Outcome.FINISHED, True) for run in others(client)}
    for run in children:
        known.pop(run.data.tags[TRIAL], None)
        if run.data.tags.get(OUTCOME) in DECIDED and fetchable(run, run.data.tags[OUTCOME]):
            known[run.data.tags[TRIAL]] = run, run.data.tags[OUTCOME], False
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


def others(client: MlflowClient) -> list[Run]:
    """Trials of any sweep that ran to their end with this code and have their checkpoint, the newest first."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments(max_results=1000)]
    wanted = {OUTCOME: Outcome.FINISHED, CODE_VERSION: code_version()}
    found = search(client, experiments, wanted) if experiments else []
    return [run for run in found if DROPPED not in run.data.tags]


def fetchable(run: Run, outcome: Outcome, kept: bool = True) -> bool:
    """Whether the files of a run that ended are where it says, its checkpoint too where that is kept: else train it again."""
    kept = kept and DROPPED not in run.data.tags
    needed = set() if outcome == Outcome.DIVERGED else {*FILES, CHECKPOINT} if kept else set(FILES)
    place = run.info.artifact_uri
    if place.startswith(("/", "file:")):  # without asking the store
        return all((Path(local_file_uri_to_path(place)) / name).is_file() for name in needed)
    try:
        return not needed or needed <= {file.path for file in MlflowClient().list_artifacts(run.info.run_id)}
    except (MlflowException, OSError) as error:
        if is_away(error):
            raise
        return False


def judged_before(store: Store, protocols: set[str], metric: str) -> dict[str, list[dict[str, float]]]:
    """By key the epochs of the sweep's own trials of some protocols that early stopping judged, with a metric's value."""
    client = MlflowClient()
    found = {}
    for key, (run, _, lent) in store.known.items():
        if not lent and run.data.tags.get(SCHEDULED) == "True" and run.data.params.get("protocol") in protocols:
            history = client.get_metric_history(run.info.run_id, metric)
            found[key] = [{"epoch": float(m.step), metric: m.value} for m in sorted(history, key=lambda m: m.step)]
    return found


def newest(client: MlflowClient, experiment_id: str, key: str) -> Run | None:
    """The parent run of a sweep: the one of the last call with --fresh, if there was any."""
    found = search(client, [experiment_id], {SWEEP: key})
    return max(found, key=lambda run: (generation(run), run.info.start_time), default=None)


def generation(parent: Run) -> int:
    """How many parent runs of the same sweep were made before one."""
    return int(parent.data.tags.get(GENERATION, 0))


def refuse_deleted(experiment: Experiment | None) -> None:
    """Raise `UserError` for an experiment that somebody has deleted."""
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"the MLflow experiment {experiment.name!r} was deleted: restore it there, or give the sweep another name"
        )


def search(client: MlflowClient, experiment_ids: list[str], tags: dict[str, str]) -> list[Run]:
    """All runs of some experiments that carry all of the tags, the newest first."""
    runs: list[Run] = []
    token = None
    wanted = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in tags.items())
    while True:
        page = client.search_runs(experiment_ids, wanted, max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs
