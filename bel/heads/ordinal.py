"""Ordinal regression by ranks (Cao, Mirjalili, Raschka: Rank consistent ordinal regression, 2020: CORAL)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bel.angles import Axis
from bel.codes.library import unary
from bel.heads.base import LOGIT, HeadConfig, SingleAxisHead
from bel.heads.decoders import native_unary


class OrdinalHead(SingleAxisHead):
    """One weight vector shared by all ranks and a bias each: logit k says whether the level is above k (section 3.3)."""

    losses = ("ranks",)
    options: ClassVar[Mapping[str, Any]] = {"code_bits": None}
    overfit = (5e-3, 1500)  # slow: one weight vector moves all ranks
    words: Tensor

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__(features, axis, config)
        self.register_buffer("words", torch.from_numpy(unary(axis.levels)[:, :-1].copy()).float(), persistent=False)
        self.linear = nn.Linear(features, 1, bias=False)
        self.bias = nn.Parameter(torch.linspace(1, 0, axis.levels)[:-1].clone())  # in order from the start

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features) -> rank logits (B, levels - 1)."""
        logits: Tensor = self.linear(features) + self.bias
        return logits

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Rank logits and which ranks the level is above (B, levels - 1)."""
        return output, self.words[self.axis.to_index(target)]

    def decode_levels(self, output: Tensor) -> dict[str, Tensor]:
        """The number of ranks below, as published, and its expectation."""
        return {"rank": native_unary(output), "expected": output.sigmoid().sum(-1)}

    def perfect_output(self, target: Tensor) -> Tensor:
        """Rank logits (B, levels - 1), positive for the ranks below the target's level."""
        return LOGIT * (2 * self.words[self.axis.to_index(target)] - 1)
