"""What a study says: ranks over groups, differences that hold on every task, ratios with intervals, errors by target."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations

import numpy as np
from scipy import stats

from results.analysis.pairwise import bins
from results.analysis.statistics import LEVEL, Difference, mean_interval, paired_difference
from results.analysis.study import StudyContender, Task
from results.store.predictions import Floats

FEWEST = 20  # images of a bin for which contenders are named


@dataclass(frozen=True)
class Ranks:
    """Average ranks of contenders over groups, the best first, and by how much two must differ (Nemenyi test).

    `p` is of the Friedman test, that all contenders have the same rank. (Demsar: Statistical Comparisons of Classifiers
    over Multiple Data Sets, JMLR 2006, section 3.2.)
    """

    names: list[str]
    ranks: list[float]
    groups: int
    critical: float
    p: float


def average_ranks(task: Task) -> Ranks:
    """Rank the contenders of a task within each of its groups; equal errors share their rank."""
    errors = np.stack([one.errors.group_errors for one in task.contenders], 1)  # (groups, contenders)
    groups, count = errors.shape
    ranks = stats.rankdata(errors, axis=1).mean(0)
    order = np.argsort(ranks, kind="stable")
    width = stats.studentized_range.ppf(LEVEL, count, np.inf) / 2**0.5
    p = float(stats.friedmanchisquare(*errors.T).pvalue) if count > 2 else float(stats.wilcoxon(*errors.T).pvalue)
    return Ranks(
        names=[task.contenders[i].name for i in order],
        ranks=[float(ranks[i]) for i in order],
        groups=groups,
        critical=float(width * np.sqrt(count * (count + 1) / (6 * groups))),
        p=p,
    )


def difference(task: Task, ours: StudyContender, theirs: StudyContender) -> Difference:
    """Return the difference of two contenders, paired over groups, with an interval for all pairs of the task at once."""
    return paired_difference(ours.errors.group_errors, theirs.errors.group_errors, len(task.contenders))


def ratio(ours: StudyContender, theirs: StudyContender) -> Difference:
    """Return by how many per cent ours has more error than theirs, with the interval of this one comparison.

    Of a ratio of means over the same groups, linearised (delta method).
    """
    a, b = ours.errors.group_errors, theirs.errors.group_errors
    quotient = a.mean() / b.mean()
    found = mean_interval(100 * (a - quotient * b) / b.mean())
    change = float(100 * (quotient - 1))
    if found.interval is None:
        return Difference(change, None)
    return Difference(change, (change + found.interval[0], change + found.interval[1]))


def methods_of_all(tasks: Sequence[Task]) -> list[str]:
    """Return the methods that every task has, the best of the first task first."""
    return [one.method for one in tasks[0].contenders if all(task.find(one.method) for task in tasks[1:])]


def that_hold(tasks: Sequence[Task]) -> Iterator[tuple[str, str, list[Difference]]]:
    """Yield better and worse method and their differences by task, where the interval of every task says so."""
    for better, worse in permutations(methods_of_all(tasks), 2):
        pairs = [(task, task.find(better), task.find(worse)) for task in tasks]
        found = [difference(task, ours, theirs) for task, ours, theirs in pairs if ours and theirs]
        if all(one.verdict == "better" for one in found):
            yield better, worse, found


def best_by_target(task: Task) -> Iterator[tuple[str, float, float, int, list[tuple[str, float]]]]:
    """Yield axis, lower and upper end, number of images, and contenders with their errors, the best first, by bin of target.

    Each image counts once within a bin; bins of fewer than 20 images are left out.
    """
    targets = task.images.values["target"]
    for i, axis in enumerate(task.images.axes):
        edges = bins(targets[:, i])
        for low, high in pairwise(edges):
            inside = within(targets[:, i], low, high, last=high == edges[-1])
            if inside.sum() < FEWEST:
                continue
            found = [(one.name, float(one.errors.axis_errors[inside, i].mean())) for one in task.contenders]
            yield axis, float(low), float(high), int(inside.sum()), sorted(found, key=lambda pair: pair[1])


def within(values: Floats, low: float, high: float, last: bool) -> np.ndarray:
    """Return which values (n,) are in [low, high), or in [low, high] for the last bin."""
    return (values >= low) & ((values <= high) if last else (values < high))
