"""Stagewise soft regression (Yang et al.: SSR-Net, IJCAI 2018, section 3; Yang et al.: FSA-Net, CVPR 2019)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bel.angles import Axis
from bel.heads.base import SCORE, HeadConfig, SingleAxisHead

STAGES = (3, 3, 3)  # bins of each stage
STRETCH = 0.5  # by how much a stage's number of bins may change, over it; 1 would divide by zero


class StagewiseHead(SingleAxisHead):
    """From coarse to fine: each stage's expected bin divides what the stages before it left.

    Stage k gives probabilities p and shifts eta of its s bins and a stretch delta; its part of the range is
    sum(p * (i + eta)) / prod(s * (1 + delta)) over the stages up to it. Here one linear layer on the trunk gives all.
    """

    losses = ("l1", "mse")
    bounded = False

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__(features, axis, config)
        self.linear = nn.Linear(features, sum(2 * bins + 1 for bins in STAGES))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features) -> for each stage scores and shifts of its bins and a stretch (B, 21)."""
        output: Tensor = self.linear(features)
        return output

    def soft_level(self, output: Tensor) -> Tensor:
        """Outputs (B, 21) -> float level (B,) (SSR-Net, equations 3 to 6)."""
        level, width = torch.zeros_like(output[:, 0]), torch.full_like(output[:, 0], self.axis.levels)
        for bins, part in zip(STAGES, output.split([2 * bins + 1 for bins in STAGES], dim=-1), strict=True):
            scores, shifts, stretch = part.split([bins, bins, 1], dim=-1)
            width = width / (bins * (1 + STRETCH * stretch[:, 0].tanh()))
            index = torch.arange(bins, dtype=output.dtype, device=output.device)
            level = level + width * (scores.softmax(-1) * (index + shifts.tanh())).sum(-1)
        return level

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Float levels and unclamped float levels."""
        return self.soft_level(output), self.axis.to_level(target).to(output.dtype)

    def decode_levels(self, output: Tensor) -> dict[str, Tensor]:
        """The sum of the stages."""
        return {"stages": self.soft_level(output)}

    def perfect_output(self, target: Tensor) -> Tensor:
        """Outputs (B, 21): each stage is sure of its bin, the shifts of the last one give the rest; no stretch."""
        level, width, parts = self.axis.to_level(target), float(self.axis.levels), []
        for bins in STAGES:
            width /= bins
            index = (level / width).floor().clamp(0, bins - 1)
            level = level - index * width
            parts += [SCORE * F.one_hot(index.long(), bins), torch.zeros(len(level), bins + 1)]
        parts[-1][:, :-1] = (level / width).atanh()[:, None]
        return torch.cat(parts, -1).float()
