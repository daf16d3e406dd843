"""Configurations of a running sweep, in the order of `results.analysis.ranking`."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bel.run_layout import RANKED, SELECTION_SPLIT, SPLIT_HASH, TRAIN_IMAGES, VAL_IMAGES, Outcome
from launch.runs import Run, SweepRuns, mean
from launch.spec.search import OBJECTIVES
from results.analysis.ranking import complete_seeds, rank_key, table_key

RANKS = OBJECTIVES["val/mae_groups"]  # all tables and commands rank by it, whatever the sweep minimises


@dataclass(frozen=True)
class Standing:
    """A configuration: `runs` count, those of complete seeds if there are any; `rest` are its other runs."""

    runs: list[Run]
    rest: list[Run]

    @cached_property
    def error(self) -> float:
        """Mean error over its groups and seeds."""
        return mean(self.runs, RANKS)

    @cached_property
    def seeds(self) -> int:
        """Number of its seeds."""
        return len({run.config.seed for run in self.runs})

    @property
    def ordered(self) -> list[Run]:
        """Its runs: those with a checkpoint first, then by error."""
        return sorted(self.runs, key=lambda run: (not run.kept, rank_key(run.value(RANKS), run.name)))

    @property
    def best(self) -> Run:
        """The run that represents it."""
        return self.ordered[0]

    def lacks(self, most: int) -> bool:
        """Whether it lacks a fold, or one of `most` seeds."""
        return bool(self.rest) or len(self.runs) < most * (self.runs[0].config.folds or 1)

    @cached_property
    def kind(self) -> tuple[str, ...]:
        """What has to be equal for errors to be comparable; all folds together cover all training images."""
        facts, folds = self.runs[0].facts, self.runs[0].config.folds
        images = str(int(facts[TRAIN_IMAGES]) + int(facts[VAL_IMAGES])) if folds else facts[SPLIT_HASH]
        return facts["protocol"], facts[SELECTION_SPLIT], str(folds or ""), images

    @cached_property
    def complete_key(self) -> tuple[bool, bool, float, str]:
        """Its sort key if it lacks nothing."""
        stopped = any(run.outcome == Outcome.STOPPED for run in self.runs)
        return rank_key(self.error, self.runs[0].name, stopped=stopped)

    def rank_key(self, lacks: bool) -> tuple[bool, bool, float, str]:
        """Return its sort key among other configurations."""
        return (lacks, *self.complete_key[1:])


def tables(sweep_runs: SweepRuns, known: dict[tuple[Any, ...], Standing] | None = None) -> list[list[Standing]]:
    """Return the tables of the runs that have an error, as a leaderboard has them, each with the best first.

    `known` keeps configurations for the next call, by what they depend on: a sweep asks after each of its trials.
    """
    known = {} if known is None else known
    configurations: dict[str, list[Run]] = {}
    for run in sweep_runs.having(*RANKED):
        configurations.setdefault(run.configuration, []).append(run)
    found: dict[tuple[str, ...], list[Standing]] = {}
    for runs in configurations.values():
        state = tuple((run.key, run.outcome, run.value(RANKS)) for run in runs)
        one = known[state] = known.get(state) or standing(runs)
        found.setdefault(one.kind, []).append(one)
    ordered = sorted(
        found.items(), key=lambda item: (table_key(item[0][1], item[0][2], "groups", len(item[1])), item[0])
    )
    return [in_order(table) for _, table in ordered]


def standing(runs: list[Run]) -> Standing:
    """Return a configuration from its runs."""
    by_seed: dict[str, list[Run]] = {}
    for run in runs:
        by_seed.setdefault(str(run.config.seed), []).append(run)
    whole = complete_seeds(by_seed, runs[0].config.folds or 1)
    used = [run for seed in whole.values() for run in seed] or runs
    counted = {run.key for run in used}
    return Standing(used, [run for run in runs if run.key not in counted])


def in_order(table: Iterable[Standing], whole: bool = True) -> list[Standing]:
    """Sort configurations, the best first; with `whole` those that lack repeats, which may still run, are last."""
    table = list(table)
    most = max(one.seeds for one in table)
    return sorted(table, key=lambda one: one.rank_key(whole and one.lacks(most)))
