"""Learned label encodings (Shah, Aamodt: Learning Label Encodings for Deep Regression, ICLR 2023: RLEL)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bel.angles import Axis
from bel.heads.base import AxisHead, Codes, HeadConfig
from bel.heads.decoders import argmax, expected, scores


class LearnedAxis(AxisHead):
    """A real-valued code matrix that is learned with the network: Linear to theta, Linear to `bits`, times the matrix."""

    losses = ("soft_ce",)
    options: ClassVar[Mapping[str, Any]] = {
        "code_bits": None, "theta": 10, "bits": None, "distance_weight": 0.5, "difference_weight": 1.0,
    }  # fmt: skip
    rates: ClassVar[Mapping[str, float]] = {"matrix": 10.0}

    @classmethod
    def code_width(cls, axis: Axis, config: HeadConfig) -> int:
        """Bits of the learned code of an axis: as published one a level, unless the config says how many."""
        return config.bits or axis.levels

    @classmethod
    def codes(cls, config: HeadConfig, weights: Mapping[str, Tensor]) -> dict[str, Codes]:
        """The learned matrices (levels, bits), real-valued."""
        return {axis.name: weights[f"head.per_axis.{axis.name}.matrix"].numpy() for axis in config.axes}

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__(features, axis, config)
        assert config.theta is not None
        bits = self.code_width(axis, config)
        self.weights = config.distance_weight, config.difference_weight
        self.bottleneck = nn.Linear(features, config.theta)
        self.bits = nn.Linear(config.theta, bits)
        self.matrix = nn.Parameter(torch.rand(axis.levels, bits))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features) -> real-valued bits (B, bits)."""
        output: Tensor = self.bits(self.bottleneck(features))
        return output

    def operands(self, loss: str, output: Tensor, target: Tensor) -> tuple[Any, ...]:
        """Scores, unclamped float levels, bits, the matrix, and the weights of the two regularisers."""
        level = self.axis.to_level(target).to(output.dtype)
        return scores(output, self.matrix), level, output, self.matrix, *self.weights

    def levels(self, output: Tensor) -> dict[str, Tensor]:
        """The posterior mean and the most probable level."""
        score = scores(output, self.matrix)
        return {"expected": expected(score), "argmax": argmax(score)}

    def posterior(self, output: Tensor) -> Tensor:
        """Probabilities of the levels (B, levels)."""
        return scores(output, self.matrix.to(output.dtype)).softmax(-1)
