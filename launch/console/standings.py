"""The configurations of a sweep in the order of every table, by what is known of its runs while it goes on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bel.run_layout import SELECTION_SPLIT, SPLIT_HASH, TRAIN_IMAGES, VAL_IMAGES, Outcome
from launch.runs import Run, SweepRuns, mean
from launch.spec.search import OBJECTIVES
from results.analysis.ranking import complete_seeds, rank_key, table_key

RANKS = OBJECTIVES["val/mae_groups"]  # whatever a sweep minimises: there is one order in all tables and commands


@dataclass(frozen=True)
class Standing:
    """A configuration: the runs whose errors count, those of seeds with all their folds if there is one, and the rest."""

    runs: list[Run]
    rest: list[Run]

    @property
    def error(self) -> float:
        """Mean over its groups, and over seeds."""
        return mean(self.runs, RANKS)

    @property
    def seeds(self) -> int:
        """With how many seeds it was trained."""
        return len({run.config.seed for run in self.runs})

    @property
    def ordered(self) -> list[Run]:
        """Its runs, the least error first, of those whose checkpoint is kept if any is."""
        return sorted(self.runs, key=lambda run: (not run.kept, rank_key(run.value(RANKS), run.name)))

    @property
    def best(self) -> Run:
        """The run that stands for it."""
        return self.ordered[0]

    def lacks(self, most: int) -> bool:
        """Whether it lacks a fold, or a seed of `most`."""
        return bool(self.rest) or len(self.runs) < most * (self.runs[0].config.folds or 1)

    def place(self, lacks: bool) -> tuple[bool, bool, float, str]:
        """Its place beside others."""
        stopped = any(run.outcome == Outcome.STOPPED for run in self.runs)
        return rank_key(self.error, self.runs[0].name, lacks, stopped)


def tables(sweep_runs: SweepRuns) -> list[list[Standing]]:
    """What may be compared of the runs that came to an error, the best first; tables as in a leaderboard."""
    configurations: dict[str, list[Run]] = {}
    for run in sweep_runs.having(Outcome.FINISHED, Outcome.STOPPED):
        configurations.setdefault(run.configuration, []).append(run)
    found: dict[tuple[str, ...], list[Standing]] = {}
    for runs in configurations.values():
        found.setdefault(kind(runs[0]), []).append(standing(runs))
    ordered = sorted(
        found.items(), key=lambda item: (table_key(item[0][1], item[0][2], "groups", len(item[1])), item[0])
    )
    return [in_order(table) for _, table in ordered]


def kind(run: Run) -> tuple[str, ...]:
    """What has to be equal for errors to be comparable; all the folds together are of all training images."""
    facts, folds = run.facts, run.config.folds
    images = str(int(facts[TRAIN_IMAGES]) + int(facts[VAL_IMAGES])) if folds else facts[SPLIT_HASH]
    return facts["protocol"], facts[SELECTION_SPLIT], str(folds or ""), images


def standing(runs: list[Run]) -> Standing:
    """A configuration from its runs."""
    by_seed: dict[str, list[Run]] = {}
    for run in runs:
        by_seed.setdefault(str(run.config.seed), []).append(run)
    whole = complete_seeds(by_seed, runs[0].config.folds or 1)
    used = [run for seed in whole.values() for run in seed] or runs
    counted = {run.key for run in used}
    return Standing(used, [run for run in runs if run.key not in counted])


def in_order(table: Iterable[Standing], whole: bool = True) -> list[Standing]:
    """Configurations, the best first; with `whole` those that lack repeats, which may be on their way, are the last."""
    table = list(table)
    most = max(one.seeds for one in table)
    return sorted(table, key=lambda one: one.place(whole and one.lacks(most)))
