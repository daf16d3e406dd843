"""Direct regression: one number an axis, or sine and cosine of an axis with a period."""

import math

import torch
from torch import Tensor, nn

from bel.angles import Axis
from bel.heads.base import HeadConfig, SingleAxisHead
from bel.heads.decoders import direction


class DirectHead(SingleAxisHead):
    """Direct regression: one linear output, in half ranges from the middle of the axis, whatever its unit.

    In the published recipe the output is the level itself. On an axis with a period two outputs are sine and cosine of the
    angle, which the loss compares with those of the label; their direction is the prediction, whatever their length.
    """

    losses = ("l1", "mse", "smooth_l1")
    circular = True
    bounded = False
    published_loss = "mse"
    published_steps = 2  # it sits in a Sequential, which the published generator yields with its parameters

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__(features, axis, config)
        raw = config.recipe == "published"
        self.middle, self.scale = (0.0, 1.0) if raw or axis.period else (axis.levels / 2, axis.levels / 2)
        self.linear = nn.Linear(features, 2 if axis.period else 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features) -> float level (B, 1), or sine and cosine (B, 2)."""
        level: Tensor = self.middle + self.scale * self.linear(features)
        return level

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Float levels and unclamped float levels (B,), or sines and cosines (B, 2)."""
        if self.axis.period:
            return output, self.perfect_output(target)
        return output[:, 0], self.axis.to_level(target).to(output.dtype)

    def decode_levels(self, output: Tensor) -> dict[str, Tensor]:
        """The output itself is the level, or has its direction."""
        if self.axis.period:
            return {"direct": direction(output[:, 0], output[:, 1], self.axis.levels)}
        return {"direct": output[:, 0]}

    def perfect_output(self, target: Tensor) -> Tensor:
        """Float levels (B, 1), or sine and cosine (B, 2)."""
        level = self.axis.to_level(target)
        if self.axis.period:
            angle = level * (2 * math.pi / self.axis.levels)
            return torch.stack([angle.sin(), angle.cos()], -1).float()
        return level[:, None].float()
