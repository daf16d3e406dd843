"""Racing: repeats go to the configurations that may be the best, until errors by group tell them apart (F-race, GECCO 2002).

A configuration gets no more repeats where all of them would show it as worse than the best one, by the test of the
leaderboard. It is decided in rounds, from errors alone: neither the time at which a run ends, nor how many run at once, nor
an interruption changes a decision.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bel.errors import UserError
from bel.run_layout import DECIDED, RACED, Outcome
from launch.runs import Run
from launch.schedule.halving import FACTOR
from results.analysis.statistics import LEVEL, mean_intervals

PILOT = 3  # repeats of the best third, by which it is known how much repeats differ
ENDED = (*DECIDED, Outcome.FAILED)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Lost(NamedTuple):
    """Why a configuration gets no more repeats: after how many, its error and the best one's, on the same groups."""

    repeats: int
    value: float
    against: float


class Decision(NamedTuple):
    """The repeats that are to run now, as pairs of configuration and repeat, and the configurations that lost."""

    due: list[tuple[int, int]]
    lost: dict[int, Lost]


def race(errors: Floats, ended: Bools) -> Decision:
    """Decide what runs next from errors (configurations, repeats, groups) and which repeats (configurations, repeats) ended.

    Errors are NaN where a group is not measured by a repeat, or a repeat has none; one that ended without any, as where it
    diverged, takes its configuration out of the race. All have one repeat first, then the best third (rounded up, two at
    least) up to `PILOT`; from then on all that have not lost have one more a round, while there are two.
    """
    count, limit, _ = errors.shape
    broken = ended & np.isnan(errors).all(2)
    have, lost = np.zeros(count, int), dict[int, Lost]()
    for ahead, wanted in rounds(limit):
        racing = alive = running(broken, have, lost)
        if ahead:
            racing = pilot(errors, alive)
        if due := [(c, r) for c in racing for r in range(wanted) if not ended[c, r]]:
            return Decision(due, lost)
        have[racing] = np.maximum(have[racing], wanted)
        seen = np.where((np.arange(limit) < have[:, None])[..., None], errors, np.nan)
        if have[alive].min(initial=limit) < limit:
            lost |= losers(seen, running(broken, have, lost))
        if len(running(broken, have, lost)) < 2:
            break
    return Decision([], lost)


def rounds(limit: int) -> list[tuple[bool, int]]:
    """Return how many repeats are there after each round, and whether only the best third has them."""
    return [(False, 1), (True, min(PILOT, limit)), *((False, repeats) for repeats in range(2, limit + 1))]


def running(broken: Bools, have: NDArray[np.int_], lost: Mapping[int, Lost]) -> list[int]:
    """Return the configurations that are in the race: that have not lost, and of which no repeat ended without errors.

    One that breaks later was never in it: what lost against it is in the race again.
    """
    return [c for c in range(len(have)) if c not in lost and not broken[c].any()]


def pilot(errors: Floats, alive: Sequence[int]) -> list[int]:
    """Return the configurations whose second repeats come first: the best third by the first repeat."""
    best = sorted(alive, key=lambda c: float(np.nanmean(errors[c, 0])))
    return best[: max(2, math.ceil(len(best) / FACTOR))]


def losers(errors: Floats, alive: Sequence[int]) -> dict[int, Lost]:
    """Return those of the configurations `alive` that all repeats would show as worse than the best one of them.

    Errors (configurations, repeats, groups) are those that are known. The difference from the best one may fall by what the
    repeats to come can change, for all configurations at once (Bonferroni), and is still beyond the interval over groups. That
    predicts one verdict, the last one, so that looking again needs no correction (stochastic curtailment: Lan et al., 1982).
    """
    count, limit, _ = errors.shape
    spread, freedom = repeat_spread(errors)
    if len(alive) < 2 or not freedom:
        return {}
    by_group, repeats = mean_over_repeats(errors), (~np.isnan(errors).all(2)).sum(1)
    leader = min(alive, key=lambda c: (-repeats[c], float(np.nanmean(by_group[c]))))
    from scipy import stats  # imported here, because it is slow

    quantile, found = float(stats.t.isf((1 - LEVEL) / (count - 1), freedom)), {}
    for c in alive:
        both = ~np.isnan(by_group[[c, leader]]).any(0)
        value, against = (float(mean) for mean in by_group[[c, leader]][:, both].mean(1))
        change = math.hypot(*(e * math.sqrt(1 / repeats[i] - 1 / limit) for e, i in ((value, c), (against, leader))))
        gap = mean_intervals([by_group[c, both] - by_group[leader, both]], compared=count)[0]
        if gap.interval and gap.interval[0] > quantile * spread * change:
            found[c] = Lost(int(repeats[c]), value, against)
    return found


def mean_over_repeats(errors: Floats) -> Floats:
    """Errors (..., repeats, groups) -> means over the repeats that measure a group (..., groups), NaN where none does."""
    known = ~np.isnan(errors)
    total = np.where(known, errors, 0).sum(-2)
    return np.divide(total, known.sum(-2), out=np.full_like(total, np.nan), where=known.any(-2))


def repeat_spread(errors: Floats) -> tuple[float, int]:
    """Return the standard deviation of a repeat's error as a share of it, and its degrees of freedom, 0 where it is unknown.

    What all configurations have in common in a repeat does not count: it is the residual of the logarithms of mean errors
    after a term for each configuration and one for each repeat. Of configurations with the same errors one counts: a field
    without effect says nothing of the spread.
    """
    as_numbers = np.nan_to_num(errors, nan=-1.0).reshape(len(errors), -1)
    errors = errors[np.sort(np.unique(as_numbers, axis=0, return_index=True)[1])]
    known = ~np.isnan(errors).all(2)
    known &= known.sum(1, keepdims=True) > 1  # one repeat says nothing
    rows, columns = np.nonzero(known)
    if not len(rows):
        return math.inf, 0
    values = np.log(np.maximum(np.nanmean(errors[rows, columns], 1), np.finfo(float).tiny))
    terms = np.concatenate([np.eye(known.shape[0])[rows], np.eye(known.shape[1])[columns]], 1)
    solution, _, rank, _ = np.linalg.lstsq(terms, values)
    freedom = len(values) - int(rank)
    residual = values - terms @ solution
    return (math.sqrt(float(residual @ residual) / freedom), freedom) if freedom else (math.inf, 0)


class Race:
    """The race of a stage: the configurations whose first repeat has finished, and which of their repeats run.

    `errors_of` gives the errors of a run by group; `note` is told of a configuration that loses, once, and with None of one
    that is in the race again, as where the one that it lost against broke.
    """

    def __init__(
        self, errors_of: Callable[[Run], Mapping[str, float]], note: Callable[[list[Run], dict[str, Any] | None], None]
    ) -> None:
        self.errors_of, self.note = errors_of, note
        self.repeats: dict[str, list[Run]] = {}  # by key of the first one
        self.errors: dict[str, Mapping[str, float]] = {}  # by key of a run that has finished
        self.noted: dict[str, Lost | None] = {}  # by key of the first repeat
        self.due: list[Run] = []  # runs of the present round

    def add(self, runs: list[Run]) -> None:
        """Add a configuration by all its repeats, unless its first one has no error of the last epoch."""
        if runs and runs[0].outcome == Outcome.FINISHED:
            self.repeats[runs[0].key] = runs
            self.due = []

    def next_round(self) -> list[Run]:
        """Return the runs of the present round that have not ended; where all have, those of the next one."""
        if all(run.outcome in ENDED for run in self.due):
            self.due = self.decide()
        return [run for run in self.due if run.outcome not in ENDED]

    def decide(self) -> list[Run]:
        """Return the runs of the next round, none where the race is over; configurations that lost are noted."""
        members = [self.repeats[key] for key in sorted(self.repeats)]  # in an order that does not depend on timing
        if not members:
            return []
        ended = np.array([[run.outcome in ENDED for run in runs] for runs in members])
        decision = race(self.table(members), ended)
        for c, runs in enumerate(members):
            lost = decision.lost.get(c) if not ended[c].all() else None
            tagged = runs[0].logged is not None and RACED in runs[0].logged.data.tags  # by an earlier call
            if (self.noted.get(runs[0].key, tagged) or None) != lost:
                self.noted[runs[0].key] = lost
                trained = [run for run in runs if run.outcome in ENDED]
                self.note(trained, {**lost._asdict(), "repeats": len(trained), "of": len(runs)} if lost else None)
        return [members[c][repeat] for c, repeat in decision.due]

    def table(self, members: list[list[Run]]) -> Floats:
        """Return the errors (configurations, repeats, groups) of the runs that have finished, NaN elsewhere."""
        finished = [run for runs in members for run in runs if run.outcome == Outcome.FINISHED]
        for run in finished:
            if run.key not in self.errors:
                with suppress(UserError):  # its files did not arrive in the store: the next call trains it again
                    self.errors[run.key] = self.errors_of(run)
        groups = sorted({group for run in finished for group in self.errors.get(run.key, ())})
        empty: Mapping[str, float] = {}
        found = [[self.errors.get(run.key, empty) for run in runs] for runs in members]
        return np.array([[[one.get(group, math.nan) for group in groups] for one in row] for row in found])
