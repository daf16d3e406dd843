"""Is a difference real? Paired over groups, which are independent, where frames of one group are not."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEAST = 6  # groups, below which nothing is said
MANY = 30  # groups, from which on they are drawn again instead of taken for normal
DRAWS = 4000
LEVEL = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A mean over groups, or of paired differences, and its 95 % interval; the interval is None with too few groups."""

    mean: float
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """What may be said of it, as a difference of errors."""
        if self.interval is None:
            return "cannot tell"
        low, high = self.interval
        return "no difference shown" if low <= 0 <= high else "worse" if low > 0 else "better"


@cache
def weights(groups: int) -> Floats:
    """How often each group was drawn, over their number (draws, groups), with replacement and always the same ones."""
    return np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), DRAWS) / groups


def mean_over(groups: Any) -> Difference:
    """Values of groups (groups,), each counted once -> their mean with its interval.

    By bootstrap over the groups from 30 on (percentiles: Efron, Tibshirani, 1993, chapter 13), by Student's t below, none
    below 6.
    """
    values = np.asarray(groups, dtype=np.float64)
    count, mean = len(values), float(values.mean()) if len(values) else float("nan")
    if count < LEAST or not np.isfinite(mean):
        return Difference(mean, None)
    if count < MANY:
        half = stats.t.ppf((1 + LEVEL) / 2, count - 1) * values.std(ddof=1) / np.sqrt(count)
        return Difference(mean, (mean - half, mean + half))
    low, high = np.quantile(weights(count) @ values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Difference(mean, (float(low), float(high)))


def paired(ours: Any, theirs: Any) -> Difference:
    """Errors (groups,) of two contenders on the same groups -> mean of ours - theirs, with its interval."""
    return mean_over(np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64))
