"""What a head is: outputs of all axes from a trunk's features, a loss, and decoders that give predictions in units.

A new head is one file with a subclass of `Head` or of `SingleAxisHead`, and one entry of `HEADS`; `bel.testing.heads`
checks it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bel.angles import Axis, circular
from bel.heads.decoders import circular_expected, expected
from bel.heads.losses import LOSSES
from bel.precision import exact

CodeMatrix = NDArray[np.uint8] | NDArray[np.float32]
LOGIT, SCORE = 40.0, 1e3  # of a bit and of a level in perfect outputs: their probabilities are 1 in float32

NO_BOTTLENECK = "none"  # as theta


def bottleneck(features: int, theta: int | str) -> tuple[nn.Module, int]:
    """Return a linear layer to `theta` outputs, and their number; with theta none the features themselves."""
    if theta == NO_BOTTLENECK:
        return nn.Identity(), features
    width = int(theta)
    return nn.Linear(features, width), width


class HeadConfig(Protocol):
    """What every head needs of a config; a head's own fields are those that its `options` name."""

    @property
    def axes(self) -> tuple[Axis, ...]: ...
    @property
    def recipe(self) -> str: ...
    @property
    def loss(self) -> str | None: ...


class BaseHead(nn.Module):
    """What a head declares, and how it is built for the axes of a config.

    `losses` are keys of `LOSSES`, the default first; `options` are the config fields that belong to the head, with their
    defaults; `lr_factors` are learning rates of parameters by their last name, relative to the trunk's, where they are
    not `head_lr_factor`. The head of a plug-in may bring functions of losses, `own_losses`, and among its options config
    fields of its own, `new_fields`: by name what `bel.config_fields.option` returns.
    """

    losses: ClassVar[tuple[str, ...]]
    options: ClassVar[Mapping[str, Any]] = {}
    new_fields: ClassVar[Mapping[str, Any]] = {}
    own_losses: ClassVar[Mapping[str, Callable[..., Tensor]]] = {}
    lr_factors: ClassVar[Mapping[str, float]] = {}
    published_steps: ClassVar[int] = 1  # Adam steps a batch in the published training
    published_loss: ClassVar[str | None] = None  # where it is not the default
    pose_only: ClassVar[bool] = False  # whether its axes must be yaw, pitch and roll
    circular: ClassVar[bool] = False  # whether an axis may have a period, on which its levels and errors wrap
    bounded: ClassVar[bool] = True  # whether every prediction is within the range of its axis
    overfit: ClassVar[tuple[float, int]] = (2e-3, 600)  # learning rate and steps with which it fits two batches

    @classmethod
    def options_of(cls, config: HeadConfig) -> dict[str, Any]:
        """Return the values of the head's `options` in a config, by name."""
        return {name: getattr(config, name) for name in cls.options}

    @classmethod
    def validate(cls, config: HeadConfig) -> None:
        """Raise `UserError` where the head cannot be built for the axes of a config."""

    @classmethod
    def adapt_axes(cls, axes: tuple[Axis, ...], pose: bool) -> tuple[Axis, ...]:
        """Return the axes with the ranges and levels that this head has for them."""
        return axes

    @classmethod
    def code_width(cls, axis: Axis, config: HeadConfig) -> int | None:
        """Return the number of bits in the code of an axis; None for a head without a code."""
        return None

    @classmethod
    def code_matrices(cls, config: HeadConfig, weights: Mapping[str, Tensor]) -> dict[str, CodeMatrix]:
        """Return the code matrix (levels, bits) of each axis, given a network's weights; empty for a head without one."""
        return {}

    @classmethod
    def build(cls, features: int, config: HeadConfig) -> Head:
        """Build the head of a config on a trunk with `features` outputs."""
        raise NotImplementedError


class Head(BaseHead):
    """The outputs of all axes: features (B, features) -> a list of tensors (B, width), by `forward`."""

    def loss(self, outputs: list[Tensor], targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Outputs, targets in units (B, axes), and weights (B, axes) of the images where they do not count alike -> loss ()."""
        raise NotImplementedError

    def decode(self, outputs: list[Tensor]) -> dict[str, Tensor]:
        """Outputs -> predictions in units (B, axes), float64, by decoder, the headline first.

        They are on the device of the outputs, or on the CPU where it has no float64; so are posteriors.
        """
        raise NotImplementedError

    def perfect_outputs(self, targets: Tensor) -> list[Tensor]:
        """Targets in units (B, axes), at levels of their axes -> outputs that every decoder decodes to these targets."""
        raise NotImplementedError

    def posteriors(self, outputs: list[Tensor], temperatures: Sequence[float] | None = None) -> list[Tensor]:
        """Probabilities of the levels (B, levels) of each axis, float64; none from a head that gives none.

        `temperatures` (axes,) divide the scores before the softmax; without them the posterior is the trained one.
        """
        return []

    def wrong_bits(self, outputs: list[Tensor], targets: Tensor) -> list[Tensor]:
        """Which bits (B, bits) of each axis differ from the code word of the target; none from a head without a 0/1 code."""
        return []


class SingleAxisHead(BaseHead):
    """A head that treats each axis separately: features (B, features) -> output (B, width) of one axis."""

    def __init__(self, features: int, axis: Axis, config: HeadConfig) -> None:
        super().__init__()
        self.axis = axis

    @classmethod
    def build(cls, features: int, config: HeadConfig) -> Head:
        """Build one such head for each axis."""
        return PerAxisHead([cls(features, axis, config) for axis in config.axes], config)

    def expected(self, scores: Tensor) -> Tensor:
        """Scores (B, levels) -> posterior mean level (B,), the circular one on an axis with a period."""
        return circular_expected(scores) if self.axis.period else expected(scores)

    def near(self, level: Tensor, target: Tensor) -> Tensor:
        """Levels (B,) -> on an axis with a period moved by whole turns to within half a turn of target levels (B,)."""
        return target + circular(level - target, self.axis.levels) if self.axis.period else level

    def loss_inputs(self, loss: str, output: Tensor, target: Tensor) -> tuple[Any, ...]:
        """Output (B, width) and target in units (B,) -> arguments of the function `LOSSES[loss]`, but its `weights` (B,)."""
        raise NotImplementedError

    def decode_levels(self, output: Tensor) -> dict[str, Tensor]:
        """Output (B, width) -> float levels (B,) by decoder, the headline first."""
        raise NotImplementedError

    def perfect_output(self, target: Tensor) -> Tensor:
        """Target in units (B,), at levels of the axis -> output (B, width) that every decoder decodes to it."""
        raise NotImplementedError

    def posterior(self, output: Tensor) -> Tensor | None:
        """Probabilities of the levels (B, levels); None from a head that gives none."""
        return None

    def tempered(self, output: Tensor, temperature: float) -> Tensor:
        """Output (B, width) -> the output whose posterior has its scores divided by a temperature (Guo et al., ICML 2017).

        Here the output itself is divided, which is right where scores are linear in it, as those of a code matrix or of
        a softmax are; a head of another kind overrides it.
        """
        return output / temperature

    def wrong_bits(self, output: Tensor, target: Tensor) -> Tensor | None:
        """Which bits (B, bits) differ from the code word of the target; None from a head without a 0/1 code."""
        return None


class PerAxisHead(Head):
    """A `SingleAxisHead` for each axis; losses add up over axes (BEL, section 4)."""

    def __init__(self, heads: Sequence[SingleAxisHead], config: HeadConfig) -> None:
        super().__init__()
        assert config.loss is not None
        self.loss_name = config.loss
        self.per_axis = nn.ModuleDict({head.axis.name: head for head in heads})

    def axis_heads(self) -> list[SingleAxisHead]:
        """Return the heads in the order of the axes."""
        return [head for head in self.per_axis.values() if isinstance(head, SingleAxisHead)]

    def forward(self, features: Tensor) -> list[Tensor]:
        """Features (B, features) -> one output (B, width) an axis."""
        return [head(features) for head in self.axis_heads()]

    def loss(self, outputs: list[Tensor], targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Outputs, targets in units (B, axes), and weights (B, axes) of each axis's part, if any -> scalar loss."""
        loss = (LOSSES | dict(self.axis_heads()[0].own_losses))[self.loss_name]
        shares: list[dict[str, Tensor]] = [{}] * len(outputs)
        if weights is not None:
            shares = [{"weights": column.to(outputs[0].dtype)} for column in weights.unbind(-1)]
        each = zip(self.axis_heads(), outputs, targets.unbind(-1), shares, strict=True)
        return torch.stack(
            [loss(*head.loss_inputs(self.loss_name, output, y), **share) for head, output, y, share in each]
        ).sum()

    def decode(self, outputs: list[Tensor]) -> dict[str, Tensor]:
        """Outputs -> predictions in units (B, axes), float64, by decoder, the headline first."""
        by_axis = [
            {name: head.axis.to_value(exact(level)) for name, level in head.decode_levels(output).items()}
            for head, output in zip(self.axis_heads(), outputs, strict=True)
        ]
        return {name: torch.stack([values[name] for values in by_axis], -1) for name in by_axis[0]}

    def perfect_outputs(self, targets: Tensor) -> list[Tensor]:
        """Targets in units (B, axes), at levels of their axes -> outputs that every decoder decodes to these targets."""
        return [head.perfect_output(target) for head, target in zip(self.axis_heads(), targets.unbind(-1), strict=True)]

    def posteriors(self, outputs: list[Tensor], temperatures: Sequence[float] | None = None) -> list[Tensor]:
        """Probabilities of the levels (B, levels) of each axis, float64; none from a head that gives none."""
        heads, given = self.axis_heads(), [exact(output) for output in outputs]
        if temperatures is not None:
            given = [head.tempered(x, t) for head, x, t in zip(heads, given, temperatures, strict=True)]
        each = [head.posterior(output) for head, output in zip(heads, given, strict=True)]
        return [posterior for posterior in each if posterior is not None]

    def wrong_bits(self, outputs: list[Tensor], targets: Tensor) -> list[Tensor]:
        """Which bits (B, bits) of each axis differ from the code word of the target; none from a head without a 0/1 code."""
        triples = zip(self.axis_heads(), outputs, targets.unbind(-1), strict=True)
        each = [head.wrong_bits(output, target) for head, output, target in triples]
        return [wrong for wrong in each if wrong is not None]
