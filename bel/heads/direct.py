"""Direct regression: one number an axis, or sine and cosine of a circle, or mean and variance of a normal distribution."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bel.angles import Axis
from bel.heads.base import LOGIT, HeadConfig, SingleAxisHead
from bel.heads.decoders import direction

LEAST, MOST = 1e-8, 100.0  # of a variance, in squared half ranges
SHIFT = math.log(math.expm1(1 - LEAST))  # an output of 0 is a variance of 1


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


def variance(output: Tensor) -> Tensor:
    """Outputs (B,) -> variances (B,) by softplus, clamped to `LEAST` and `MOST`, where their gradient is 0."""
    return (F.softplus(output + SHIFT) + LEAST).clamp(LEAST, MOST)


class GaussianHead(SingleAxisHead):
    """A normal distribution an axis: its mean and variance, by the beta-NLL; `beta` 0 is the plain likelihood.

    (Seitzer, Tavakoli, Antic, Martius: On the Pitfalls of Heteroscedastic Uncertainty Estimation with Probabilistic Neural
    Networks, ICLR 2022, section 4.) Both are in half ranges from the middle of the axis, whatever its unit, as `direct` is:
    a standard deviation of ten half ranges, at which the variance is clamped, is beyond any that is learned.
    """

    losses = ("beta_nll",)
    options: ClassVar[Mapping[str, Any]] = {"beta": 0.5}
    bounded = False
    overfit = (2e-3, 300)

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__(features, axis, config)
        self.beta = self.options_of(config)["beta"]
        self.scale = axis.levels / 2
        self.linear = nn.Linear(features, 2)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features) -> mean, and what `variance` takes (B, 2)."""
        output: Tensor = self.linear(features)
        return output

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Any, ...]:
        """Means, variances and targets in half ranges, unclamped, and beta."""
        label = (self.axis.to_level(target) / self.scale - 1).to(output.dtype)
        return output[:, 0], variance(output[:, 1]), label, self.beta

    def decode_levels(self, output: Tensor) -> dict[str, Tensor]:
        """The mean."""
        return {"mean": self.scale * (1 + output[:, 0])}

    def perfect_output(self, target: Tensor) -> Tensor:
        """The target in half ranges, with the least variance (B, 2)."""
        mean = self.axis.to_level(target) / self.scale - 1
        return torch.stack([mean, torch.full_like(mean, -LOGIT)], -1).float()

    def posterior(self, output: Tensor) -> Tensor:
        """Probabilities of the levels (B, levels): normal integrals over their widths, normalised over the range."""
        mean, deviation = self.scale * (1 + output[:, :1]), self.scale * variance(output[:, 1:]).sqrt()
        edges = torch.arange(self.axis.levels + 1, dtype=output.dtype, device=output.device) - 0.5
        low, high = ((edges[i : self.axis.levels + i] - mean) / deviation for i in (0, 1))
        low, high = torch.where(low > 0, -high, low), torch.where(low > 0, -low, high)  # to the tail with small numbers
        low, high = torch.special.log_ndtr(low), torch.special.log_ndtr(high)
        return (high + (-torch.expm1(low - high)).log()).softmax(-1)

    def tempered(self, output: Tensor, temperature: float) -> Tensor:
        """Output (B, 2) -> the output whose variance is larger by a temperature."""
        if temperature == 1:
            return output
        spread = (temperature * variance(output[:, 1]) - LEAST).clamp(min=LEAST**2)
        return torch.stack([output[:, 0], spread + (-torch.expm1(-spread)).log() - SHIFT], -1)
