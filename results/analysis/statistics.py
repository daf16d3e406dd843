"""Is a difference real? Paired over groups, which are independent, where frames of one group are not."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST = 6  # groups, below which nothing is said
BOOTSTRAP_FROM, BOOTSTRAP_TO = 30, 5000  # groups with which intervals are bootstrapped; else they are Student's t
DRAWS = 4000
LEVEL = 0.95


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
def bootstrap_weights(groups: int) -> NDArray[np.float32]:
    """Return how often each group was drawn, over their number (draws, groups), with replacement and a fixed seed."""
    generator = np.random.default_rng(0)
    counts = np.empty((DRAWS, groups), np.float32)  # half of float64's time and memory; values are centred before
    for row in counts:
        row[:] = np.bincount(generator.integers(0, groups, groups), minlength=groups)
    return counts / np.float32(groups)


@cache
def half_widths(count: int, compared: int) -> tuple[float, float]:
    """Return half the width of an interval over `count` groups in standard errors: of one mean, and of `compared` ones.

    The latter holds for the differences of all pairs at once (Tukey's studentised range; for two it is Student's t), so
    also for those from the best, whichever came out best.
    """
    from scipy import stats  # imported here, because it is slow, and tables of few groups do without

    one = float(stats.t.ppf((1 + LEVEL) / 2, count - 1))
    return one, float(stats.studentized_range.ppf(LEVEL, compared, count - 1)) / 2**0.5 if compared > 2 else one


def mean_intervals(contenders: Any, compared: int = 2) -> list[Difference]:
    """Values (contenders, groups) of the same groups, each counted once -> the mean of each contender with its interval.

    For differences from the best of more than two contenders, `compared` is their number: `half_widths` says how much
    wider that makes the intervals. Below 6 groups there is no interval; below 30 and above 5,000 it is Student's t.
    Between, it is a bootstrap over the groups whose percentiles are taken as far out as t does for normal values (expanded
    percentile interval: Hesterberg, The American Statistician 2015): plain percentiles cover 93 % at 30 groups, because a
    draw varies less than its population, and the normal distribution's are closer to the mean than t's.
    """
    values = np.asarray(contenders, dtype=np.float64)
    count = values.shape[1]
    if count == 0:
        return [Difference(float("nan"), None)] * len(values)
    means = values.mean(1)
    if count < LEAST:
        return [Difference(float(mean), None) for mean in means]
    centred = values - means[:, None]
    one, all_at_once = half_widths(count, compared)
    if BOOTSTRAP_FROM <= count <= BOOTSTRAP_TO:
        from scipy import stats

        outside = stats.norm.sf(one * np.sqrt(count / (count - 1)))
        offsets = np.quantile(bootstrap_weights(count) @ centred.T.astype(np.float32), [outside, 1 - outside], axis=0)
    else:
        half = one * centred.std(1, ddof=1) / np.sqrt(count)
        offsets = np.stack([-half, half])
    ends = (means + all_at_once / one * offsets).T
    return [
        Difference(float(mean), (float(low), float(high)) if np.isfinite(mean) else None)
        for mean, (low, high) in zip(means, ends, strict=True)
    ]


def mean_interval(groups: Any) -> Difference:
    """Values (groups,) of one contender -> their mean with its interval, as by `mean_intervals`."""
    return mean_intervals(np.asarray(groups, dtype=np.float64)[None])[0]


def paired_difference(ours: Any, theirs: Any, compared: int = 2) -> Difference:
    """Errors (groups,) of two of `compared` contenders on the same groups -> mean of ours - theirs, with its interval."""
    return mean_intervals([np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)], compared)[0]
