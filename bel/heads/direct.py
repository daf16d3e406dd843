"""Direct regression: one number an axis."""

from torch import Tensor, nn

from bel.angles import Axis
from bel.heads.base import HeadConfig, SingleAxisHead


class DirectHead(SingleAxisHead):
    """Direct regression: one linear output, in half ranges from the middle of the axis, whatever its unit.

    In the published recipe the output is the level itself.
    """

    losses = ("l1", "mse", "smooth_l1")
    bounded = False
    published_loss = "mse"
    published_steps = 2  # it sits in a Sequential, which the published generator yields with its parameters

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__(features, axis, config)
        raw = config.recipe == "published"
        self.middle, self.scale = (0.0, 1.0) if raw else (axis.levels / 2, axis.levels / 2)
        self.linear = nn.Linear(features, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features) -> float level (B, 1)."""
        level: Tensor = self.middle + self.scale * self.linear(features)
        return level

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Float levels and unclamped float levels."""
        return output[:, 0], self.axis.to_level(target).to(output.dtype)

    def decode_levels(self, output: Tensor) -> dict[str, Tensor]:
        """The output itself is the level."""
        return {"direct": output[:, 0]}

    def perfect_output(self, target: Tensor) -> Tensor:
        """Float levels (B, 1)."""
        return self.axis.to_level(target)[:, None].float()
