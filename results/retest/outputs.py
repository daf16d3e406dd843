"""Outputs of networks for images of known targets: their posteriors at any temperature, and how far predictions are off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bel.angles import Axis, differences
from bel.deploy.calibration import scales
from bel.errors import UserError
from bel.heads import Head
from bel.training.evaluate import Evaluation
from bel.training.posterior import mean_level

TINY = 1e-300  # probability below which a loss does not grow


@dataclass(frozen=True)
class Part:
    """Outputs (n, width) by axis of one network's head."""

    head: Head
    outputs: list[Tensor]

    def take(self, rows: NDArray[np.bool_]) -> Part:
        """Return the rows of a mask (n,)."""
        kept = torch.from_numpy(rows)
        return replace(self, outputs=[output[kept] for output in self.outputs])


@dataclass(frozen=True)
class Outputs:
    """Images with their groups, targets and headline predictions (n, axes) in units, and the outputs of a head or of several.

    Temperatures are one an axis; None is a head without a posterior, whose scale is 1.
    """

    axes: tuple[Axis, ...]
    decoder: str
    groups: NDArray[np.str_]
    targets: Tensor
    predictions: Tensor
    parts: list[Part]

    @cached_property
    def group_names(self) -> list[str]:
        """The groups, in order."""
        return sorted(set(self.groups.tolist()))

    @cached_property
    def errors(self) -> Tensor:
        """Absolute errors (n, axes) in units."""
        return self.away(self.predictions)

    def away(self, places: Tensor) -> Tensor:
        """Return how far targets are from places (n, axes), in units, the shorter way round on an axis with a period."""
        return differences(self.targets, places, [axis.period for axis in self.axes]).abs()

    @cached_property
    def has_posterior(self) -> bool:
        """Whether the heads give one."""
        return all(part.head.posteriors([output[:1] for output in part.outputs]) for part in self.parts)

    def take(self, rows: NDArray[np.bool_]) -> Outputs:
        """Return the images of a mask (n,)."""
        ends = np.cumsum([len(part.outputs[0]) for part in self.parts])[:-1]
        parts = [part.take(own) for part, own in zip(self.parts, np.split(rows, ends), strict=True)]
        kept = torch.from_numpy(rows)
        return Outputs(self.axes, self.decoder, self.groups[rows], self.targets[kept], self.predictions[kept], parts)

    def posteriors(self, temperatures: Sequence[float]) -> list[Tensor]:
        """Return the probabilities of the levels (n, levels) of each axis."""
        each = [part.head.posteriors(part.outputs, temperatures) for part in self.parts if len(part.outputs[0])]
        return [torch.cat(axis) for axis in zip(*each, strict=True)]

    def scales(self, temperatures: Sequence[float] | None) -> Tensor:
        """Return the standard deviations (n, axes) in units by which errors are divided."""
        return torch.cat([scales(part.head, part.outputs, self.axes, temperatures) for part in self.parts])

    def losses(self, temperatures: Sequence[float]) -> Tensor:
        """Return the negative log-likelihood (n, axes) of the targets' levels."""
        each = []
        for posterior, axis, target in zip(self.posteriors(temperatures), self.axes, self.targets.T, strict=True):
            each.append(-posterior.gather(1, axis.to_index(target)[:, None])[:, 0].clamp(min=TINY).log())
        return torch.stack(each, -1)

    def central(self, temperatures: Sequence[float], level: float) -> tuple[Tensor, Tensor]:
        """Return the middles and half the widths (n, axes) in units of the posterior's central intervals of a level."""
        middles, halves = [], []
        for posterior, axis in zip(self.posteriors(temperatures), self.axes, strict=True):
            opened, first = opened_circle(posterior, axis) if axis.period else (posterior, 0.0)
            lower, upper = (quantile(opened, share) + first for share in ((1 - level) / 2, (1 + level) / 2))
            middles.append(axis.to_value((lower + upper) / 2))
            halves.append(axis.step * (upper - lower) / 2)
        return torch.stack(middles, -1), torch.stack(halves, -1)


def opened_circle(posterior: Tensor, axis: Axis) -> tuple[Tensor, Tensor]:
    """Posterior of a circle (n, levels) -> the same from the level opposite to its mean on (n, levels), and that level (n,)."""
    first = (mean_level(posterior, axis) - axis.levels / 2).ceil()
    index = (first[:, None] + torch.arange(axis.levels)).long() % axis.levels
    return posterior.gather(1, index), first


def quantile(posterior: Tensor, share: float) -> Tensor:
    """Probabilities of the levels (n, levels), each spread evenly over its width -> float level (n,) with `share` below it."""
    total = posterior.cumsum(-1)
    index = (total < share).sum(-1).clamp(max=posterior.shape[-1] - 1)[:, None]
    own = posterior.gather(1, index)
    part = (share - total.gather(1, index) + own) / own.clamp(min=TINY)
    return (index - 0.5 + part.clamp(0, 1))[:, 0]


@dataclass(frozen=True)
class Recorder:
    """A network's forward pass for `evaluate` that keeps the outputs of the head."""

    forward: Callable[[Tensor], list[Tensor]]
    kept: list[list[Tensor]]

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, S, S) -> outputs (B, width) by axis, of which a copy is kept on the CPU."""
        outputs = self.forward(images)
        self.kept.append([output.cpu() for output in outputs])
        return outputs

    def outputs(self, head: Head, evaluation: Evaluation) -> Outputs:
        """Return what was kept, of an evaluation that used this forward pass."""
        part = Part(deepcopy(head).cpu(), [torch.cat(axis) for axis in zip(*self.kept, strict=True)])
        predictions = evaluation.predictions[evaluation.headline]
        groups = np.array(evaluation.groups)
        return Outputs(evaluation.axes, evaluation.headline, groups, evaluation.targets, predictions, [part])


def joined(found: Sequence[Outputs]) -> Outputs:
    """Join outputs of different groups. Raises `UserError` where a group is in two of them."""
    names = [name for one in found for name in one.group_names]
    if len(set(names)) < len(names):
        raise UserError("the folds hold a group twice: they are not of one sweep")
    first = found[0]
    return Outputs(
        first.axes,
        first.decoder,
        np.concatenate([one.groups for one in found]),
        torch.cat([one.targets for one in found]),
        torch.cat([one.predictions for one in found]),
        [part for one in found for part in one.parts],
    )
