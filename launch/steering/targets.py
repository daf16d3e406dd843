"""Which sweep a user means, or which of its trials: by the name of the sweep, a run id or its beginning, a trial's name."""

import re
from dataclasses import dataclass, field

import mlflow
from mlflow.entities import Run

from bel.errors import UserError
from bel.run_layout import PARENT, SWEEP, TRIAL
from bel.text import listed
from launch.tracking.lease import is_alive
from results.store.connect import connect
from results.store.runs import RUN_ID, find_run, find_sweeps, parent_of, search

PREFIX = re.compile(r"[0-9a-f]{4,31}")


@dataclass(frozen=True)
class Target:
    """A sweep by its parent run, and one of its trials by its key, or by its name where MLflow has no run of it yet."""

    parent: Run
    trial: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What it is called in messages."""
        sweep = f"sweep {self.parent.info.run_name}"
        return f"trial {self.trial['name']} of {sweep}" if self.trial else sweep


def find_target(word: str, sweep: str | None = None) -> Target:
    """Find a sweep or a trial; `sweep` names the sweep of a trial. Raises `UserError` where none is meant, or several are."""
    client = connect()
    if sweep is not None:
        parent = sweep_called(sweep)
        found = trials_called(word, parent)
        return trial_of(found, word, parent) if found else Target(parent, {"name": word})
    if RUN_ID.fullmatch(word):
        run = find_run(word)
        trial = as_trial(run) if TRIAL in run.data.tags else {}
        return Target(checked(parent_of(run) if trial else run, word), trial)
    if client.get_experiment_by_name(word):
        return Target(sweep_called(word))
    found = trials_called(word)
    if not found and PREFIX.fullmatch(word) and (parents := sweeps_where(f"attributes.run_id LIKE '{word}%'")):
        return Target(the_one(parents, word))
    if not found:
        raise UserError(
            f"no sweep, and no trial that has begun, is called {word!r} in the MLflow store {mlflow.get_tracking_uri()}: give "
            "a sweep's name, a run id or 4 or more digits of its beginning, or a trial's name; `--sweep NAME` says of which "
            "sweep a trial is that has not begun"
        )
    return trial_of(found, word)


def sweep_called(name: str) -> Run:
    """Return the sweep of a name or a run id: of several of a name the one that runs, else the latest.

    Raises `UserError` where there is none, or several run.
    """
    experiment = connect().get_experiment_by_name(name)
    parents = sweeps_where("", [experiment.experiment_id]) if experiment else []
    alive = [parent for parent in parents if parent.info.status == "RUNNING" and is_alive(parent)]
    return the_one(alive, name) if alive else checked(find_sweeps([name])[0], name)


def sweeps_where(condition: str, experiments: list[str] | None = None) -> list[Run]:
    """Find the parent runs of sweeps, in some experiments or in all."""
    return search(experiments, " AND ".join(filter(None, [condition, f"tags.`{SWEEP}` LIKE '%'"])))


def the_one(parents: list[Run], word: str) -> Run:
    """Return the only one of some sweeps. Raises `UserError` where there are several."""
    if len(parents) > 1:
        ids = listed(f"{parent.info.run_id} ({parent.info.run_name})" for parent in parents)
        raise UserError(f"{word!r} is {len(parents)} sweeps, {ids}: give one of the run ids")
    return parents[0]


def checked(parent: Run, word: str) -> Run:
    """Return a run that is a sweep. Raises `UserError` for another one."""
    if SWEEP not in parent.data.tags:
        raise UserError(f"{word!r} is a run of MLflow, and no sweep or trial of one: give a sweep or one of its trials")
    return parent


def trials_called(word: str, parent: Run | None = None) -> list[Run]:
    """Find the trials, of a sweep or of all, that have a name, or a run id that begins so."""
    conditions = [f"attributes.run_name = {quoted(word)}"]
    conditions += [f"attributes.run_id LIKE '{word}%'"] if PREFIX.fullmatch(word) or RUN_ID.fullmatch(word) else []
    within = f" and tags.`{PARENT}` = '{parent.info.run_id}'" if parent else f" and tags.`{PARENT}` LIKE '%'"
    where = [parent.info.experiment_id] if parent else None
    found = [run for condition in conditions for run in search(where, condition + within)]
    return list({run.info.run_id: run for run in found if TRIAL in run.data.tags}.values())


def quoted(text: str) -> str:
    """Return a text for MLflow's filters. Raises `UserError` for one with both kinds of quotes."""
    mark = "'" if "'" not in text else '"'
    if mark in text:
        raise UserError(f"a name with both kinds of quotes cannot be looked for, got {text!r}: give the run id")
    return f"{mark}{text}{mark}"


def trial_of(found: list[Run], word: str, parent: Run | None = None) -> Target:
    """Return the trial that is meant: of several the one whose sweep runs. Raises `UserError` where there are several."""
    parents = {run.data.tags[PARENT]: parent or find_run(run.data.tags[PARENT]) for run in found}
    running = [run for run in found if parents[run.data.tags[PARENT]].info.status == "RUNNING"]
    chosen = running if len(running) == 1 else found
    if len(chosen) > 1:
        ids = listed(f"{run.info.run_id} ({parents[run.data.tags[PARENT]].info.run_name})" for run in chosen)
        raise UserError(f"{word!r} is {len(chosen)} trials, {ids}: give one of the run ids")
    return Target(parents[chosen[0].data.tags[PARENT]], as_trial(chosen[0]))


def as_trial(run: Run) -> dict[str, str]:
    """Return which trial a run is."""
    return {"key": run.data.tags[TRIAL], "name": run.info.run_name}
