"""What is kept of a posterior over levels: its standard deviation, and how much of it lies below the target."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bel.angles import Axis, circular
from bel.heads.decoders import circular_mean


def summary(posteriors: Sequence[Tensor], targets: Tensor | None, axes: Sequence[Axis]) -> dict[str, Tensor]:
    """Posteriors (B, levels) by axis -> standard deviation in units (B, axes), and with targets the probability below each.

    A level's probability is spread evenly over its width, so that these probabilities are themselves spread evenly over
    0..1 where the posterior is calibrated (probability integral transform: Dawid, JRSS A 1984, section 5). An axis with a
    period is cut opposite to the circular mean of its posterior: deviations are the shorter way from that mean, and what is
    below a target lies between the cut and the target.
    """
    if not posteriors:
        return {}
    pairs = list(zip(posteriors, axes, strict=True))
    means = [mean_level(p, axis) for p, axis in pairs]
    away = [deviations(p, mean, axis) for (p, axis), mean in zip(pairs, means, strict=True)]
    squares = [(p * x**2).sum(-1) for (p, _), x in zip(pairs, away, strict=True)]
    found = {"std": torch.stack([s.sqrt() * axis.step for s, axis in zip(squares, axes, strict=True)], -1)}
    if targets is not None:
        below = []
        for (p, axis), mean, x, target in zip(pairs, means, away, targets.unbind(-1), strict=True):
            below.append(below_on_circle(p, mean, x, target, axis) if axis.period else below_target(p, target, axis))
        found["pit"] = torch.stack(below, -1)
    return found


def mean_level(posterior: Tensor, axis: Axis) -> Tensor:
    """Posterior (B, levels) -> its mean level (B,), the circular one on an axis with a period."""
    level = torch.arange(posterior.shape[-1], dtype=posterior.dtype, device=posterior.device)
    return circular_mean(posterior, level, axis.levels) if axis.period else posterior @ level


def deviations(posterior: Tensor, mean: Tensor, axis: Axis) -> Tensor:
    """Posterior (B, levels) and its mean level (B,) -> how far each level is above it (B, levels)."""
    level = torch.arange(posterior.shape[-1], dtype=posterior.dtype, device=posterior.device)
    return circular(level - mean[:, None], axis.levels) if axis.period else level - mean[:, None]


def below_target(posterior: Tensor, target: Tensor, axis: Axis) -> Tensor:
    """Posterior (B, levels) and target in units (B,) -> the probability below it (B,)."""
    own = axis.to_index(target)
    within = (own + 0.5 - axis.to_level(target)).clamp(0, 1)  # the part of the target's level that is above it
    part = posterior.gather(1, own[:, None]) * within[:, None]
    return (posterior.cumsum(-1).gather(1, own[:, None]) - part)[:, 0]


def below_on_circle(posterior: Tensor, mean: Tensor, away: Tensor, target: Tensor, axis: Axis) -> Tensor:
    """Posterior (B, levels), its mean (B,) and the levels' distances from it -> the probability from the cut to the target.

    The level that the cut divides is at both ends of the opened circle, with a part of its width at each.
    """
    place = circular(axis.to_level(target) - mean, axis.levels)[:, None]
    below = torch.zeros_like(posterior)
    for turns in (-1, 0, 1):
        start = away + turns * axis.levels - 0.5
        below += (place - start).clamp(0, 1) - (-0.5 * axis.levels - start).clamp(0, 1)
    return (posterior * below).sum(-1).clamp(0, 1)
