"""Classification over the levels: against the level (hard), or against a Gaussian around it (soft labels)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bel.angles import Axis, circular
from bel.heads.base import SCORE, HeadConfig, SingleAxisHead
from bel.heads.decoders import argmax


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
        """The most probable level, as published, and the posterior mean."""
        return {"argmax": argmax(output), "expected": self.expected(output)}

    def perfect_output(self, target: Tensor) -> Tensor:
        """Scores (B, levels) of which the target's level has the largest."""
        return SCORE * F.one_hot(self.axis.to_index(target), self.axis.levels).float()

    def posterior(self, output: Tensor) -> Tensor | None:
        """Probabilities of the levels (B, levels)."""
        return output.softmax(-1)


class SoftLabelHead(ClassificationHead):
    """Label distribution learning: a Gaussian of `sigma` levels around the label, KL divergence, expectation.

    (Gao, Xing, Xie, Wu, Geng: Deep Label Distribution Learning with Label Ambiguity, IEEE TIP 2017, section III.)
    """

    losses = ("kl",)
    options: ClassVar[Mapping[str, Any]] = {"code_bits": None, "sigma": 2.0}

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__(features, axis, config)
        self.sigma = self.options_of(config)["sigma"]

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Any, ...]:
        """Scores and label distributions (B, levels), around the label within the levels."""
        label = self.axis.to_level(target).to(output.dtype)
        label = label if self.axis.period else label.clamp(0, self.axis.levels - 1)
        level = torch.arange(self.axis.levels, dtype=label.dtype, device=label.device)
        apart = level - label[:, None]
        apart = circular(apart, self.axis.levels) if self.axis.period else apart
        return output, (-0.5 * (apart / self.sigma) ** 2).softmax(-1)

    def decode_levels(self, output: Tensor) -> dict[str, Tensor]:
        """The posterior mean, as published, and the most probable level."""
        return {"expected": self.expected(output), "argmax": argmax(output)}
