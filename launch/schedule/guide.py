"""What a search learns from trials of other sweeps: its sampler sees them beside its own, and its study has none of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from statistics import median
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial

from bel.run_layout import Outcome
from launch.spec.combinations import Plan, Values
from launch.spec.sampling import as_parameters, suggest
from launch.spec.sweep_file import Sweep
from results.analysis.ranking import grouped

STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


@dataclass(frozen=True)
class Told:
    """A configuration of another sweep: its values in this space, and its results by objective, those of its last epoch.

    `exact`: its trials are ones that this sweep would train itself, on the same data. `drawn`: dimensions that did not map.
    """

    source: str  # run id of its sweep
    run_ids: tuple[str, ...]
    values: Values
    outcome: Outcome
    results: tuple[float, ...]
    epoch: int
    exact: bool
    drawn: tuple[str, ...] = ()

    def trial(self, shape: FrozenTrial, factors: Sequence[float] = ()) -> FrozenTrial:
        """Return the trial that an Optuna study has of it: the parameters of `shape`, its results multiplied by factors."""
        found = [result * factor for result, factor in zip(self.results, factors or repeat(1.0), strict=False)]
        finished = self.outcome == Outcome.FINISHED
        return create_trial(
            state=TrialState.COMPLETE if finished else TrialState.PRUNED,
            params=shape.params,
            distributions=shape.distributions,
            values=found if finished else None,
            intermediate_values={self.epoch: found[0]} if self.outcome == Outcome.STOPPED and len(found) == 1 else {},
        )


@dataclass(frozen=True)
class Source:
    """A sweep that is named: its name and run id, how many of its configurations are told, and why others are not."""

    name: str
    run_id: str
    told: int
    exact: int  # of those: trials that this sweep would train itself
    partly: int  # of those: some dimensions do not map
    left_out: Mapping[str, int]  # by reason


@dataclass(frozen=True)
class WarmStart:
    """What the searcher of a sweep is told, by stage, and from which sweeps."""

    stages: Sequence[Sequence[Told]]
    sources: Sequence[Source]


class Guide:
    """Suggests the values of a trial from the trials of a study and those of other sweeps.

    Errors on other data, or of other settings, are no errors of this sweep: those of a source are multiplied by the median
    ratio of this sweep's errors to that of the source's nearest configuration, which follows the trials that end.
    """

    def __init__(self, told: Sequence[Told]) -> None:
        self.told = told
        self.plan: Plan | None = None  # that `shapes` are of
        self.shapes: list[FrozenTrial] = []  # what is told as trials without a result
        self.nearest: dict[tuple[str, int], tuple[float, ...]] = {}  # by source and trial: results to compare it with

    def known(self, sweep: Sweep, plan: Plan) -> list[tuple[Told, FrozenTrial]]:
        """Return what is told, each with the trial whose parameters it has in a plan."""
        if self.plan is not plan:
            self.plan, self.shapes = plan, [shape(sweep, plan, one.values) for one in self.told]
        return list(zip(self.told, self.shapes, strict=True))

    def suggest(self, sweep: Sweep, plan: Plan, study: optuna.Study, sampler: BaseSampler) -> Values:
        """Return the values that a sampler suggests after all of these trials."""
        shown = optuna.create_study(directions=study.directions, sampler=sampler)
        own = study.get_trials(deepcopy=False, states=STATES)
        shown.add_trials([*self.trials(sweep, plan, own), *own])
        return suggest(sweep, plan, shown.ask())

    def ranked(self, sweep: Sweep, plan: Plan) -> list[FrozenTrial]:
        """Return the told trials that finished, with their rank among those of their source, from 0 to 1, as their result."""
        finished = [pair for pair in self.known(sweep, plan) if pair[0].outcome == Outcome.FINISHED]
        by_source = grouped(sorted(finished, key=lambda pair: pair[0].results[0]), lambda pair: pair[0].source)
        return [
            replace(one, results=(place / len(pairs),)).trial(trial)
            for pairs in by_source.values()
            for place, (one, trial) in enumerate(pairs, 1)
        ]

    def trials(self, sweep: Sweep, plan: Plan, own: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return the told trials as a study would have them, on the scale of its own."""
        known = self.known(sweep, plan)
        ended = [trial for trial in own if trial.state == TrialState.COMPLETE]
        by_source = grouped((pair for pair in known if not pair[0].exact), lambda pair: pair[0].source)
        factors = {source: self.factors(source, pairs, ended) for source, pairs in by_source.items()}
        return [one.trial(trial, () if one.exact else factors[one.source]) for one, trial in known]

    def factors(
        self, source: str, pairs: Sequence[tuple[Told, FrozenTrial]], own: Sequence[FrozenTrial]
    ) -> list[float]:
        """Return, by objective, the median ratio of own results to those of a source's nearest trials; nothing without any."""
        there = [pair for pair in pairs if pair[0].outcome == Outcome.FINISHED]
        if not there or not own:
            return []
        for trial in own:
            if (source, trial.number) not in self.nearest:
                self.nearest[source, trial.number] = min(there, key=lambda pair: distance(trial, pair[1]))[0].results
        both = [(trial.values, self.nearest[source, trial.number]) for trial in own]
        return [median(ratio(a[i], b[i]) for a, b in both) for i in range(len(own[0].values))]


def shape(sweep: Sweep, plan: Plan, values: Values) -> FrozenTrial:
    """Return a trial with the parameters of some values, without a result."""
    fixed = FixedTrial(as_parameters(sweep, plan, values))
    suggest(sweep, plan, fixed)
    return create_trial(state=TrialState.PRUNED, params=fixed.params, distributions=fixed.distributions)


def ratio(own: float, other: float) -> float:
    """Return a ratio of results, which are not negative; 1 where it has no meaning."""
    return own / other if other > 0 and math.isfinite(own / other) else 1.0


def distance(one: FrozenTrial, other: FrozenTrial) -> float:
    """Return how far apart two trials are: 1 for each parameter that differs, of numbers the share of their range."""
    names = one.params.keys() | other.params.keys()
    return sum(
        apart(one.distributions[name], one.params[name], other.params[name])
        if name in one.params and name in other.params
        else 1.0
        for name in names
    )


def apart(distribution: BaseDistribution, a: Any, b: Any) -> float:
    """Return how far apart two values of a parameter are, from 0 to 1."""
    if isinstance(distribution, CategoricalDistribution):
        return float(a != b)
    low, high = distribution.low, distribution.high
    if distribution.log:
        a, b, low, high = map(math.log, (a, b, low, high))
    return abs(a - b) / (high - low) if high > low else 0.0
