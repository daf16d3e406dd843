"""What every kind of head is: outputs of all axes from a trunk's features, a loss, and read-outs in units.

`losses` names the legal losses (first: default), `options` the config fields that belong to a kind with their defaults,
`rates` the learning rate of a parameter, by its own name, over the trunk's, where it is not that of other heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bel.angles import Axis
from bel.heads.losses import LOSSES

Codes = NDArray[np.uint8] | NDArray[np.float32]


class HeadConfig(Protocol):
    """What heads need of a config: its axes, its own name for the data, and the fields that `options` may name."""

    @property
    def axes(self) -> tuple[Axis, ...]: ...
    @property
    def pose(self) -> bool: ...
    @property
    def protocol_name(self) -> str: ...
    @property
    def recipe(self) -> str: ...
    @property
    def loss(self) -> str | None: ...
    @property
    def code(self) -> str | None: ...
    @property
    def theta(self) -> int | None: ...
    @property
    def bits(self) -> int | None: ...
    @property
    def distance_weight(self) -> float | None: ...
    @property
    def difference_weight(self) -> float | None: ...
    @property
    def alpha(self) -> float | None: ...
    @property
    def sigma(self) -> float | None: ...


class Kind(nn.Module):
    """A kind of head: what it may be trained with, and the head it builds for the axes of a config."""

    losses: ClassVar[tuple[str, ...]]
    options: ClassVar[Mapping[str, Any]] = {}
    rates: ClassVar[Mapping[str, float]] = {}
    published_steps: ClassVar[int] = 1  # Adam steps a batch in the published training
    published_loss: ClassVar[str | None] = None  # where it is not the default

    @classmethod
    def check(cls, config: HeadConfig) -> None:
        """Raise `UserError` where the head cannot be made for the axes of a config."""

    @classmethod
    def cut(cls, axes: tuple[Axis, ...], pose: bool) -> tuple[Axis, ...]:
        """The axes with the levels that this kind of head gives them."""
        return axes

    @classmethod
    def code_width(cls, axis: Axis, config: HeadConfig) -> int | None:
        """Bits of the code of an axis; None for a head without one."""
        return None

    @classmethod
    def codes(cls, config: HeadConfig, weights: Mapping[str, Tensor]) -> dict[str, Codes]:
        """Code matrix (levels, bits) by axis, given the weights of a whole network; empty for a head without one."""
        return {}

    @classmethod
    def build(cls, features: int, config: HeadConfig) -> Head:
        """The head of a config on a trunk with `features` outputs."""
        raise NotImplementedError


class Head(Kind):
    """The outputs of all axes: features (B, features) -> a list of tensors (B, width)."""

    def forward(self, features: Tensor) -> list[Tensor]:
        """Features (B, features) -> outputs."""
        raise NotImplementedError

    def loss(self, outputs: list[Tensor], targets: Tensor) -> Tensor:
        """Outputs and targets in units (B, axes) -> scalar loss."""
        raise NotImplementedError

    def decode(self, outputs: list[Tensor]) -> dict[str, Tensor]:
        """Outputs -> predictions in units (B, axes), float64, by decoder, the headline first."""
        raise NotImplementedError

    def posteriors(self, outputs: list[Tensor]) -> list[Tensor]:
        """Probabilities of the levels (B, levels) of each axis, float64; none from a head that gives none."""
        return []

    def wrong_bits(self, outputs: list[Tensor], targets: Tensor) -> list[Tensor]:
        """Which bits (B, bits) of each axis differ from the code word of the target; none from a head without a 0/1 code."""
        return []


class AxisHead(Kind):
    """A kind of head that treats each axis by itself: features (B, features) -> output (B, width)."""

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__()
        self.axis = axis

    @classmethod
    def build(cls, features: int, config: HeadConfig) -> Head:
        """One head of this kind for each axis."""
        return PerAxis([cls(features, axis, config) for axis in config.axes], config)

    def operands(self, loss: str, output: Tensor, target: Tensor) -> tuple[Any, ...]:
        """What the loss takes, given outputs (B, width) and targets in units (B,)."""
        raise NotImplementedError

    def levels(self, output: Tensor) -> dict[str, Tensor]:
        """Float levels (B,) by decoder."""
        raise NotImplementedError

    def posterior(self, output: Tensor) -> Tensor | None:
        """Probabilities of the levels (B, levels); None from a head that gives none."""
        return None

    def wrong_bits(self, output: Tensor, target: Tensor) -> Tensor | None:
        """Which bits (B, bits) differ from the code word of the target; None from a head without a 0/1 code."""
        return None


class PerAxis(Head):
    """One head of a kind for each axis; losses add up over axes (BEL, section 4)."""

    def __init__(self, heads: Sequence[AxisHead], config: HeadConfig) -> None:
        super().__init__()
        assert config.loss is not None
        self.loss_name = config.loss
        self.per_axis = nn.ModuleDict({head.axis.name: head for head in heads})

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

    def posteriors(self, outputs: list[Tensor]) -> list[Tensor]:
        """Probabilities of the levels (B, levels) of each axis, float64; none from a head that gives none."""
        each = [head.posterior(output.double()) for head, output in zip(self.axis_heads(), outputs, strict=True)]
        return [posterior for posterior in each if posterior is not None]

    def wrong_bits(self, outputs: list[Tensor], targets: Tensor) -> list[Tensor]:
        """Which bits (B, bits) of each axis differ from the code word of the target; none from a head without a 0/1 code."""
        triples = zip(self.axis_heads(), outputs, targets.unbind(-1), strict=True)
        each = [head.wrong_bits(output, target) for head, output, target in triples]
        return [wrong for wrong in each if wrong is not None]
