"""Classification over the levels, and HopeNet, which adds the error of the expectation."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from bel.angles import Axis
from bel.heads.base import SCORE, HeadConfig, SingleAxisHead
from bel.heads.decoders import argmax, circular_median, median

BINS, LOW, SPAN = 66, -99.0, 198.0  # of hopenet, of 3 degrees each (section 3.2)


class ClassificationHead(SingleAxisHead):
    """Classification over the levels: Linear to one score a level, softmax cross-entropy."""

    losses = ("ce",)
    circular = True
    options: ClassVar[Mapping[str, Any]] = {"code_bits": None}

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__(features, axis, config)
        self.linear = nn.Linear(features, axis.levels)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features) -> scores (B, levels)."""
        score: Tensor = self.linear(features)
        return score

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Any, ...]:
        """Scores and levels."""
        return output, self.axis.to_index(target)

    def decode_levels(self, output: Tensor) -> dict[str, Tensor]:
        """The most probable level, as published, the posterior mean, and the median, which has the least expected error."""
        return {"argmax": argmax(output), "expected": self.expected(output), "median": self.median(output)}

    def median(self, output: Tensor) -> Tensor:
        """Scores (B, levels) -> median level (B,), on a circle the level with the least expected distance round it."""
        return circular_median(output) if self.axis.period else median(output)

    def perfect_output(self, target: Tensor) -> Tensor:
        """Scores (B, levels) of which the target's level has the largest."""
        return SCORE * F.one_hot(self.axis.to_index(target), self.axis.levels).float()

    def posterior(self, output: Tensor) -> Tensor | None:
        """Probabilities of the levels (B, levels)."""
        return output.softmax(-1)


class HopenetHead(ClassificationHead):
    """Scores of 66 bins: cross-entropy with the label's bin, and `alpha` times the squared error of the expectation.

    (Ruiz, Chong, Rehg: Fine-Grained Head Pose Estimation Without Keypoints, CVPR Workshops 2018.) A pose's bins are of 3
    degrees from -99 to 99, those of another target divide its range. As published a label falls into the bin below it, and
    bin k is decoded to its lower end (section 3.2).
    """

    losses = ("ce_mse",)
    options: ClassVar[Mapping[str, Any]] = {"alpha": 1.0}

    @classmethod
    def adapt_axes(cls, axes: tuple[Axis, ...], pose: bool) -> tuple[Axis, ...]:
        """Return the axes in 66 bins."""
        if pose:
            return tuple(replace(axis, low=LOW, span=SPAN, levels=BINS) for axis in axes)
        return tuple(replace(axis, levels=BINS) for axis in axes)

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__(features, axis, config)
        self.alpha = self.options_of(config)["alpha"]

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Any, ...]:
        """Scores, bins, expected and true values in bins' units, and the weight of their squared error."""
        level = self.axis.to_level(target)
        below = level.floor().clamp(0, self.axis.levels - 1).long()
        value = self.axis.step * self.near(self.expected(output), level.to(output.dtype))
        return output, below, value, (self.axis.wrap(target) - self.axis.low).to(output.dtype), self.alpha

    def decode_levels(self, output: Tensor) -> dict[str, Tensor]:
        """The posterior mean, as published, and the most probable bin."""
        return {"expected": self.expected(output), "argmax": argmax(output)}

    def posterior(self, output: Tensor) -> None:
        """None: here the value of a bin is its lower end, not its middle as a level's is."""
