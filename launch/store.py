"""The MLflow store of a sweep: reach it, find or make the experiment and the parent run, know what is finished."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import urllib.request
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.tracking.context.registry import resolve_tags
from sqlalchemy.exc import SQLAlchemyError

from bel.checkpoint import code_version
from bel.errors import UserError
from launch.identity import Facts
from launch.space import Sweep

PARENT, SWEEP, TRIAL, DRIVER = "mlflow.parentRunId", "bel.sweep", "bel.trial", "bel.driver"


@dataclass(frozen=True)
class Store:
    """Where a sweep writes: the experiment, the parent run, and the trials that it has finished, by key."""

    experiment_id: str
    parent_id: str
    finished: dict[str, Run]


def reach_store() -> None:
    """Raise `UserError` where the MLflow store cannot be used, before anything is begun."""
    uri = mlflow.get_tracking_uri()
    try:
        if uri.startswith("http"):  # the client itself would try again for minutes
            urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=10).close()
        MlflowClient().search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, ImportError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"cannot use the MLflow store {uri}: {reason}; set MLFLOW_TRACKING_URI") from error


def open_store(sweep: Sweep, facts: Facts, files: list[dict[str, str]]) -> Store:
    """Find or make the experiment and the parent run of a sweep: the same sweep, code, data and files have the same parent.

    Children that a dead driver left running are closed. Raises `UserError` where another driver is at work on it.
    """
    client = MlflowClient()
    experiment_id = find_experiment(client, sweep.name)
    seen, named = (sorted({json.dumps(part, sort_keys=True) for part in parts}) for parts in (facts.values(), files))
    identity = json.dumps([asdict(sweep), seen, named, code_version()])
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    found = search(client, experiment_id, SWEEP, key)
    parent = found[0] if found else make_parent(client, experiment_id, sweep, key)
    refuse_second_driver(parent)
    client.set_tag(parent.info.run_id, DRIVER, f"{socket.gethostname()} {os.getpid()}")
    client.update_run(parent.info.run_id, status="RUNNING")
    children = search(client, experiment_id, PARENT, parent.info.run_id)
    for child in children:
        if child.info.status == "RUNNING":
            client.set_terminated(child.info.run_id, "KILLED")
    finished = {c.data.tags[TRIAL]: c for c in children if c.info.status == "FINISHED" and TRIAL in c.data.tags}
    return Store(experiment_id, parent.info.run_id, finished)


def refuse_second_driver(parent: Run) -> None:
    """Raise `UserError` where the process that last ran this sweep on this machine is alive and at it."""
    host, _, pid = parent.data.tags.get(DRIVER, "").partition(" ")
    if parent.info.status != "RUNNING" or host != socket.gethostname() or int(pid) == os.getpid():
        return
    with suppress(ProcessLookupError):
        os.kill(int(pid), 0)
        raise UserError(
            f"process {pid} is running this very sweep (parent run {parent.info.run_id}): wait for it or stop it"
        )


def find_experiment(client: MlflowClient, name: str) -> str:
    """Id of the experiment; one made in a local store keeps its files beside it, by an absolute path."""
    experiment = client.get_experiment_by_name(name)
    if experiment is not None and experiment.lifecycle_stage == "deleted":
        raise UserError(f"the MLflow experiment {name!r} was deleted: restore it there, or give the sweep another name")
    if experiment is not None:
        return str(experiment.experiment_id)
    local = mlflow.get_tracking_uri().startswith("sqlite:")
    files = (Path.cwd() / "mlruns" / name).as_uri() if local else None
    return str(client.create_experiment(name, artifact_location=files))


def search(client: MlflowClient, experiment_id: str, tag: str, value: str) -> list[Run]:
    """All runs of an experiment that carry a tag."""
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment_id], f"tags.`{tag}` = '{value}'", max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def make_parent(client: MlflowClient, experiment_id: str, sweep: Sweep, key: str) -> Run:
    """The run that a sweep's trials are children of."""
    tags = resolve_tags() | {SWEEP: key, "mlflow.note.content": sweep.description}
    run = client.create_run(experiment_id, tags=tags, run_name=f"{sweep.name} ({sweep.search.method})")
    client.log_dict(run.info.run_id, asdict(sweep), "sweep.json")
    return run
