"""Intervals around predictions, as a calibration on groups that were not trained on gives them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bel.angles import Axis, wrap_axes
from bel.heads import Head
from bel.precision import exact
from bel.training.posterior import summary


@dataclass(frozen=True)
class Calibration:
    """How wide intervals are that hold `level` of the targets: `quantiles` (axes,) times the scale of a prediction.

    The scale is the posterior's standard deviation in units at `temperatures` (axes,); from a head without a posterior
    these are None, and the scale is 1.
    """

    level: float
    axes: tuple[Axis, ...]
    quantiles: tuple[float, ...]
    temperatures: tuple[float, ...] | None = None

    def half_widths(self, head: Head, outputs: list[Tensor]) -> Tensor:
        """Outputs of a head (B, width) by axis -> half the width of each interval in units (B, axes), float64."""
        return self.limited(scales(head, outputs, self.axes, self.temperatures))

    def limited(self, scale: Tensor) -> Tensor:
        """Scales (B, axes) -> half widths in units (B, axes); no interval is wider than the period of an axis."""
        most = [axis.period / 2 if axis.period else math.inf for axis in self.axes]
        return (scale * scale.new_tensor(self.quantiles)).minimum(scale.new_tensor(most))

    def bounds(self, predictions: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions and half widths in units (B, axes) -> lower and upper ends of the intervals (B, axes).

        On an axis with a period both are within it: an interval across its seam has a lower end above the upper one, and
        the whole circle has equal ends.
        """
        return wrap_axes(predictions - half, self.axes), wrap_axes(predictions + half, self.axes)


def scales(head: Head, outputs: list[Tensor], axes: Sequence[Axis], temperatures: Sequence[float] | None) -> Tensor:
    """Return the posterior's standard deviation in units (B, axes), float64, at temperatures (axes,); without them 1.

    A level's probability is spread evenly over its width, so that no posterior, however sure, is of width 0.
    """
    if temperatures is None:
        one = exact(torch.ones_like(outputs[0][:, :1]))  # of any batch size, also in an exported network
        return torch.cat([one] * len(axes), -1)
    std = summary(head.posteriors(outputs, temperatures), None, axes)["std"]
    steps = std.new_tensor([axis.step for axis in axes])
    return (std.square() + steps.square() / 12).sqrt()
