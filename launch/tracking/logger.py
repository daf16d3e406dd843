"""Write the trials of a sweep into MLflow: a run each, a batch for each epoch, files at its end; writes can be repeated."""

import json
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

from mlflow.entities import Metric, RunTag
from mlflow.entities import Run as Logged
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT

from bel.config import TrainConfig
from bel.output import plain
from bel.run_layout import (
    CHANGES,
    CHECKPOINT,
    DECIDED,
    DEVICE,
    DROPPED,
    END,
    ERROR,
    EXTENDS,
    GIT_COMMIT,
    GIT_DIRTY,
    HOST,
    OUTCOME,
    PACKAGES,
    PARENT,
    RANKED,
    REGISTERED,
    REUSED_FROM,
    SCHEDULED,
    SELECTION,
    STATES,
    STOPPED_BY,
    TRIAL,
    Outcome,
)
from launch.runs import Entry, Run, SweepRuns
from launch.states import Origins, delete_states
from launch.tracking.event_files import EventFiles
from launch.tracking.figures import draw_result
from launch.tracking.params import log_parameters
from launch.tracking.parent_logger import ParentLogger
from launch.tracking.store import FILES, STATUS, Store, has_files, tagged
from launch.tracking.trial_folder import Folder
from launch.tracking.writer import Writer
from results.store.runs import search

END_FIELDS = ("group", "outcome", "reason", "history", "machine", "kept", "stopped_by")  # fields of a run in `END`
ORIGIN = (HOST, DEVICE, GIT_COMMIT, MLFLOW_GIT_COMMIT, GIT_DIRTY, PACKAGES)  # tags that a reused run keeps
MOST_METRICS = 1000  # that MLflow takes at once


def snapshot(run: Run) -> Run:
    """Copy a run for the thread that writes it, because the driver changes its own."""
    return replace(run, history=list(run.history))


class RunLogger:
    """Writes the runs of a sweep in one thread, in order; a write that is repeated changes nothing."""

    def __init__(
        self,
        store: Store,
        folder: Folder,
        tags: dict[str, str],
        diff: bytes,
        events: Path | None = None,
        keep_state: bool = False,
        origins: Origins = MappingProxyType({}),
    ) -> None:
        self.store, self.folder, self.diff, self.event_files = store, folder, diff, EventFiles(events)
        self.keeps, self.origins = STATES if keep_state else (CHECKPOINT,), origins
        self.guard = store.lease.check if store.lease else lambda: None
        self.writer = Writer(self.guard)
        self.parent = ParentLogger(store.parent_id, self.writer)
        self.tags = tags | {PARENT: store.parent_id}
        self.run_ids = {key: run.info.run_id for key, run in store.children.items()}
        self.made: dict[str, Logged] = {}  # runs that were created and have not ended
        self.attempted: set[str] = set()  # keys whose run may exist though MLflow did not answer
        self.logged_epochs: dict[str, int] = {}  # key -> the last epoch in MLflow
        self.queued_epochs: dict[str, int] = {}  # key -> the last epoch that is queued
        self.unstored: list[str] = []  # names of runs whose files did not arrive in the store
        self.adopted: set[str] = set()  # keys of reused runs that are queued

    def begin(self, run: Run) -> None:
        """Create the run in MLflow, or reopen it."""
        self.writer.put(partial(self.open, snapshot(run)))

    def epochs(self, run: Run) -> None:
        """Log the epochs that are not queued yet."""
        new = [entry for entry in run.history if entry["epoch"] > self.queued_epochs.get(run.key, 0)]
        if new:
            self.queued_epochs[run.key] = run.epoch
            self.writer.put(partial(self.log, snapshot(run), new))

    def pause(self, run: Run) -> None:
        """Show in MLflow that a run waits."""
        self.writer.put(lambda client: client.update_run(self.run_ids[run.key], status="SCHEDULED"))

    def end(self, run: Run) -> None:
        """Note in a run's folder how it ended, then write its files, close it and remove the folder."""
        if run.outcome in DECIDED:
            end = {name: getattr(run, name) for name in END_FIELDS} | {"values": run.config.as_dict()}
            self.folder.of(run.key).write_json(END, end)
        self.epochs(run)
        self.writer.put(partial(self.close, snapshot(run), run.outcome, int(time.time() * 1000)))

    def missing_files(self, run: Run) -> list[str]:
        """Return the files that a run with an error must have and are not in its folder, as after `rm -r runs`."""
        return sorted({*FILES, CHECKPOINT} - set(self.folder.of(run.key).names()))

    def open(self, run: Run, client: MlflowClient, begun: float = 0) -> None:
        """The write of `begin`."""
        if run.key in self.attempted and run.key not in self.run_ids:
            found = search([self.store.experiment_id], tagged({TRIAL: run.key, PARENT: self.store.parent_id}))
            if found:
                self.run_ids[run.key] = found[0].info.run_id
        self.attempted.add(run.key)
        if run.key in self.run_ids:
            client.update_run(self.run_ids[run.key], status="RUNNING")
            logged = client.get_run(self.run_ids[run.key])
            for name in {ERROR, OUTCOME, STOPPED_BY} & logged.data.tags.keys():  # of an attempt before
                client.delete_tag(self.run_ids[run.key], name)
            history = client.get_metric_history(self.run_ids[run.key], "epoch")
            self.logged_epochs[run.key] = max((metric.step for metric in history), default=0)
        else:
            tags = self.tags | {TRIAL: run.key, SELECTION: run.config.selection, SCHEDULED: str(run.is_scheduled)}
            tags |= {EXTENDS: self.origins[run.key].run_id} if run.key in self.origins else {}
            start = int((begun or run.begun or time.time()) * 1000)
            logged = client.create_run(self.store.experiment_id, start, tags, run_name=run.name)
            self.run_ids[run.key], self.made[run.key] = logged.info.run_id, logged
        if not logged.data.params:  # a run that goes on keeps its parameters, though paths may differ
            log_parameters(client, self.run_ids[run.key], run.config, run.facts)

    def log(self, run: Run, entries: list[Entry], client: MlflowClient) -> None:
        """The write of `epochs`; a metric has its epoch's time, so that MLflow recognises one that is written again."""
        if run.key not in self.run_ids:
            self.open(run, client)
        self.event_files.log(run, entries)
        for entry in entries:
            step = int(entry["epoch"])
            if step > self.logged_epochs.get(run.key, 0):
                at = int(entry["time"] * 1000)
                metrics = [Metric(name, float(value), at, step) for name, value in entry.items() if name != "time"]
                self.log_metrics(run, metrics, client)
                self.logged_epochs[run.key] = step

    def log_metrics(self, run: Run, metrics: list[Metric], client: MlflowClient) -> None:
        """Log metrics of a run, in batches that MLflow takes."""
        for start in range(0, len(metrics), MOST_METRICS):
            client.log_batch(self.run_ids[run.key], metrics=metrics[start : start + MOST_METRICS])

    def close(self, run: Run, outcome: Outcome, at: int, client: MlflowClient) -> None:
        """The write of `end`."""
        if run.key not in self.run_ids:
            self.open(run, client)
        run_id, folder = self.run_ids[run.key], self.folder.of(run.key)
        if outcome in DECIDED:
            self.upload(run, outcome, folder, client)
            if not has_files(self.made.pop(run.key, None) or client.get_run(run_id), outcome, run.kept):
                self.unstored.append(run.name)
                outcome = Outcome.CUT
        tags = (
            run.machine
            | ({ERROR: run.reason} if run.reason else {})
            | ({STOPPED_BY: json.dumps(plain(run.stopped_by))} if run.stopped_by else {})
            | ({OUTCOME: str(outcome)} if outcome != Outcome.CUT else {})
        )
        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        client.set_terminated(run_id, STATUS[outcome], at)
        self.event_files.close(run, outcome in RANKED)
        if outcome in DECIDED or run.outcome in DECIDED:
            self.guard()  # the folder is still needed where the store is gone
            folder.remove()

    def upload(self, run: Run, outcome: Outcome, folder: Folder, client: MlflowClient) -> None:
        """Log the files in a run's folder, and figures of its code and its learning curve, in one call."""
        left_out = {END, *STATES} - set(self.keeps if run.kept and outcome != Outcome.DIVERGED else ())
        names = [name for name in folder.names() if name not in left_out]
        with tempfile.TemporaryDirectory() as made, ExitStack() as files:
            work = Path(made)
            for name in names:
                if path := files.enter_context(folder.reading(name)):
                    (work / name).symlink_to(path)
            with folder.reading(CHECKPOINT) as best:
                if best:
                    draw_result(run.config, run.history, best, work)
            if self.diff:
                (work / CHANGES).write_bytes(self.diff)
            client.log_artifacts(self.run_ids[run.key], made)

    def drop(self, run: Run) -> None:
        """Delete the checkpoint of a run from the store, and its last state."""
        if run.logged is None or run.reused or DROPPED not in run.logged.data.tags:
            self.writer.put(partial(self.delete, snapshot(run)))

    def delete(self, run: Run, client: MlflowClient) -> None:
        """The write of `drop`; a checkpoint that was registered as a model stays."""
        logged = client.get_run(self.run_ids[run.key])
        if REGISTERED not in logged.data.tags:
            delete_states(logged)
            client.set_tag(logged.info.run_id, DROPPED, "its checkpoint is not among those that the sweep keeps")

    def replay(self, sweep_runs: SweepRuns) -> None:
        """Write the runs that ended in an earlier call, which noted that in their folders but did not write them."""
        for name in self.folder.names():
            end = self.folder.of(name).read_json(END)
            if end is None:
                continue
            run = sweep_runs.restore(
                TrainConfig.make(end["values"]), {key: end[key] for key in END_FIELDS if key in end}
            )
            if run.outcome in RANKED and self.missing_files(run):
                sweep_runs.end(run, Outcome.WAITING)
                self.folder.of(name).remove()
            else:
                self.begin(run)
                self.end(run)

    def adopt(self, run: Run) -> None:
        """Copy a run that another sweep trained into this one, once."""
        if run.key not in self.adopted:
            self.adopted.add(run.key)
            self.writer.put(partial(self.copy, snapshot(run)))

    def copy(self, run: Run, client: MlflowClient) -> None:
        """The write of `adopt`."""
        assert run.logged is not None
        source = run.logged
        self.open(run, client, source.info.start_time / 1000)
        names = [name for name in source.data.metrics if not name.startswith("test/")]
        metrics = [metric for name in names for metric in client.get_metric_history(source.info.run_id, name)]
        self.event_files.copy(run, metrics)
        self.log_metrics(run, metrics, client)
        with tempfile.TemporaryDirectory() as work:
            client.log_artifacts(self.run_ids[run.key], client.download_artifacts(source.info.run_id, "", work))
        kept = {name: source.data.tags[name] for name in ORIGIN if name in source.data.tags}
        tags = kept | {REUSED_FROM: source.data.tags.get(REUSED_FROM, source.info.run_id), OUTCOME: str(run.outcome)}
        client.log_batch(self.run_ids[run.key], tags=[RunTag(name, value) for name, value in tags.items()])
        client.set_terminated(self.run_ids[run.key], STATUS[run.outcome], source.info.end_time)
