"""Is a difference real? Paired over groups, which are independent, where frames of one group are not."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats
from torch import Tensor

LEAST = 6  # groups, below which nothing is said
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences, and its 95 % interval; the interval is None where there are too few groups."""

    mean: float
    interval: tuple[float, float] | None

    @property
    def verdict(self) -> str:
        """What may be said of it."""
        if self.interval is None:
            return "cannot tell"
        low, high = self.interval
        return "no difference shown" if low <= 0 <= high else "worse" if low > 0 else "better"


def paired(ours: Tensor, theirs: Tensor) -> Difference:
    """Errors (groups,) of two contenders on the same groups -> mean of ours - theirs, by Student's t over the groups."""
    differences = ours - theirs
    count, mean = len(differences), differences.mean().item()
    if count < LEAST or not math.isfinite(mean):
        return Difference(mean, None)
    half = stats.t.ppf((1 + LEVEL) / 2, count - 1) * differences.std().item() / math.sqrt(count)
    return Difference(mean, (mean - half, mean + half))
