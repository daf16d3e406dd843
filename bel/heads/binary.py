"""Binary-encoded labels (Shah, Xue, Aamodt: Label Encoding for Regression Networks, ICLR 2022)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bel.angles import Axis
from bel.codes.library import code_matrix
from bel.heads.base import LOGIT, CodeMatrix, HeadConfig, SingleAxisHead, bottleneck
from bel.heads.decoders import CIRCULAR, DECODERS, scores


class BelHead(SingleAxisHead):
    """Binary-encoded labels: Linear to theta, Linear to the code's bits, nothing between (BEL, section 3.1).

    With theta none there is one Linear, from the features to the bits.
    """

    losses = ("bce", "ce", "mse", "l1")
    circular = True
    options: ClassVar[Mapping[str, Any]] = {"code": None, "code_bits": None, "theta": 10}
    matrix: Tensor

    @classmethod
    def validate(cls, config: HeadConfig) -> None:
        """Raise `UserError` where the code has no word for every level of an axis."""
        cls.code_matrices(config, {})

    @classmethod
    def code_width(cls, axis: Axis, config: HeadConfig) -> int:
        """Return the number of bits in the code of an axis."""
        return code_matrix(cls.options_of(config)["code"], axis.levels).shape[1]

    @classmethod
    def code_matrices(cls, config: HeadConfig, weights: Mapping[str, Tensor]) -> dict[str, CodeMatrix]:
        """Return the code matrix (levels, bits) of each axis, entries 0 and 1."""
        code = cls.options_of(config)["code"]
        return {axis.name: code_matrix(code, axis.levels) for axis in config.axes}

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__(features, axis, config)
        options = self.options_of(config)
        self.code_name = (
            options["code"] if isinstance(options["code"], str) else ""
        )  # by which its native decoder is found
        matrix = torch.from_numpy(code_matrix(options["code"], axis.levels)).float()
        self.register_buffer("matrix", matrix, persistent=False)  # (levels, bits)
        self.bottleneck, width = bottleneck(features, options["theta"])
        self.bits = nn.Linear(width, matrix.shape[1])

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features) -> logits (B, bits)."""
        logits: Tensor = self.bits(self.bottleneck(features))
        return logits

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """bce: logits and code words; ce: scores and levels; mse, l1: expected and unclamped float levels."""
        index = self.axis.to_index(target)
        if loss == "bce":
            return output, self.matrix[index]
        score = scores(output, self.matrix)
        if loss == "ce":
            return score, index
        level = self.axis.to_level(target).to(output.dtype)
        return self.near(self.expected(score), level), level

    def decode_levels(self, output: Tensor) -> dict[str, Tensor]:
        """Float levels (B,) by every decoder."""
        score = scores(output, self.matrix)
        decoders = CIRCULAR if self.axis.period else DECODERS
        return {name: decode(output, score, self.code_name) for name, decode in decoders.items()}

    def perfect_output(self, target: Tensor) -> Tensor:
        """Logits (B, bits) with the signs of the code words."""
        return LOGIT * (2 * self.matrix[self.axis.to_index(target)] - 1)

    def posterior(self, output: Tensor) -> Tensor:
        """Probabilities of the levels (B, levels): the likelihoods of their code words, normalised."""
        return scores(output, self.matrix.to(output)).softmax(-1)

    def wrong_bits(self, output: Tensor, target: Tensor) -> Tensor:
        """Which bits (B, bits), decoded by the sign of their logits, differ from the code word of the target."""
        return (output > 0) != (self.matrix[self.axis.to_index(target)] > 0)
