"""Direct regression within the range of its axis, by the logarithm of the hyperbolic cosine of the error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bel.angles import Axis
from bel.config_fields import option
from bel.heads import SingleAxisHead
from bel.heads.base import HeadConfig
from bel.heads.losses import average


def log_cosh(level: Tensor, target: Tensor, sharpness: float, weights: Tensor | None = None) -> Tensor:
    """Float levels (B,) against float levels (B,): log cosh of `sharpness` times the error, mean over images."""
    error = sharpness * (level - target)
    each = error + F.softplus(-2 * error) - math.log(2)
    return each.mean() if weights is None else average(each, weights)


class LogCoshHead(SingleAxisHead):
    """One logit an axis, squashed into its range."""

    losses = ("log_cosh", "l1")
    own_losses: ClassVar[Mapping[str, Any]] = {"log_cosh": log_cosh}
    options: ClassVar[Mapping[str, Any]] = {"sharpness": 1.0}
    new_fields: ClassVar[Mapping[str, Any]] = {
        "sharpness": option(None, "slope of head log_cosh's loss a level; default 1", low=0.01, high=100)
    }

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__(features, axis, config)
        self.sharpness = self.options_of(config)["sharpness"]
        self.linear = nn.Linear(features, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features) -> logit (B, 1)."""
        logit: Tensor = self.linear(features)
        return logit

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Tensor | float, ...]:
        """Return float levels (B,), predicted and true."""
        levels = self.decode_levels(output)["squashed"], self.axis.to_level(target).to(output.dtype)
        return (*levels, self.sharpness) if loss == "log_cosh" else levels

    def decode_levels(self, output: Tensor) -> dict[str, Tensor]:
        """Logit (B, 1) -> float level (B,)."""
        return {"squashed": (self.axis.levels - 1) * torch.sigmoid(output[:, 0])}

    def perfect_output(self, target: Tensor) -> Tensor:
        """Target in units (B,) -> logit (B, 1)."""
        return (self.axis.to_level(target) / (self.axis.levels - 1)).logit(1e-7)[:, None].float()
