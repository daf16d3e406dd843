"""Which is best: the one order of runs, of configurations and of tables, in every table, command and sweep.

It imports nothing of ours, so that a running sweep orders by it what MLflow does not have yet.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

# Of a run's best epoch: the error that ranks, for which each group counts once, and the one for which each image does.
T = TypeVar("T")


def rank_key(error: float, name: str, lacks: bool = False, stopped: bool = False) -> tuple[bool, bool, float, str]:
    """A sort key: what lacks no repeat first, then what was not stopped early, then the least error, which NaN is not.

    Errors that differ by rounding only are equal; then the name decides.
    """
    return lacks, stopped, round(error, 9) if math.isfinite(error) else math.inf, configuration_name(name)


def configuration_name(name: str) -> str:
    """The name of a run without its seed and its fold: that of its configuration."""
    return re.sub(r" (s\d+|fold=\d+)(?= |$)", "", name)


def table_key(selection: str, folds: str, mean: str, size: int) -> tuple[bool, bool, bool, int]:
    """A sort key of tables: clean numbers first, then means over groups, then out of fold, then the largest."""
    return selection == "test", mean != "groups", not folds, -size


def complete_seeds(by_seed: Mapping[str, list[T]], folds: int) -> dict[str, list[T]]:
    """The seeds of a configuration that have all their folds: those whose error counts, unless there is none."""
    return {seed: runs for seed, runs in by_seed.items() if len(runs) == folds}


def pooled_mean(errors: Iterable[float], counts: Iterable[float]) -> float:
    """Mean of the errors of runs, each of so many groups (or images): over folds the mean of all of them."""
    pairs = list(zip(errors, counts, strict=True))
    return sum(error * count for error, count in pairs) / sum(count for _, count in pairs)
