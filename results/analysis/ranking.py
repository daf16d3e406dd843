"""Which run is best: the one order of runs, configurations and leaderboards, in every table, command and sweep.

It imports nothing of ours, so that a running sweep orders by it what MLflow does not have yet.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")


def rank_key(error: float, name: str, lacks: bool = False, stopped: bool = False) -> tuple[bool, bool, float, str]:
    """Return a sort key: complete configurations first, then those not stopped early, then by error; NaN sorts last.

    Errors that differ by rounding only are equal; then the name decides.
    """
    return lacks, stopped, round(error, 9) if math.isfinite(error) else math.inf, configuration_name(name)


def configuration_name(name: str) -> str:
    """Return the name of a run without its seed and fold."""
    return re.sub(r" (s\d+|fold=\d+)(?= |$)", "", name)


def table_key(selection: str, folds: str, mean: str, size: int) -> tuple[bool, bool, bool, int]:
    """Return a sort key of leaderboards: clean numbers first, then means over groups, then out of fold, then the largest."""
    return selection == "test", mean != "groups", not folds, -size


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Return items by their key, keys in the order of their first items."""
    found: dict[K, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def complete_seeds(by_seed: Mapping[str, list[T]], folds: int) -> dict[str, list[T]]:
    """Return the seeds of a configuration that have all their folds: those count, unless there is none."""
    return {seed: runs for seed, runs in by_seed.items() if len(runs) == folds}


def pooled_mean(errors: Iterable[float], counts: Iterable[float]) -> float:
    """Return the mean of errors weighted by their numbers of groups (or images): of folds, the mean over all groups."""
    pairs = list(zip(errors, counts, strict=True))
    return sum(error * count for error, count in pairs) / sum(count for _, count in pairs)


def mean_by_decoder(errors: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of errors that are given by decoder for each of several seeds, to nine digits, the headline first."""
    shared = [decoder for decoder in errors[0] if all(decoder in one for one in errors)]
    return {decoder: round(fmean(one[decoder] for one in errors), 9) for decoder in shared}
