"""Ordinal regression by ranks: output k says whether the level is above k."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bel.angles import Axis
from bel.codes.library import unary
from bel.heads.base import LOGIT, HeadConfig, SingleAxisHead
from bel.heads.decoders import native_unary


class RankHead(SingleAxisHead):
    """One logit for each rank between the levels: what the heads of ranks share."""

    losses: ClassVar[tuple[str, ...]] = ("ranks",)
    options: ClassVar[Mapping[str, Any]] = {"code_bits": None}
    words: Tensor

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__(features, axis, config)
        self.register_buffer("words", torch.from_numpy(unary(axis.levels)[:, :-1].copy()).float(), persistent=False)

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Rank logits and which ranks the level is above (B, levels - 1)."""
        return output, self.words[self.axis.to_index(target)]

    def decode_levels(self, output: Tensor) -> dict[str, Tensor]:
        """The number of ranks below, as published, and its expectation."""
        return {"rank": native_unary(output), "expected": output.sigmoid().sum(-1)}

    def perfect_output(self, target: Tensor) -> Tensor:
        """Rank logits (B, levels - 1), positive for the ranks below the target's level."""
        return LOGIT * (2 * self.words[self.axis.to_index(target)] - 1)


class OrdinalHead(RankHead):
    """One weight vector shared by all ranks and a bias each (section 3.3).

    (Cao, Mirjalili, Raschka: Rank consistent ordinal regression, 2020: CORAL.)
    """

    overfit = (5e-3, 1500)  # slow: one weight vector moves all ranks

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__(features, axis, config)
        self.linear = nn.Linear(features, 1, bias=False)
        self.bias = nn.Parameter(torch.linspace(1, 0, axis.levels)[:-1].clone())  # in order from the start

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features) -> rank logits (B, levels - 1)."""
        logits: Tensor = self.linear(features) + self.bias
        return logits


class OrCnnHead(RankHead):
    """Weights and a bias for each rank, each a classifier of its own, so that ranks may contradict each other.

    (Niu, Zhou, Wang, Gao, Hua: Ordinal Regression with Multiple Output CNN, CVPR 2016, section 3.) The paper has two outputs
    a rank and weights by the number of images; this has, as its public code, one logit a rank and no weights. Loss `ranks`
    is computed from logits. That code's is computed from probabilities, with logarithms clamped at -100: `ranks_clamped`
    equals it; the two differ where a rank is confidently wrong, which there loses its gradient.
    """

    losses: ClassVar[tuple[str, ...]] = ("ranks", "ranks_clamped")
    overfit = (5e-3, 200)

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__(features, axis, config)
        self.linear = nn.Linear(features, axis.levels - 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features) -> rank logits (B, levels - 1)."""
        logits: Tensor = self.linear(features)
        return logits


class CornHead(OrCnnHead):
    """Weights and a bias for each rank, whose probability is conditional on the rank before it; so they are consistent.

    (Shi, Cao, Raschka: Deep Neural Networks for Rank-Consistent Ordinal Regression Based On Conditional Probabilities, 2021:
    CORN, section 3.) Labels are rounded to levels.
    """

    losses = ("conditional_ranks",)

    def above(self, output: Tensor) -> Tensor:
        """Conditional rank logits (B, levels - 1) -> probabilities that the level is above each rank: their products."""
        return F.logsigmoid(output).cumsum(-1).exp()

    def decode_levels(self, output: Tensor) -> dict[str, Tensor]:
        """The number of ranks below, as published, and its expectation."""
        above = self.above(output)
        return {"rank": (above > 0.5).sum(-1).to(output.dtype), "expected": above.sum(-1)}

    def log_posterior(self, output: Tensor) -> Tensor:
        """Conditional rank logits (B, levels - 1) -> logarithms of the probabilities of the levels (B, levels)."""
        reached = F.pad(F.logsigmoid(output).cumsum(-1), (1, 0))
        return reached + F.pad(F.logsigmoid(-output), (0, 1))

    def posterior(self, output: Tensor) -> Tensor:
        """Probabilities of the levels (B, levels)."""
        return self.log_posterior(output).exp()

    def tempered(self, output: Tensor, temperature: float) -> Tensor:
        """Output (B, levels - 1) -> the output whose levels have their logarithms divided by a temperature."""
        if temperature == 1:
            return output
        scores = (self.log_posterior(output) / temperature).log_softmax(-1)
        reached = scores.flip(-1).logcumsumexp(-1).flip(-1)
        return reached[:, 1:] - scores[:, :-1]
