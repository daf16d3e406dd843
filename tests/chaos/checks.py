"""What must be so after a sweep under faults, read from MLflow, from the study, and from what the workers noted."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

import optuna
import torch
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from bel.config import TrainConfig
from bel.data.loading import load
from bel.run_layout import CHECKPOINT, CONFIG, CURVE_FIGURE, OUTCOME, SPLIT, SPLIT_HASH, TRIAL
from bel.training.loop import fit
from launch.schedule.studies import journal
from launch.steering.client import ADD, STOP
from launch.steering.commands import Answer, Command
from results.analysis.configurations import identity
from results.analysis.ranking import grouped
from tests.chaos.campaign import GO_ON, Campaign
from tests.chaos.commands import given
from tests.chaos.faults import ENDS, SPARE

SLOTS = 2  # trials at once
KEEP = 20  # configurations whose checkpoints a sweep keeps, its default
CLOCK = "images_per_s"  # the metric that is not the same twice


class Check(NamedTuple):
    """Something that must be so, the figures of it, and whether it is."""

    what: str
    figures: str
    holds: bool


def verify(campaign: Campaign, trials: int, epochs: int) -> list[Check]:
    """All checks of a finished campaign."""
    client = MlflowClient(campaign.uri)
    experiments = [e for e in client.search_experiments() if e.name != "Default"]
    runs = client.search_runs([e.experiment_id for e in experiments], max_results=1000)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    asked, answers = given(campaign.uri, parents[0].info.run_id)
    done = [(asked[id], answer.facts) for id, answer in answers.items() if answer.accepted]
    trials += sum(command.what == ADD for command, _ in done)
    stops = {facts["key"] for command, facts in done if command.what == STOP}
    cut = {run.data.tags[TRIAL]: last_epoch(run) for run in children if run.data.tags.get(OUTCOME) == "stopped"}
    checks = [Check("last exit code of the driver", str(campaign.code), campaign.code == 0)]
    checks += [*statuses(parents, children, trials, len(cut)), commands(asked, answers, cut, stops)]
    finished = [run for run in children if run.data.tags[TRIAL] not in cut]
    checks += [steps(client, children, epochs, cut), artifacts(client, finished)]
    checks += repeats(campaign, trials * epochs - sum(epochs - last for last in cut.values())) + ends(campaign)
    checks += [study(campaign.folder, trials)] if (campaign.folder / "runs" / "optuna").exists() else []
    return [*checks, left(campaign.folder), same_as_uninterrupted(campaign, client, finished)]


def last_epoch(run: Run) -> int:
    """The last epoch of a run in the store."""
    return int(run.data.metrics["epoch"])


def when(at: str) -> float:
    """Seconds of a time in ISO 8601."""
    return datetime.fromisoformat(at).timestamp()


def commands(asked: dict[str, Command], answers: dict[str, Answer], cut: dict[str, int], stops: set[str]) -> Check:
    """Each command has one answer, in an order of its own; trials were stopped by users alone."""
    numbers = [answer.number for answer in answers.values()]
    accepted = sum(answer.accepted for answer in answers.values())
    waits = [when(answer.at) - when(asked[id].at) for id, answer in answers.items() if id in asked]
    figures = f"{len(asked)}, {len(answers)} answered in {median(waits or [0]):g} s (median), {accepted} accepted; "
    figures += f"{len(cut)} trials stopped of {len(stops)} asked"
    once = asked.keys() == answers.keys() and numbers == list(range(1, len(numbers) + 1))
    return Check("commands of users, each answered once", figures, once and cut.keys() <= stops)


def statuses(parents: list[Run], children: list[Run], trials: int, stopped: int) -> list[Check]:
    """One parent; each configuration finished exactly once, or was stopped by a user."""
    states = Counter(run.info.status for run in children)
    keys = {run.data.tags[TRIAL] for run in children}
    finished = [run for run in children if run.data.tags.get(OUTCOME) == "finished"]
    bare = [run.info.run_name for run in children if SPLIT_HASH not in run.data.params]  # one batch has them all
    return [
        Check("parent runs", ", ".join(run.info.status for run in parents), states_of(parents) == ["FINISHED"]),
        Check("child runs by status", str(dict(states)), states == {"FINISHED": trials}),
        Check(
            "distinct configurations finished",
            f"{len(keys)} of {trials}",
            len(keys) == trials == len(finished) + stopped,
        ),
        Check("runs without parameters", f"{bare}", not bare),
    ]


def states_of(runs: list[Run]) -> list[str]:
    """Statuses of runs."""
    return [run.info.status for run in runs]


def steps(client: MlflowClient, children: list[Run], epochs: int, cut: dict[str, int]) -> Check:
    """Each metric of each run has each epoch once, until the last one of those in `cut`."""
    wrong, seen = [], 0
    for run in children:
        wanted = list(range(1, cut.get(run.data.tags[TRIAL], epochs) + 1))
        for name in run.data.metrics:
            seen += 1
            found = [metric.step for metric in client.get_metric_history(run.info.run_id, name)]
            if sorted(found) != wanted:
                wrong.append(f"{run.info.run_name} {name} {found}")
    figures = f"{seen} histories of steps 1..{epochs}, {len(wrong)} wrong {wrong[:2] or ''}"
    return Check("metric steps continuous, none twice", figures, seen > 0 and not wrong)


def error(run: Run) -> float:
    """The error by which a run is ranked; infinity without one."""
    return float(run.data.metrics.get("val/best_mae_groups", float("inf")))


def artifacts(client: MlflowClient, children: list[Run]) -> Check:
    """All repeats of the best configurations have their checkpoint, and those only."""
    ranked = sorted(grouped(children, identity).values(), key=lambda runs: mean(map(error, runs)))
    wanted = {run.info.run_id for runs in ranked[:KEEP] for run in runs}
    files = {run.info.run_id: {file.path for file in client.list_artifacts(run.info.run_id)} for run in children}
    found = {run for run, names in files.items() if CHECKPOINT in names}
    always = sum({CONFIG, SPLIT, CURVE_FIGURE} <= names for names in files.values())
    figures = (
        f"{len(found)} best.pt, {len(wanted - found)} lacking, {len(found - wanted)} too many; {always} with curves"
    )
    return Check(f"checkpoints of the best {KEEP}", figures, found == wanted and always == len(children))


def repeats(campaign: Campaign, wanted: int) -> list[Check]:
    """No epoch that was kept is trained again, and a kill costs each trial that it hits no more than the epoch it is in."""
    notes = campaign.notes()
    begun = Counter((n.key, n.epoch) for n in notes if n.what == "begun")
    kept = Counter((n.key, n.epoch) for n in notes if n.what == "kept")
    kills = [fault for fault in campaign.faults if fault.struck and fault.kind not in SPARE]
    allowed = {
        epoch: sum(
            meets(fault.struck, fault.over, [n.time for n in notes if (n.key, n.epoch) == epoch]) for fault in kills
        )
        for epoch in begun
    }
    beyond = [epoch for epoch, times in begun.items() if times > 1 + allowed[epoch]]
    again = sum(times - 1 for times in begun.values())
    most = sum(fault.in_training for fault in kills)
    twice = sum(times - 1 for times in kept.values())
    return [
        Check("epochs kept on disk", f"{len(kept)} of {wanted}", len(kept) == wanted),
        Check("kept epochs trained again", f"{twice}", twice == 0),
        Check("epochs begun again", f"{again}, by {len(kills)} kills that met {most} in training", again <= most),
        Check("more often than kills met them", f"{len(beyond)}", not beyond),
    ]


def meets(since: float, until: float, times: list[float]) -> bool:
    """Whether an epoch was out between two moments."""
    return min(times) <= until and max(times) >= since


def ends(campaign: Campaign) -> list[Check]:
    """Every fault struck, and the driver ended of it as it should, or not at all."""
    missed = [fault.kind for fault in campaign.faults if not fault.struck]
    hung = [fault.kind for fault in campaign.faults if fault.hung]
    wrong = [f"{f.kind} {f.codes}" for f in campaign.faults if f.struck and not ENDS[f.kind](f.codes)]
    silent = [f.said for f in campaign.faults if 130 in f.codes and GO_ON not in f.said]
    return [
        Check("faults that struck", f"{len(campaign.faults) - len(missed)}, not {missed}", not missed),
        Check("faults after which training did not go on", f"{hung}", not hung),
        Check("exit codes that are not as they should be", f"{wrong}", not wrong),
        Check("interruptions without the line that says how to go on", f"{silent}", not silent),
    ]


def study(folder: Path, trials: int) -> Check:
    """The study of a search knows each trial, and waits for none."""
    (kept,) = map(journal, (folder / "runs" / "optuna").iterdir())
    (one,) = optuna.get_all_study_summaries(kept)
    asked = optuna.load_study(study_name=one.study_name, storage=kept).get_trials()
    states = Counter(trial.state.name for trial in asked)
    return Check("trials of the study by state", str(dict(states)), states == {"COMPLETE": trials})


def left(folder: Path) -> Check:
    """No working files remain."""
    found = sorted(path.name for path in (folder / "runs").iterdir() if path.name not in ("optuna", "prepared"))
    return Check("working files left in runs/", f"{found}", not found)


def same_as_uninterrupted(campaign: Campaign, client: MlflowClient, children: list[Run]) -> Check:
    """The trial that was begun by the most workers equals `fit` of its config without any of this."""
    workers: dict[str, set[int]] = {}
    for note in campaign.notes():
        workers.setdefault(note.key, set()).add(note.pid)
    run = max(children, key=lambda run: len(workers[run.data.tags[TRIAL]]))
    key = run.data.tags[TRIAL]
    logged: dict[str, list[float]] = {}
    for name in run.data.metrics:
        history = sorted(client.get_metric_history(run.info.run_id, name), key=lambda metric: metric.step)
        logged[name] = [metric.value for metric in history]
    torch.set_num_threads(1)
    names = TrainConfig.__dataclass_fields__
    config = TrainConfig.make({name: value for name, value in run.data.params.items() if name in names})
    alone: dict[str, list[Any]] = {}
    for epoch in fit(config, load(config, "train")):
        for name, value in epoch.metrics.items():
            alone.setdefault(name, []).append(value)
    compared = [name for name in alone if name != CLOCK]
    unlike = [name for name in compared if alone[name] != logged.get(name)]
    figures = f"{run.info.run_name}, {len(workers[key])} workers: {len(compared)} metrics, unlike {unlike}"
    return Check("resumed trial equal to an uninterrupted one, bit for bit", figures, not unlike)
