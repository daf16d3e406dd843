"""Which trials of a sweep go on to more epochs: those of its best configurations, or of the one that a run id names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run

from bel.config import TrainConfig
from bel.errors import UserError
from bel.run_layout import CONFIG, EXTENDS, PARENT, RANKED
from launch.spec import yaml_text
from launch.spec.search import SCHEDULERS
from launch.states import Longer
from launch.tracking.lease import is_free
from results.analysis.configurations import configurations
from results.analysis.leaderboard import boards
from results.store.runs import (
    RUN_ID,
    artifact,
    find_run,
    first_of,
    latest_sweep,
    outcome,
    parent_of,
    section_of,
    trials,
)

TOP = 3  # configurations that go on where nothing is said


@dataclass(frozen=True)
class Source:
    """A sweep whose trials are to be longer: its first parent run, and the trial that is named, if any."""

    sweep: Run
    trial: Run | None


def find_source(name: str) -> Source:
    """Find a sweep by its name, or by the id of its run or of a trial's.

    Raises `UserError` for none, for one that runs, and for one whose scheduler changes fields within a trial.
    """
    named = find_run(name) if RUN_ID.fullmatch(name) else latest_sweep(name)
    sweep, trial = first_of(parent_of(named)), named if PARENT in named.data.tags else None
    if sweep.info.status == "RUNNING" and not is_free(sweep):
        raise UserError(f"sweep {sweep.info.run_name} is running: extend it when it has ended")
    scheduler = SCHEDULERS.get(str(section_of(sweep, "search").get("scheduler")))
    if scheduler and scheduler.changes:
        raise UserError(
            f"sweep {sweep.info.run_name} changed fields within its trials, so that no config is that of a longer one: "
            "extend a sweep of another scheduler"
        )
    return Source(sweep, trial)


def best_trials(source: Source, name: str, top: int | None, epochs: int) -> list[Run]:
    """Return the runs of the `top` configurations that have fewer epochs and are not longer already; of a trial its own.

    Raises `UserError` where there is none.
    """
    runs = trials([source.sweep])
    if source.trial:
        if top is not None:
            raise UserError(f"--top is of a sweep, and {name} is one of its trials: leave --top out")
        own = [
            one.runs for one in configurations(runs) if source.trial.info.run_id in {r.info.run_id for r in one.runs}
        ]
        if not own:
            raise UserError(f"trial {source.trial.info.run_name} has no error to go on from: run its sweep again")
        return list(own[0])
    shorter = [run for run in runs if int(run.data.params.get("epochs", epochs)) < epochs]
    if runs and not shorter:
        raise UserError(f"no trial of {name} has fewer than {epochs} epochs: give more with --epochs")
    extended = {run.data.tags.get(EXTENDS) for run in shorter if outcome(run) in RANKED}
    tables = boards(run for run in shorter if run.info.run_id not in extended)
    if not tables:
        raise UserError(f"no trial of {name} with fewer than {epochs} epochs has an error to go on from: run the sweep")
    return [run for standing in tables[0].standings[: top or TOP] for run in standing.configuration.runs]


def longer(run: Run, epochs: int) -> Longer:
    """Return a run with more epochs; a config never decides where images are prepared.

    Raises `UserError` where it has as many, or no config that can be read.
    """
    with artifact(run, CONFIG) as path:
        missing = f"run {run.info.run_id} ({run.info.run_name}) has no {CONFIG}: run its sweep again"
        values = yaml_text.load(path or Path(CONFIG), missing)
    before = TrainConfig.make({name: value for name, value in values.items() if name != "cache_dir"})
    return Longer(before.longer(epochs), before, run)


def once(found: Sequence[Longer]) -> list[Longer]:
    """Return trials without those whose config is that of one before."""
    return list({str(one.config): one for one in reversed(found)}.values())[::-1]
