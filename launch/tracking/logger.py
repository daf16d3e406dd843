"""What a sweep writes into MLflow: a run a trial, a batch an epoch, files at the end; each may be written twice."""

from __future__ import annotations

import math
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from mlflow.entities import Metric, Param, RunTag
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_GIT_COMMIT

from bel.config import TrainConfig
from bel.run_layout import (
    CHANGES,
    CHECKPOINT,
    CODE_FIGURE,
    CURVE_FIGURE,
    DECIDED,
    DROPPED,
    END,
    HOURS,
    LAST,
    LONG_PARAMETERS,
    OUTCOME,
    PARENT,
    REGISTERED,
    REUSED_FROM,
    SCHEDULED,
    TRIAL,
    Outcome,
)
from bel.training import checkpoint
from launch.runs import Entry, Run, SweepRuns
from launch.tracking.figures import draw_code, draw_curve
from launch.tracking.params import parameters, split_long
from launch.tracking.store import FILES, Store, fetchable, search
from launch.tracking.trial_folder import Folder
from launch.tracking.writer import Writer

ENDING = ("group", "outcome", "reason", "history", "machine", "kept")  # of a run, in its folder
PROGRESS = "progress"
STATUS = {
    Outcome.FINISHED: "FINISHED",
    Outcome.STOPPED: "FINISHED",
    Outcome.DIVERGED: "FAILED",
    Outcome.FAILED: "FAILED",
    Outcome.CUT: "KILLED",
}


def snapshot(run: Run) -> Run:
    """A run as it is now, for the thread that writes it: the driver's own goes on."""
    return replace(run, history=list(run.history))


class RunLogger:
    """The runs of a sweep in its store; every write is one thread's, in order, and does nothing the second time."""

    def __init__(self, store: Store, folder: Folder, tags: dict[str, str], diff: bytes) -> None:
        self.store, self.folder, self.diff = store, folder, diff
        self.guard = store.lease.check if store.lease else lambda: None
        self.writer = Writer(self.guard)
        self.tags = tags | {PARENT: store.parent_id}
        self.ids = {key: run.info.run_id for key, run in store.children.items()}
        self.tried: set[str] = set()  # keys whose run may be there though no answer came
        self.bare: set[str] = set()  # keys whose run lacks its parameters yet
        self.steps: dict[str, int] = {}  # key -> the last epoch that is logged
        self.put: dict[str, int] = {}  # key -> the last epoch that is on its way
        self.unstored: list[str] = []  # names of runs whose files did not arrive in the store
        self.adopted: set[str] = set()  # keys of other sweeps' runs that are on their way
        self.shown: int | None = None  # trials that had ended at the last point of the parent's charts; None: ask
        self.best: dict[str, float] = {}  # values of that point

    def begin(self, run: Run) -> None:
        """Make the run, or go on with the one that is there."""
        self.writer.put(partial(self.open, snapshot(run)))

    def epochs(self, run: Run) -> None:
        """Log the epochs that were not handed on yet."""
        new = [entry for entry in run.history if entry["epoch"] > self.put.get(run.key, 0)]
        if new:
            self.put[run.key] = run.epoch
            self.writer.put(partial(self.log, snapshot(run), new))

    def end(self, run: Run) -> None:
        """Note on disk how a run ended, then write its files and close it; what is written needs no folder any more."""
        if run.outcome in DECIDED:
            ending = {name: getattr(run, name) for name in ENDING} | {"values": run.config.as_dict()}
            self.folder.of(run.key).write_json(END, ending)
        self.epochs(run)
        self.writer.put(partial(self.close, snapshot(run), run.outcome, int(time.time() * 1000)))

    def lacking(self, run: Run) -> list[str]:
        """Files of a run that came to an error which are not in its folder, as after `rm -r runs`."""
        return sorted({*FILES, CHECKPOINT} - set(self.folder.of(run.key).names()))

    def open(self, run: Run, client: MlflowClient, begun: float = 0) -> None:
        """The write of `begin`."""
        if run.key in self.tried and run.key not in self.ids:
            found = search(client, [self.store.experiment_id], {TRIAL: run.key, PARENT: self.store.parent_id})
            if found:
                self.ids[run.key] = found[0].info.run_id
        self.tried.add(run.key)
        if run.key in self.ids:
            client.update_run(self.ids[run.key], status="RUNNING")
            before = client.get_run(self.ids[run.key]).data.tags
            for name in {"error", OUTCOME} & before.keys():  # of an attempt before
                client.delete_tag(self.ids[run.key], name)
            history = client.get_metric_history(self.ids[run.key], "epoch")
            self.steps[run.key] = max((metric.step for metric in history), default=0)
        else:
            tags = self.tags | {TRIAL: run.key, "selection": run.config.selection, SCHEDULED: str(run.judged)}
            start = int((begun or run.begun or time.time()) * 1000)
            made = client.create_run(self.store.experiment_id, start, tags, run_name=run.name)
            self.ids[run.key] = made.info.run_id
            self.bare.add(run.key)
        if run.key in self.bare:  # a run that goes on keeps those it was made with: paths may have changed
            params, long = split_long(parameters(run.config, run.facts))
            if long:
                client.log_dict(self.ids[run.key], long, LONG_PARAMETERS)
            client.log_batch(self.ids[run.key], params=[Param(name, value) for name, value in params.items()])
            self.bare.discard(run.key)

    def log(self, run: Run, entries: list[Entry], client: MlflowClient) -> None:
        """The write of `epochs`; the time of a metric is its epoch's, so that MLflow knows it again."""
        if run.key not in self.ids:
            self.open(run, client)
        for entry in entries:
            step = int(entry["epoch"])
            if step > self.steps.get(run.key, 0):
                at = int(entry["time"] * 1000)
                metrics = [Metric(name, float(value), at, step) for name, value in entry.items() if name != "time"]
                for start in range(0, len(metrics), 1000):  # as many as MLflow takes at once
                    client.log_batch(self.ids[run.key], metrics=metrics[start : start + 1000])
                self.steps[run.key] = step

    def close(self, run: Run, outcome: Outcome, at: int, client: MlflowClient) -> None:
        """The write of `end`."""
        if run.key not in self.ids:
            self.open(run, client)
        run_id, folder = self.ids[run.key], self.folder.of(run.key)
        if outcome in DECIDED:
            self.upload(run, outcome, folder, client)
            if not fetchable(client.get_run(run_id), outcome, run.kept):
                self.unstored.append(run.name)
                outcome = Outcome.CUT
        tags = (
            run.machine
            | ({"error": run.reason} if run.reason else {})
            | ({OUTCOME: str(outcome)} if outcome != Outcome.CUT else {})
        )
        client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        client.set_terminated(run_id, STATUS[outcome], at)
        if outcome in DECIDED or run.outcome in DECIDED:
            self.guard()  # what was written to a store that is gone is needed by the next one
            folder.remove()

    def upload(self, run: Run, outcome: Outcome, folder: Folder, client: MlflowClient) -> None:
        """Store what is in a run's folder, and the pictures of what it learned."""
        run_id = self.ids[run.key]
        with tempfile.TemporaryDirectory() as work, folder.reading(CHECKPOINT) as best:
            if best:
                learned = {} if run.config.code else checkpoint.load(best)["weights"]  # a named code needs no weights
                draw_code(run.config, learned, Path(work) / CODE_FIGURE)
                draw_curve(run.history, Path(work) / CURVE_FIGURE, run.config.selection)
            if self.diff:
                (Path(work) / CHANGES).write_bytes(self.diff)
            client.log_artifacts(run_id, work)
        for name in folder.names():
            if name not in (LAST, END) and (name != CHECKPOINT or (run.kept and outcome != Outcome.DIVERGED)):
                with folder.reading(name) as path:
                    client.log_artifact(run_id, str(path))

    def drop(self, run: Run) -> None:
        """Delete the checkpoint of a run that is no longer among those that are kept."""
        if run.logged is None or run.reused or DROPPED not in run.logged.data.tags:
            self.writer.put(partial(self.delete, snapshot(run)))

    def delete(self, run: Run, client: MlflowClient) -> None:
        """The write of `drop`; a checkpoint that was registered as a model stays."""
        logged = client.get_run(self.ids[run.key])
        if REGISTERED in logged.data.tags:
            return
        repository = get_artifact_repository(logged.info.artifact_uri)
        if any(file.path == CHECKPOINT for file in repository.list_artifacts()):
            repository.delete_artifacts(CHECKPOINT)
        client.set_tag(self.ids[run.key], DROPPED, "its checkpoint is not among those that the sweep keeps")

    def kept(self, runs: list[Run]) -> tuple[int, int]:
        """How many checkpoints of some runs are in the store, and their bytes."""
        client = MlflowClient()
        ids = [self.ids[run.key] for run in runs if run.kept and run.key in self.ids]
        files = [file for run_id in ids for file in client.list_artifacts(run_id)]
        sizes = [file.file_size or 0 for file in files if file.path == CHECKPOINT]
        return len(sizes), sum(sizes)

    def replay(self, sweep_runs: SweepRuns) -> None:
        """Write what an earlier call noted of runs that ended, and did not come to write."""
        for name in self.folder.names():
            ending = self.folder.of(name).read_json(END)
            if ending is None:
                continue
            run = sweep_runs.restore(TrainConfig.make(ending["values"]), {key: ending[key] for key in ENDING})
            if run.outcome in (Outcome.FINISHED, Outcome.STOPPED) and self.lacking(run):
                sweep_runs.end(run, Outcome.WAITING)
                self.folder.of(name).remove()
            else:
                self.begin(run)
                self.end(run)

    def progress(self, hours: float, ended: int = 0, best: dict[str, float] | None = None, part: float = 0) -> None:
        """Note on the parent how long the sweep has taken, and after each trial for its charts the best and the part done."""
        values = {} if best is None else best | {PROGRESS: part}
        self.writer.put(partial(self.note, hours, ended, values, int(time.time() * 1000)))

    def note(self, hours: float, step: int, values: dict[str, float], at: int, client: MlflowClient) -> None:
        """The write of `progress`; at a step that is there, as where a failed trial ran again, only what is better."""
        parent = self.store.parent_id
        if self.shown is None:
            points = client.get_metric_history(parent, PROGRESS)
            self.shown, self.best = (
                max((point.step for point in points), default=0),
                client.get_run(parent).data.metrics,
            )
        later, step = step > self.shown, max(step, self.shown)
        new = {n: v for n, v in values.items() if later or (n != PROGRESS and v < self.best.get(n, math.inf))}
        metrics = [Metric(name, value, at, step) for name, value in new.items()]
        client.log_batch(parent, metrics=metrics, tags=[RunTag(HOURS, f"{hours:.4f}")])
        self.shown, self.best = step, self.best | new

    def finish(self, status: str) -> None:
        """Close the parent."""
        self.writer.put(lambda client: client.set_terminated(self.store.parent_id, status))

    def adopt(self, run: Run) -> None:
        """Enter what another sweep has trained as a run of this one, which names it, once."""
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
        for start in range(0, len(metrics), 1000):  # as many as MLflow takes at once
            client.log_batch(self.ids[run.key], metrics=metrics[start : start + 1000])
        with tempfile.TemporaryDirectory() as work:
            client.log_artifacts(self.ids[run.key], client.download_artifacts(source.info.run_id, "", work))
        origin = ("host", "device", "git_commit", MLFLOW_GIT_COMMIT, "git_dirty", "packages")
        kept = {name: source.data.tags[name] for name in origin if name in source.data.tags}
        tags = kept | {REUSED_FROM: source.data.tags.get(REUSED_FROM, source.info.run_id), OUTCOME: str(run.outcome)}
        client.log_batch(self.ids[run.key], tags=[RunTag(name, value) for name, value in tags.items()])
        client.set_terminated(self.ids[run.key], STATUS[run.outcome], source.info.end_time)
