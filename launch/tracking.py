"""MLflow writes of a sweep, all from the driver: a parent run, a child a trial, a batch an epoch, files at the end."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.entities import Metric, Param, Run
from mlflow.tracking import MlflowClient
from mlflow.tracking.context.registry import resolve_tags
from ray import tune

from bel.checkpoint import code_version
from bel.codes import short_name
from bel.config import TrainConfig
from bel.evaluate import unit
from bel.heads import HEADS
from launch.identity import Facts, data_key, file_digests, trial_key
from launch.search import OBJECTIVES
from launch.space import Sweep
from launch.store import PARENT, TRIAL, Store
from launch.trial import LAST

# Whose error a table shows, by the split that selects, and how the epoch was chosen.
SELECTED = {
    "val": ("validation images of {} held-out groups", "selected on them"),
    "last": ("validation images of {} held-out groups", "last epoch, selected on nothing"),
    "test": ("TEST images of {} groups", "SELECTED ON TEST: not to be compared with clean runs"),
}
SHOWN = ("head", "code", "code_bits", "loss", "lr", "seed")  # fields that a label always shows


def label(config: TrainConfig, sweep: Sweep) -> str:
    """A trial in a few words, e.g. `j-150 ce lr=1e-4 s0`, then what else the sweep varies."""
    levels = max(axis.levels for axis in config.axes)
    name = short_name(config.code, levels) if config.code else config.head
    rate = np.format_float_scientific(config.lr, precision=1, trim="-", exp_digits=1)
    varied = [*sweep.space, *(["fold"] if sweep.search.tune and config.folds else [])]
    also = "".join(f" {field}={getattr(config, field)}" for field in varied if field not in SHOWN)
    return f"{name}-{levels} {config.loss} lr={rate} s{config.seed}{also}"


def parameters(config: TrainConfig, facts: dict[str, str]) -> dict[str, str]:
    """Every config field, the levels and bits of each axis, and the facts that a number travels with."""
    values = config.as_dict() | facts | file_digests(config) | {"unit": unit(config.axes)}
    if not isinstance(config.protocol, str):
        values["protocol_definition"] = json.dumps(config.protocol)
    for axis in config.axes:
        values |= {f"levels_{axis.name}": axis.levels, f"unit_{axis.name}": axis.unit}
        values[f"bits_{axis.name}"] = HEADS[config.head].code_width(axis, config)
    return {name: str(value) for name, value in values.items() if value is not None}


class Tracker(tune.Callback):
    """Writes each trial's run as Tune reports it, and prints a line when one ends."""

    def __init__(self, sweep: Sweep, store: Store, facts: Facts, total: int) -> None:
        self.sweep = sweep
        self.store = store
        self.facts = facts
        self.total = total
        self.runs: dict[str, str] = {}  # Tune's trial id -> MLflow's run id
        self.steps: dict[str, int] = {}  # run id -> the last epoch that is logged
        self.ended: dict[str, str] = {}  # run id -> its status
        self.client = MlflowClient()

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks; a client does not travel."""
        return {name: value for name, value in self.__dict__.items() if name != "client"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the store again."""
        self.__dict__.update(state, client=MlflowClient())

    def key(self, config: TrainConfig) -> str:
        """What identifies a trial."""
        return trial_key(config, self.facts[data_key(config)])

    def errors(self) -> dict[str, float]:
        """Best validation error of each finished trial, by its key."""
        runs = [self.client.get_run(run_id) for run_id in self.finished_ids()]
        return {run.data.tags[TRIAL]: run.data.metrics[OBJECTIVES[self.sweep.search.objective]] for run in runs}

    def ended_all(self, configs: list[TrainConfig]) -> bool:
        """Whether each of the configs was finished before, or has finished or failed now."""
        before = sum(self.key(config) in self.store.finished for config in configs)
        return before + self.count("FINISHED") + self.count("FAILED") >= len(configs)

    def run_of(self, trial: Any) -> str:
        """The id of a trial's run, which is made, with its parameters, where there is none yet."""
        if trial.trial_id not in self.runs:
            config = TrainConfig.make(trial.config["values"])
            facts = self.facts[data_key(config)]
            tags = resolve_tags() | {
                PARENT: self.store.parent_id,
                TRIAL: self.key(config),
                "code_version": code_version(),
                "selection": config.selection,
            }
            run = self.client.create_run(self.store.experiment_id, tags=tags, run_name=label(config, self.sweep))
            params = [Param(name, value) for name, value in parameters(config, facts).items()]
            self.client.log_batch(run.info.run_id, params=params)
            self.runs[trial.trial_id] = run.info.run_id
        return self.runs[trial.trial_id]

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Make the trial's run."""
        self.run_of(trial)

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Log an epoch's metrics, once: a trial that goes on after a crash may repeat an epoch."""
        run_id, epoch, now = self.run_of(trial), int(result["epoch"]), int(time.time() * 1000)
        if epoch <= self.steps.get(run_id, 0):
            return
        named = {name: value for name, value in result.items() if "/" in name or name in ("lr", "images_per_s")}
        metrics = [Metric(name, float(value), now, epoch) for name, value in named.items()]
        self.client.log_batch(run_id, metrics=metrics)
        self.steps[run_id] = epoch

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Store the best checkpoint, the config and the pictures, and close the run."""
        run_id = self.run_of(trial)
        if trial.checkpoint is None:
            return self.end(trial, "KILLED", "stopped before its first epoch ended")
        folder = Path(trial.checkpoint.path)
        for path in sorted(folder.iterdir()):
            if path.name != LAST and not path.name.startswith("."):
                self.client.log_artifact(run_id, str(path))
        shutil.rmtree(folder)  # a long sweep would fill the disk with what MLflow has now
        result = trial.last_result
        self.end(trial, "FINISHED", f"epoch {result['epoch']}  val MAE {result['val/best_mae']:.3f}")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Close the run of a trial that failed, with the reason as a tag."""
        reason = last_line(trial.error_file)
        self.client.set_tag(self.run_of(trial), "error", reason)
        self.end(trial, "FAILED", reason)

    def end(self, trial: Any, status: str, text: str) -> None:
        """Close a run and say so."""
        run_id = self.run_of(trial)
        self.client.set_terminated(run_id, status)
        self.ended[run_id] = status
        done = len(self.ended) + len(self.store.finished)
        name = label(TrainConfig.make(trial.config["values"]), self.sweep)
        print(f"[{done}/{self.total}] {name:<32} {status.lower():<8} {text}", flush=True)

    def close(self) -> None:
        """Close what was cut off, and the parent: failed if a trial did, killed if one was cut off."""
        for run_id in set(self.runs.values()) - set(self.ended):
            self.client.set_terminated(run_id, "KILLED")
            self.ended[run_id] = "KILLED"
        whole = len(self.finished_ids()) >= self.total
        status = "FAILED" if self.count("FAILED") else "FINISHED" if whole else "KILLED"
        self.client.set_terminated(self.store.parent_id, status)

    def count(self, status: str) -> int:
        """How many of the trials of this call ended with a status."""
        return list(self.ended.values()).count(status)

    def finished_ids(self) -> list[str]:
        """Runs of this sweep that ran to their end, now or before."""
        now = [run_id for run_id, status in self.ended.items() if status == "FINISHED"]
        return now + [run.info.run_id for run in self.store.finished.values()]

    def print_table(self) -> None:
        """Print the finished trials, best first, one table for each protocol and validation split."""
        runs = [self.client.get_run(run_id) for run_id in self.finished_ids()]
        if self.sweep.search.tune:  # a fold's trials are no ranking: their errors are put together by bel-results
            runs = [run for run in runs if "fold" not in run.data.params]
        objective = OBJECTIVES[self.sweep.search.objective]
        tables: dict[tuple[str, str], list[Run]] = {}
        for run in sorted(runs, key=lambda run: run.data.metrics[objective]):
            tables.setdefault((run.data.params["protocol"], run.data.params["split_hash"]), []).append(run)
        for (protocol, split), rows in sorted(tables.items()):
            print_rows(protocol, split, rows)

    def print_folds(self) -> None:
        """Print the command that puts a tuned sweep's folds together."""
        folder = shlex.quote(f"results/{self.sweep.name}")
        line = f"{beside('bel-results')} folds --run-id {self.store.parent_id} --out {folder}"
        print(f"\nout-of-fold errors of each contender, compared by groups, and its test error:\n  {line}", flush=True)


def last_line(error_file: str | None) -> str:
    """The sentence of the error that ended a trial's traceback."""
    lines = Path(error_file).read_text().strip().splitlines() if error_file and Path(error_file).exists() else []
    errors = [line.strip() for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line.strip())]
    return (errors or lines or ["the worker died"])[-1]


def print_rows(protocol: str, split: str, runs: list[Run]) -> None:
    """Trials that were measured on the same images, and the next command to type."""
    first = runs[0]
    axes = [name for name in first.data.metrics if name.startswith("val/best_mae_")]
    facts = first.data.params
    images, selected = SELECTED[facts["selection_split"]]
    images = f"{facts['val_images']} {images.format(facts['val_groups'])}"
    crops = " and ".join(sorted({run.data.params["crop"] for run in runs}))
    fold = f"fold {facts['fold']} of {facts['folds']}, " if "folds" in facts else ""
    print(
        f"\n{protocol}, crop {crops}: MAE ({facts['unit'] or 'own unit'}) on {images}, {fold}split {split}, "
        f"{selected}, seed in the name"
    )
    names = [name.removeprefix("val/best_mae_") for name in axes]
    if len({facts[f"unit_{name}"] for name in names}) > 1:
        names = [f"{name} ({facts[f'unit_{name}']})" for name in names]
    width = max(8, *(len(name) + 2 for name in names))
    header = "".join(f"{name:>{width}}" for name in names)
    print(f"{'':>4}{'val MAE':>9}{header}{'epoch':>7}  {'trial':<36} run")
    for rank, run in enumerate(runs, 1):
        values = run.data.metrics
        cells = "".join(f"{values[name]:{width}.3f}" for name in axes)
        best = f"{values['val/best_mae']:9.3f}{cells}{values['val/best_epoch']:7.0f}"
        print(f"{rank:>4}{best}  {run.info.run_name:<36} {run.info.run_id}")
    print(f"\nre-test the best on the test split:\n  {beside('bel-eval')} --run-id {first.info.run_id}", flush=True)


def beside(command: str) -> str:
    """How to type a command of ours, where the environment may not be activated."""
    return command if shutil.which(command) else os.path.relpath(Path(sys.executable).with_name(command))
