"""The sweeps that `warm_start` names: which of their configurations a searcher is told of, and why others not."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import Run

from bel.config import TrainConfig, convert
from bel.config_fields import FIELDS
from bel.errors import UserError
from bel.run_layout import DECIDED, SWEEP, TRIAL, VAL_GROUPS, Outcome
from launch.schedule.guide import Source, Told, WarmStart
from launch.schedule.studies import FROM_SOURCES
from launch.schedule.workload import repeats
from launch.spec.combinations import Plan
from launch.spec.search import Objective
from launch.spec.sweep_file import Sweep
from launch.warm_start.mapping import map_fields
from results.analysis.configurations import identity
from results.analysis.ranking import grouped, pooled_mean
from results.store.runs import find_sweeps, first_of, on_fold, outcome, search, trials

FEWEST = 10  # finished trials from which CMA-ES begins: it takes the best tenth

Identify = Callable[[TrainConfig], str]  # a config's trial key in this sweep


def find_warm_start(sweep: Sweep, plans: Sequence[Plan], identify: Identify, key: str) -> WarmStart:
    """Read from the store what the searcher of a sweep, which has a key, is told.

    Raises `UserError` for a name that no other sweep has, and for too few trials.
    """
    generator = np.random.default_rng(sweep.search.seed or 0)
    parents = {parent.info.run_id: parent for parent in (source_called(name, sweep, key) for name in sweep.warm_start)}
    stages: list[list[Told]] = [[] for _ in plans]
    sources = []
    for run_id, parent in parents.items():
        groups = grouped(trials([parent]), identity)
        found, left_out = tell(sweep, plans, identify, list(groups.values()), generator, run_id)
        for stage, ones in zip(stages, found, strict=True):
            stage += ones
        ones = list({one.run_ids: one for told in found for one in told}.values())
        exact, partly = sum(one.exact for one in ones), sum(bool(one.drawn) for one in ones)
        name = mlflow.get_experiment(parent.info.experiment_id).name
        if not ones:
            raise UserError(
                f"warm_start: no configuration of {name} (run {run_id}) is told, {said(left_out)}: leave it out"
            )
        sources.append(Source(name, run_id, len(ones), exact, partly, dict(left_out)))
    refuse_few(sweep, stages)
    return WarmStart(stages, sources)


def source_called(name: str, sweep: Sweep, key: str) -> Run:
    """Find the sweep that a name or a run id means: with its own name a sweep means the latest one before it.

    Raises `UserError` where there is none.
    """
    try:
        if name == sweep.name and (experiment := mlflow.get_experiment_by_name(name)):
            where, order = f"tags.`{SWEEP}` LIKE '%'", ["start_time DESC"]
            runs = search([experiment.experiment_id], where, order_by=order)
            for run in map(first_of, runs):
                if run.data.tags[SWEEP] != key:
                    return run
            raise UserError(f"no other sweep {name!r} is in the MLflow store {mlflow.get_tracking_uri()}: name others")
        (found_run,) = find_sweeps([name])
    except UserError as error:
        raise UserError(f"warm_start: {error}") from None
    if found_run.data.tags.get(SWEEP) == key:
        raise UserError(f"warm_start names this sweep itself, run {found_run.info.run_id}: name others")
    return found_run


def said(left_out: Mapping[str, int]) -> str:
    """Return in words how many configurations are not told, by reason."""
    return "; ".join(f"{number}: {reason}" for reason, number in left_out.items()) or "as none has ended"


def tell(
    sweep: Sweep,
    plans: Sequence[Plan],
    identify: Identify,
    groups: Sequence[Sequence[Run]],
    generator: np.random.Generator,
    source: str,
) -> tuple[list[list[Told]], Counter[str]]:
    """Return the configurations of a source that are told, by stage, and how many others there are, by reason.

    Of several with the same values one is told: an exact one, else one that maps whole, on a hold-out before its folds.
    """
    found: list[list[Told]] = [[] for _ in plans]
    left_out: Counter[str] = Counter()
    for runs in sorted(groups, key=lambda runs: on_fold(runs[0])):
        reasons = []
        for stage, plan in zip(found, plans, strict=True):
            try:
                stage.append(told_of(sweep, plan, identify, runs, generator, source))
            except UserError as error:
                reasons.append(str(error))
        if len(reasons) == len(plans):
            left_out[reasons[0]] += 1
    stages = [once(stage) for stage in found]
    told, all_ids = ({one.run_ids for stage in some for one in stage} for some in (stages, found))
    return stages, left_out + Counter({"another one of the same values is told": len(all_ids - told)})


def once(found: Sequence[Told]) -> list[Told]:
    """Return the best match of those that have the same values."""
    kept: dict[str, Told] = {}
    for one in sorted(found, key=lambda one: (not one.exact, bool(one.drawn))):
        kept.setdefault(str(one.values), one)
    return list(kept.values())


def told_of(
    sweep: Sweep, plan: Plan, identify: Identify, runs: Sequence[Run], generator: np.random.Generator, source: str
) -> Told:
    """Return a configuration as it is told. Raises `UserError` with the reason where it is not."""
    if runs[0].data.params.get("selection") == "test" and plan.configs[0].selection != "test":
        raise UserError("it was selected on the test split")
    outcomes = {outcome(run) for run in runs}
    if not outcomes <= {*DECIDED}:
        raise UserError("it has not ended")
    worst = next(one for one in (Outcome.DIVERGED, Outcome.STOPPED, Outcome.FINISHED) if one in outcomes)
    results = () if worst == Outcome.DIVERGED else results_of(runs, sweep.search.objectives)
    values, drawn = map_fields(sweep, plan, fields_of(sweep, runs[0]), generator)
    keys = {identify(config) for config in repeats(sweep, plan.config(sweep, values))} if not drawn else set()
    exact = bool(keys) and keys <= {run.data.tags.get(TRIAL) for run in runs}
    ids = tuple(sorted(run.info.run_id for run in runs))
    return Told(source, ids, values, worst, results, int(runs[0].data.metrics.get("epoch", 0)), exact, drawn)


def results_of(runs: Sequence[Run], objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Return the mean of each objective over repeats. Raises `UserError` where one was not measured."""
    counts = [float(run.data.params.get(VAL_GROUPS, 1)) for run in runs]
    for objective in objectives:
        if not all(np.isfinite(run.data.metrics.get(objective.metric, np.nan)) for run in runs):
            raise UserError(f"it has no {objective.metric}")
    return tuple(pooled_mean([run.data.metrics[one.metric] for run in runs], counts) for one in objectives)


def fields_of(sweep: Sweep, run: Run) -> dict[str, Any]:
    """Return the fields of a run in which a sweep varies; None for one that its head or regulariser does not have."""
    fields = {}
    for name in sweep.space:
        try:
            fields[name] = convert(FIELDS[name], run.data.params[name]) if name in run.data.params else None
        except UserError:  # of another version
            fields[name] = None
    return fields


def refuse_few(sweep: Sweep, stages: Sequence[Sequence[Told]]) -> None:
    """Raise `UserError` where CMA-ES would begin from fewer trials than it takes."""
    for told in stages if sweep.search.method in FROM_SOURCES else ():
        finished = sum(one.outcome == Outcome.FINISHED for one in told)
        if finished < FEWEST:
            raise UserError(
                f"search.method {sweep.search.method} begins from the best tenth of {FEWEST} or more finished trials of "
                f"warm_start, and {finished} map: name a larger sweep, or use tpe"
            )
