"""Binary-encoded labels (Shah, Xue, Aamodt: Label Encoding for Regression Networks, ICLR 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bel.angles import Axis
from bel.codes.library import code_matrix
from bel.heads.base import AxisHead, Codes, HeadConfig
from bel.heads.decoders import DECODERS, expected, scores


class BelAxis(AxisHead):
    """Binary-encoded labels: Linear to theta, Linear to the code's bits, nothing between (BEL, section 3.1)."""

    losses = ("bce", "ce", "mse", "l1")
    options: ClassVar[Mapping[str, Any]] = {"code": None, "code_bits": None, "theta": 10}
    matrix: Tensor

    @classmethod
    def check(cls, config: HeadConfig) -> None:
        """Raise `UserError` where the code has no word for every level of an axis."""
        assert config.code is not None
        for levels in {axis.levels for axis in config.axes}:
            code_matrix(config.code, levels)

    @classmethod
    def code_width(cls, axis: Axis, config: HeadConfig) -> int:
        """Bits of the code of an axis."""
        assert config.code is not None
        return code_matrix(config.code, axis.levels).shape[1]

    @classmethod
    def codes(cls, config: HeadConfig, weights: Mapping[str, Tensor]) -> dict[str, Codes]:
        """The code matrices (levels, bits), entries 0 and 1."""
        assert config.code is not None
        return {axis.name: code_matrix(config.code, axis.levels) for axis in config.axes}

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__(features, axis, config)
        assert config.code is not None and config.theta is not None
        self.code_name = config.code
        matrix = torch.from_numpy(code_matrix(config.code, axis.levels)).float()
        self.register_buffer("matrix", matrix, persistent=False)  # (levels, bits)
        self.bottleneck = nn.Linear(features, config.theta)
        self.bits = nn.Linear(config.theta, matrix.shape[1])

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features) -> logits (B, bits)."""
        logits: Tensor = self.bits(self.bottleneck(features))
        return logits

    def operands(self, loss: str, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """bce: logits and code words; ce: scores and levels; mse, l1: expected and unclamped float levels."""
        index = self.axis.to_index(target)
        if loss == "bce":
            return output, self.matrix[index]
        score = scores(output, self.matrix)
        return (score, index) if loss == "ce" else (expected(score), self.axis.to_level(target).to(output.dtype))

    def levels(self, output: Tensor) -> dict[str, Tensor]:
        """Float levels (B,) by every decoder."""
        score = scores(output, self.matrix)
        return {name: decode(output, score, self.code_name) for name, decode in DECODERS.items()}

    def posterior(self, output: Tensor) -> Tensor:
        """Probabilities of the levels (B, levels), each as likely as its code word."""
        return scores(output, self.matrix.to(output.dtype)).softmax(-1)

    def wrong_bits(self, output: Tensor, target: Tensor) -> Tensor:
        """Which bits (B, bits), read by the sign of their logits, differ from the code word of the target."""
        return (output > 0) != (self.matrix[self.axis.to_index(target)] > 0)
