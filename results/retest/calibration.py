"""The temperatures and intervals that calibration groups give, and how far they hold on other groups."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize_scalar

from bel.data.groups import group_means
from bel.deploy.calibration import Calibration
from bel.errors import UserError
from results.analysis.conformal import greatest_level, grouped_quantile, least_groups, pooled_share
from results.retest.outputs import Outputs

Floats = NDArray[np.float64]
TEMPERATURES = np.geomspace(0.1, 100, 97)  # at which the likelihood is computed, 7 % apart
MOST_PARTS, PARTS = 50, 10  # groups that are left out one by one; of more, so many parts are
INTERVALS = ("raw", "tempered", "conformal")  # the posterior's, the same at its temperature, ours
FIGURES = ("coverage", "width", "nll")
Key = tuple[str, str]  # one of FIGURES, and of INTERVALS


@dataclass(frozen=True)
class Measured:
    """What intervals came to on groups that did not calibrate them: by `Key` values (axes,), means over groups."""

    groups: int
    images: int
    values: Mapping[Key, Floats]


def refuse_few(groups: int, level: float) -> None:
    """Raise `UserError` where there are fewer groups than intervals of a level need."""
    if groups < (needed := least_groups(level)):
        possible = f"--level {np.floor(100 * greatest_level(groups)) / 100:g} or below, or " if groups > 1 else ""
        raise UserError(
            f"intervals of {level:.4g} need at least {needed} calibration groups, there are {groups}: take {possible}a run "
            "with more validation groups, such as the folds of a tuned sweep"
        )


def likelihoods(outputs: Outputs) -> Floats:
    """Return the negative log-likelihood (temperatures, groups, axes) of each group at `TEMPERATURES`, means over images."""
    each = [outputs.losses([float(t)] * len(outputs.axes)).numpy() for t in TEMPERATURES]
    return np.stack([group_means(loss, outputs.groups) for loss in each])


def best_temperatures(losses: Floats) -> tuple[float, ...]:
    """Losses (temperatures, groups, axes) at `TEMPERATURES` -> the temperatures (axes,) of the least mean over groups."""
    found, places = [], np.log(TEMPERATURES)
    for curve in losses.mean(1).T:
        best = int(curve.argmin())
        bounds = places[max(best - 1, 0)], places[min(best + 1, len(places) - 1)]
        spline = CubicSpline(places, curve)
        least = minimize_scalar(
            lambda x, f=spline: float(f(x)), bounds=bounds, method="bounded", options={"xatol": 1e-6}
        )
        found.append(float(np.exp(least.x)))
    return tuple(found)


def calibrate(outputs: Outputs, level: float, losses: Floats | None, share: float | None = None) -> Calibration:
    """Return temperatures and intervals of a level from outputs for calibration groups; `losses` are their `likelihoods`.

    `share` is how much of their pooled scores is below the quantile, by default what guarantees the level. Raises
    `UserError` for too few groups for that.
    """
    if share is None:
        refuse_few(len(outputs.group_names), level)
        share = pooled_share(len(outputs.group_names), level)
    temperatures = None if losses is None else best_temperatures(losses)
    scores = (outputs.errors / outputs.scales(temperatures)).numpy()
    quantiles = grouped_quantile(scores, outputs.groups, share)
    return Calibration(level, outputs.axes, tuple(map(float, quantiles)), temperatures)


def by_image(outputs: Outputs, calibration: Calibration) -> dict[Key, Floats]:
    """Return coverage and width of the intervals, and losses of the posterior, of each image (n, axes), by `Key`."""
    half = calibration.limited(outputs.scales(calibration.temperatures))
    found = {("coverage", "conformal"): outputs.errors <= half, ("width", "conformal"): 2 * half}
    if calibration.temperatures is not None:
        pairs = {"raw": [1.0] * len(outputs.axes), "tempered": calibration.temperatures}
        for name, temperatures in pairs.items():
            middle, central = outputs.central(temperatures, calibration.level)
            found["coverage", name] = outputs.away(middle) <= central
            found["width", name] = 2 * central
            found["nll", name] = outputs.losses(temperatures)
    return {key: values.double().numpy() for key, values in found.items()}


def measured(groups: NDArray[np.str_], values: Mapping[Key, Floats]) -> Measured:
    """Average values of images (n, axes) over each group and over groups."""
    means = {key: group_means(value, groups).mean(0) for key, value in values.items()}
    return Measured(len(np.unique(groups)), len(groups), means)


def on_others(networks: Sequence[Outputs], calibration: Calibration) -> Measured:
    """Measure the intervals of one or several networks on the same images of other groups, as means over networks."""
    each = [by_image(outputs, calibration) for outputs in networks]
    return measured(networks[0].groups, {key: np.mean([one[key] for one in each], 0) for key in each[0]})


def on_left_out(outputs: Outputs, level: float, losses: Floats | None) -> Measured | None:
    """Measure on each group the intervals that all other groups give; None for one group.

    As what is measured are the intervals of all groups, the quantile of the others has the share of scores below it that
    it has of all. Of more than `MOST_PARTS` groups, parts are left out together.
    """
    names = np.array(outputs.group_names)
    count = len(names) if len(names) <= MOST_PARTS else PARTS
    part = np.arange(len(names)) % count
    if count < 2:
        return None
    share = pooled_share(len(names), level)
    index = part[np.searchsorted(names, outputs.groups)]
    values: dict[Key, Floats] = {}
    for number in range(count):
        kept = None if losses is None else losses[:, part != number]
        others = calibrate(outputs.take(index != number), level, kept, share)
        found = by_image(outputs.take(index == number), others)
        for key, value in found.items():
            values.setdefault(key, np.empty((len(index), len(outputs.axes))))[index == number] = value
    return measured(outputs.groups, values)
