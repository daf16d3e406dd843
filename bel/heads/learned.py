"""Learned label encodings (Shah, Aamodt: Learning Label Encodings for Deep Regression, ICLR 2023: RLEL)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bel.angles import Axis
from bel.heads.base import SCORE, CodeMatrix, HeadConfig, SingleAxisHead, bottleneck
from bel.heads.decoders import argmax, scores


class RlelHead(SingleAxisHead):
    """A real-valued code matrix that is learned with the network: Linear to theta, Linear to `bits`, times the matrix."""

    losses = ("soft_ce",)
    circular = True
    options: ClassVar[Mapping[str, Any]] = {
        "code_bits": None, "theta": 10, "bits": None, "distance_weight": 0.5, "difference_weight": 1.0,
    }  # fmt: skip
    lr_factors: ClassVar[Mapping[str, float]] = {"matrix": 10.0}

    @classmethod
    def code_width(cls, axis: Axis, config: HeadConfig) -> int:
        """Return the number of bits in the learned code of an axis: as published one a level, unless the config says it."""
        return cls.options_of(config)["bits"] or axis.levels

    @classmethod
    def code_matrices(cls, config: HeadConfig, weights: Mapping[str, Tensor]) -> dict[str, CodeMatrix]:
        """Return the learned matrices (levels, bits), real-valued."""
        return {axis.name: weights[f"head.per_axis.{axis.name}.matrix"].numpy() for axis in config.axes}

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__(features, axis, config)
        options, bits = self.options_of(config), self.code_width(axis, config)
        self.weights = options["distance_weight"], options["difference_weight"]
        self.bottleneck, width = bottleneck(features, options["theta"])
        self.bits = nn.Linear(width, bits)
        self.matrix = nn.Parameter(torch.rand(axis.levels, bits))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features) -> real-valued bits (B, bits)."""
        output: Tensor = self.bits(self.bottleneck(features))
        return output

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Any, ...]:
        """Scores, unclamped float levels, bits, the matrix, the weights of the two regularisers, and the levels of a turn."""
        level = self.axis.to_level(target).to(output.dtype)
        turn = self.axis.levels if self.axis.period else None
        return scores(output, self.matrix), level, output, self.matrix, *self.weights, turn

    def decode_levels(self, output: Tensor) -> dict[str, Tensor]:
        """The posterior mean and the most probable level."""
        score = scores(output, self.matrix)
        return {"expected": self.expected(score), "argmax": argmax(score)}

    def perfect_output(self, target: Tensor) -> Tensor:
        """Real-valued bits (B, bits) that give the target's level the largest score; exact with as many bits as levels."""
        wanted = SCORE * F.one_hot(self.axis.to_index(target), self.axis.levels).double()
        return (wanted @ torch.linalg.pinv(self.matrix.detach().double()).T).float()

    def posterior(self, output: Tensor) -> Tensor:
        """Probabilities of the levels (B, levels)."""
        return scores(output, self.matrix.to(output)).softmax(-1)
