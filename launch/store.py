"""The MLflow store of a sweep: reach it, find or make the experiment and the parent run, know what is finished."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from bel.errors import UserError
from bel.mlflow_store import sqlite_path
from bel.places import refuse_folder
from bel.source import code_version
from bel.store_file import STORE
from launch.book import DECIDED
from launch.identity import Facts
from launch.provenance import context
from launch.space import Sweep

PARENT, SWEEP, TRIAL, DRIVER = "mlflow.parentRunId", "bel.sweep", "bel.trial", "bel.driver"
REGISTERED = "bel.registered"  # by `bel-results best`: a run whose checkpoint is a model of the registry
OUTCOME, LENT, HOURS, FRESH, JUDGED, DROPPED = (
    "bel.outcome",
    "bel.lent_by",
    "bel.hours",
    "bel.fresh",
    "bel.judged",
    "bel.dropped",
)
DECIDES = ("name", "base", "space", "exclude", "points", "search")  # what makes a sweep another one


@dataclass(frozen=True)
class Store:
    """Where a sweep writes: its experiment and parent run, and what MLflow knows of its trials, by key."""

    experiment_id: str
    parent_id: str
    children: dict[str, Run]  # those of the sweep itself, however they ended
    known: dict[str, tuple[Run, str, bool]]  # decided ones: run, outcome, whether another sweep trained it
    hours: float = 0.0  # that earlier calls took


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
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"the MLflow experiment {sweep.name!r} was deleted: restore it there, or give the sweep another name"
        )
    parents = [] if experiment is None or fresh else search(client, [experiment.experiment_id], {SWEEP: key})
    children, hours = [], 0.0
    if parents:
        children = search(client, [parents[0].info.experiment_id], {PARENT: parents[0].info.run_id})
        hours, fresh = float(parents[0].data.tags.get(HOURS, 0)), FRESH in parents[0].data.tags
    known = {} if fresh else {run.data.tags[TRIAL]: (run, "finished", True) for run in others(client)}
    for run in children:
        if run.data.tags.get(OUTCOME) in DECIDED:
            known[run.data.tags[TRIAL]] = run, run.data.tags[OUTCOME], False
    own = {run.data.tags[TRIAL]: run for run in children}
    return Store(
        experiment.experiment_id if experiment else "", parents[0].info.run_id if parents else "", own, known, hours
    )


def others(client: MlflowClient) -> list[Run]:
    """Trials of any sweep that ran to their end with this code and have their checkpoint, the newest first."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments(max_results=1000)]
    wanted = {OUTCOME: "finished", "code_version": code_version()}
    found = search(client, experiments, wanted) if experiments else []
    return [run for run in found if DROPPED not in run.data.tags]


def open_store(sweep: Sweep, key: str, fresh: bool) -> Store:
    """Find or make the experiment and the parent run of a sweep, and mark it as ours.

    Raises `UserError` where another driver is at work on it.
    """
    client = MlflowClient()
    experiment_id = find_experiment(client, sweep.name)
    found = look(sweep, key, fresh)
    parent = (
        client.get_run(found.parent_id) if found.parent_id else make_parent(client, experiment_id, sweep, key, fresh)
    )
    refuse_second_driver(parent)
    client.set_tag(parent.info.run_id, DRIVER, driver(os.getpid()))
    client.update_run(parent.info.run_id, status="RUNNING")
    bury(client, experiment_id, parent)
    return replace(found, experiment_id=experiment_id, parent_id=parent.info.run_id)


def bury(client: MlflowClient, experiment_id: str, present: Run) -> None:
    """Close what dead drivers of other sweeps on this machine left running in the experiment."""
    for run in client.search_runs([experiment_id], f"tags.`{DRIVER}` LIKE '%' and attributes.status = 'RUNNING'"):
        if run.info.run_id != present.info.run_id and not alive(run):
            for child in search(client, [experiment_id], {PARENT: run.info.run_id}):
                if child.info.status == "RUNNING":
                    client.set_terminated(child.info.run_id, "KILLED")
            client.set_terminated(run.info.run_id, "KILLED")


def driver(pid: int) -> str:
    """What identifies a process on this machine: host, number, and when it began, where the system says so."""
    try:
        began = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        began = "?"
    return f"{socket.gethostname()} {pid} {began}"


def alive(parent: Run) -> bool:
    """Whether the process that last ran a sweep may be at it: it is, or it was on another machine."""
    host, pid, *_ = noted = parent.data.tags[DRIVER].split()
    if host != socket.gethostname():
        return True
    with suppress(ProcessLookupError):
        os.kill(int(pid), 0)
        return driver(int(pid)).split() == noted
    return False


def refuse_second_driver(parent: Run) -> None:
    """Raise `UserError` where the process that last ran this sweep on this machine is alive and at it."""
    noted = parent.data.tags.get(DRIVER, "")
    elsewhere = noted.split()[:1] != [socket.gethostname()]
    if parent.info.status == "RUNNING" and not elsewhere and noted != driver(os.getpid()) and alive(parent):
        raise UserError(
            f"process {noted.split()[1]} is running this very sweep (parent run {parent.info.run_id}): wait for it or stop it"
        )


def judged_before(store: Store, protocols: set[str], metric: str) -> dict[str, list[dict[str, float]]]:
    """By key the epochs of the sweep's own trials of some protocols that early stopping judged, with a metric's value."""
    client = MlflowClient()
    found = {}
    for key, (run, _, lent) in store.known.items():
        if not lent and run.data.tags.get(JUDGED) == "True" and run.data.params.get("protocol") in protocols:
            history = client.get_metric_history(run.info.run_id, metric)
            found[key] = [{"epoch": float(m.step), metric: m.value} for m in sorted(history, key=lambda m: m.step)]
    return found


def find_experiment(client: MlflowClient, name: str) -> str:
    """Id of the experiment; one made in a local store keeps its files beside it, by an absolute path."""
    experiment = client.get_experiment_by_name(name)
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        raise UserError(f"the MLflow experiment {name!r} was deleted: restore it there, or give the sweep another name")
    if experiment is not None:
        return str(experiment.experiment_id)
    file = sqlite_path(mlflow.get_tracking_uri())
    if file is None:
        return str(client.create_experiment(name))
    files = Path.cwd() / "mlruns" / name
    refuse_folder("the folder of artifacts", files)
    return str(client.create_experiment(name, files.as_uri(), {STORE: str(file.resolve())}))


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


def make_parent(client: MlflowClient, experiment_id: str, sweep: Sweep, key: str, fresh: bool) -> Run:
    """The run that a sweep's trials are children of."""
    tags = context() | {SWEEP: key, "mlflow.note.content": sweep.description} | ({FRESH: "yes"} if fresh else {})
    run = client.create_run(experiment_id, tags=tags, run_name=f"{sweep.name} ({sweep.search.method})")
    described = {name: value for name, value in asdict(sweep).items() if name != "on_end"}  # it may hold a token
    client.log_dict(run.info.run_id, described, "sweep.json")
    return run
