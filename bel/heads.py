"""Heads: what a trunk's features become, what each loss compares, and how outputs are read as levels.

A kind of head is a module for one axis; `Head` holds one for each. `losses` names the legal losses (first: default),
`options` the config fields that belong to it with their defaults, `levels` its read-outs (first: the headline).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from bel.angles import Axis
from bel.codes import code_matrix
from bel.decode import DECODERS, argmax, expected, scores
from bel.losses import LOSSES

if TYPE_CHECKING:
    from bel.config import TrainConfig

OPTIONS = ("code", "code_bits", "theta")  # config fields that not every head has


class AxisHead(nn.Module):
    """Output of one axis: features (B, features) -> output (B, width)."""

    losses: ClassVar[tuple[str, ...]]
    options: ClassVar[Mapping[str, Any]]

    @classmethod
    def check(cls, axis: Axis, config: TrainConfig) -> None:
        """Raise `UserError` where the head cannot be made for this axis."""

    def __init__(self, features: int, axis: Axis, config: TrainConfig) -> None:
        super().__init__()
        self.axis = axis

    def operands(self, loss: str, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """What the loss compares, given outputs (B, width) and targets in units (B,)."""
        raise NotImplementedError

    def levels(self, output: Tensor) -> dict[str, Tensor]:
        """Float levels (B,) by decoder."""
        raise NotImplementedError


class BelAxis(AxisHead):
    """Binary-encoded labels: Linear to theta, Linear to the code's bits, nothing between (BEL, section 3.1)."""

    losses = ("bce", "ce", "mse", "l1")
    options: ClassVar[Mapping[str, Any]] = {"code": None, "code_bits": None, "theta": 10}
    matrix: Tensor

    @classmethod
    def check(cls, axis: Axis, config: TrainConfig) -> None:
        """Raise `UserError` where the code has no word for every level of the axis."""
        assert config.code is not None
        code_matrix(config.code, axis.levels)

    def __init__(self, features: int, axis: Axis, config: TrainConfig) -> None:
        super().__init__(features, axis, config)
        assert config.code is not None and config.theta is not None
        self.code = config.code
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
        return (score, index) if loss == "ce" else (expected(score), self.axis.to_level(target).float())

    def levels(self, output: Tensor) -> dict[str, Tensor]:
        """Float levels (B,) by every decoder."""
        score = scores(output, self.matrix)
        return {name: decode(output, score, self.code) for name, decode in DECODERS.items()}


class DirectAxis(AxisHead):
    """Direct regression: one linear output, in half ranges from the axis's middle, so that any unit starts alike."""

    losses = ("l1", "mse")
    options: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, features: int, axis: Axis, config: TrainConfig) -> None:
        super().__init__(features, axis, config)
        self.linear = nn.Linear(features, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features) -> float level (B, 1)."""
        level: Tensor = self.axis.levels / 2 * (1 + self.linear(features))
        return level

    def operands(self, loss: str, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Float levels and unclamped float levels."""
        return output[:, 0], self.axis.to_level(target).float()

    def levels(self, output: Tensor) -> dict[str, Tensor]:
        """The output itself is the level."""
        return {"direct": output[:, 0]}


class ClassificationAxis(AxisHead):
    """Classification over the levels: Linear to one score a level, softmax cross-entropy."""

    losses = ("ce",)
    options: ClassVar[Mapping[str, Any]] = {"code_bits": None}

    def __init__(self, features: int, axis: Axis, config: TrainConfig) -> None:
        super().__init__(features, axis, config)
        self.linear = nn.Linear(features, axis.levels)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, features) -> scores (B, levels)."""
        score: Tensor = self.linear(features)
        return score

    def operands(self, loss: str, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and levels."""
        return output, self.axis.to_index(target)

    def levels(self, output: Tensor) -> dict[str, Tensor]:
        """The most probable level, as published, and the posterior mean."""
        return {"argmax": argmax(output), "expected": expected(output)}


HEADS: dict[str, type[AxisHead]] = {"bel": BelAxis, "direct": DirectAxis, "classification": ClassificationAxis}


class Head(nn.Module):
    """One head of the configured kind for each axis; losses add up over axes (BEL, section 4)."""

    def __init__(self, features: int, config: TrainConfig) -> None:
        super().__init__()
        kind = HEADS[config.head]
        assert config.loss is not None
        self.loss_name = config.loss
        self.per_axis = nn.ModuleDict({axis.name: kind(features, axis, config) for axis in config.axes})

    def axis_heads(self) -> list[AxisHead]:
        """The heads in the order of the axes."""
        return [head for head in self.per_axis.values() if isinstance(head, AxisHead)]

    def forward(self, features: Tensor) -> list[Tensor]:
        """Features (B, features) -> one output (B, width) an axis."""
        return [head(features) for head in self.axis_heads()]

    def loss(self, outputs: list[Tensor], targets: Tensor) -> Tensor:
        """Outputs and targets in units (B, axes) -> scalar loss."""
        loss = LOSSES[self.loss_name]
        pairs = zip(self.axis_heads(), outputs, targets.unbind(-1), strict=True)
        return torch.stack(
            [loss(*head.operands(self.loss_name, output, target)) for head, output, target in pairs]
        ).sum()

    def decode(self, outputs: list[Tensor]) -> dict[str, Tensor]:
        """Outputs -> predictions in units (B, axes), float64, by decoder, the headline first."""
        by_axis = [
            {name: head.axis.to_value(level.double()) for name, level in head.levels(output).items()}
            for head, output in zip(self.axis_heads(), outputs, strict=True)
        ]
        return {name: torch.stack([values[name] for values in by_axis], -1) for name in by_axis[0]}
