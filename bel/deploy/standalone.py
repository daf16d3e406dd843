"""A head for a training loop of one's own, made from ranges and levels: no config, no sweep, no trunk of ours.

    head = make_head("bel", features=512, ranges={"yaw": (-99, 99), "pitch": (-99, 99)}, levels=150, code="j")
    outputs = head(trunk(images))        # one output (B, width) for each range
    head.loss(outputs, targets).backward()  # targets (B, axes), each in its own unit
    head.decode(outputs)                 # predictions (B, axes), in the same units

It is the head that a config of the same fields has, with the same losses and decoders, and checked by the same rules.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bel.angles import Axis, with_levels
from bel.codes.file import Bits, checked_matrix
from bel.codes.library import Code
from bel.config import check_field, convert
from bel.config_fields import FIELDS
from bel.data.readers.table_spec import POSE, parse_target
from bel.errors import UserError, convert_to, one_of, refuse_unknown, within
from bel.heads import HEADS, OPTIONS, Head, head_fields, refuse_circles
from bel.plugins import registry
from bel.precision import copy_to
from bel.training.posterior import summary

CodeLike = str | NDArray[Any] | Tensor | Sequence[Sequence[int]] | Callable[[int], Any]
Ranges = Sequence[tuple[float, float]] | Mapping[str, tuple[float, float]]
MOST_FEATURES = 10**6


@dataclass(frozen=True)
class HeadFields:
    """What a head needs of a config, as values; the head's own fields are attributes, too."""

    axes: tuple[Axis, ...]
    loss: str | None
    options: Mapping[str, Any]
    recipe: str = "clean"

    def __getattr__(self, name: str) -> Any:
        """Return one of the head's own fields."""
        if name in OPTIONS:
            return self.options[name]
        raise AttributeError(name)


class StandaloneHead(nn.Module):
    """A head with the axes that it predicts: features (B, features) -> outputs, a list of one (B, width) an axis.

    It computes in the type of its own weights, also under autocast. Its weights have the names of those of a run's
    checkpoint (`head.`).
    """

    def __init__(self, kind: str, head: Head, axes: Sequence[Axis], features: int) -> None:
        super().__init__()
        self.kind, self.head, self.axes, self.features = kind, head, tuple(axes), features
        with torch.no_grad():
            self.decoders = tuple(head.decode(head(torch.zeros(1, features))))  # their names, the headline first

    def extra_repr(self) -> str:
        """Return the axes and the decoders."""
        axes = ", ".join(f"{a.name} {a.low:g}..{a.low + a.span:g} in {a.levels} levels" for a in self.axes)
        return f"{axes}; decoders {', '.join(self.decoders)}"

    def forward(self, features: Tensor) -> list[Tensor]:
        """Features (B, features) -> outputs. Raises `UserError` for another shape."""
        if features.ndim != 2 or features.shape[1] != self.features:
            raise UserError(f"features must be (images, {self.features}), got {tuple(features.shape)}")
        with torch.autocast(features.device.type, enabled=False):
            outputs: list[Tensor] = self.head(features.to(next(self.head.parameters()).dtype))
        return outputs

    def loss(self, outputs: list[Tensor], targets: Tensor, weights: Tensor | None = None) -> Tensor:
        """Outputs, targets in units (B, axes), of any type and device, and weights of their parts if any -> loss ().

        With one axis both may be (B,). Raises `UserError` for another shape.
        """
        given = [self.table("targets", targets, outputs)]
        if weights is not None:
            given.append(self.table("weights", weights, outputs))
        with torch.autocast(outputs[0].device.type, enabled=False):
            return self.head.loss(outputs, *given)

    def decode(self, outputs: list[Tensor], decoder: str | None = None) -> Tensor:
        """Outputs -> predictions in units (B, axes), float64, of the headline decoder or of a named one.

        They are on the CPU where the device has no float64. Raises `UserError` for a decoder that the head does not have.
        """
        one_of("decoder", decoder or self.decoders[0], self.decoders)
        with torch.autocast(outputs[0].device.type, enabled=False):
            return self.head.decode(outputs)[decoder or self.decoders[0]]

    def posteriors(self, outputs: list[Tensor]) -> list[Tensor]:
        """Outputs -> probabilities of the levels (B, levels) of each axis, float64; none from a head that gives none."""
        with torch.autocast(outputs[0].device.type, enabled=False):
            return self.head.posteriors(outputs)

    def std(self, outputs: list[Tensor]) -> Tensor:
        """Outputs -> the standard deviation of the posterior in units (B, axes), float64.

        Raises `UserError` from a head that gives no posterior.
        """
        found = summary(self.posteriors(outputs), None, self.axes)
        if not found:
            raise UserError(
                f"head {self.kind} gives no posterior, so no standard deviation: take one that does, such as bel or gaussian"
            )
        return found["std"]

    def table(self, what: str, values: Tensor, outputs: list[Tensor]) -> Tensor:
        """Return targets or weights (B, axes) on the device of the outputs. Raises `UserError` for another shape."""
        table = values[:, None] if values.ndim == 1 and len(self.axes) == 1 else values
        table = table if table.is_floating_point() else table.double()
        wanted = len(outputs[0]), len(self.axes)
        if table.shape != wanted:
            raise UserError(f"{what} must be (images, axes), here {wanted}, got {tuple(values.shape)}")
        return copy_to(table, outputs[0].device)


def make_head(
    kind: str,
    features: int,
    ranges: Ranges,
    levels: int | Sequence[int] = 100,
    *,
    code: CodeLike | None = None,
    loss: str | None = None,
    period: float | Sequence[float | None] | None = None,
    pose: bool = False,
    **options: Any,
) -> StandaloneHead:
    """Make a head of `HEADS` on a trunk with `features` outputs, for targets within `ranges`, each with its `levels`.

    `ranges` are (low, high) of each target in its unit, by name or in order; `levels` are one number for all, or one each.
    `code` is a name, a 0/1 matrix (levels, bits) as array, tensor or nested list, or a function from a number of levels to
    such a matrix. A target with a `period`, which its range spans, is an angle that wraps. `pose` says that the targets are
    yaw, pitch and roll of a head in degrees. `options` are the head's own fields, such as `theta` or `sigma`. Raises
    `UserError` for a value that is not valid.
    """
    registry.load(None)  # installed plug-ins
    one_of("head", kind, HEADS)
    width = convert_to(int, "features", features)
    within("features", width, 1, MOST_FEATURES)
    axes = make_axes(ranges, levels, period, pose)
    refuse_circles(kind, [axis.name for axis in axes if axis.period])
    if HEADS[kind].pose_only and not pose:
        raise UserError(f"head {kind} is for poses: choose another head, or give pose=True and ranges of {list(POSE)}")
    refuse_unknown(f"option of head {kind}", set(options) - set(OPTIONS), HEADS[kind].options)
    given = {name: option(name, value) for name, value in options.items()} | {"loss": loss, "code": code_of(code)}
    own = head_fields(kind, given, {}, "clean")
    axes = HEADS[kind].adapt_axes(with_levels(axes, own.get("code_bits")), pose)
    config = HeadFields(axes, own.pop("loss"), own)
    HEADS[kind].validate(config)
    with torch.device("cpu"):  # where code matrices are made
        head = StandaloneHead(kind, HEADS[kind].build(width, config).to(torch.get_default_dtype()), axes, width)
    return head.to(torch.get_default_device())


def make_axes(
    ranges: Ranges, levels: int | Sequence[int], period: float | Sequence[float | None] | None, pose: bool
) -> tuple[Axis, ...]:
    """Return an axis for each range. Raises `UserError` where a range, its levels or its period is not valid."""
    if isinstance(ranges, str) or not isinstance(ranges, Sequence | Mapping):
        raise UserError(f"ranges must be a list of (low, high), or a mapping of names to them, got {ranges!r}")
    unnamed = POSE if pose else (f"target{i}" for i in range(len(ranges)))
    named = dict(ranges) if isinstance(ranges, Mapping) else dict(zip(unnamed, ranges, strict=False))
    if not named or len(named) != len(ranges) or (pose and list(named) != list(POSE)):
        raise UserError(
            f"ranges must be (low, high) of {f'each of {list(POSE)}, in this order' if pose else 'one target or more'}, "
            f"got {ranges!r}"
        )
    axes = []
    counts, periods = each("levels", levels, len(named)), each("period", period, len(named))
    for (name, pair), count, turn in zip(named.items(), counts, periods, strict=True):
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise UserError(f"ranges.{name} must be (low, high), got {pair!r}")
        values = {"low": pair[0], "high": pair[1], "levels": count, "period": turn}
        if pose and turn is not None:
            raise UserError("period is not for a pose, whose angles are of one rotation: leave period or pose out")
        axes.append(parse_target(name, values, "ranges").axis)
    return tuple(axes)


def each(what: str, value: Any, count: int) -> list[Any]:
    """Return one value for each of `count` axes, from one for all or from as many. Raises `UserError`."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        return [value] * count
    if len(value) != count:
        raise UserError(f"{what} must be one for all ranges or one for each of the {count}, got {list(value)}")
    return list(value)


def option(name: str, value: Any) -> Any:
    """Return the value of a head's own field by the rules of configs. Raises `UserError` where it is not valid."""
    found = convert(FIELDS[name], value)
    check_field(FIELDS[name], found)
    return found


def code_of(code: CodeLike | None) -> str | Code | None:
    """Return a code as heads take it: None, a name, or a function from levels to a checked matrix (levels, bits)."""
    if code is None or isinstance(code, str):
        return code
    matrix: Callable[[int], Any] = code if callable(code) else lambda levels: code
    return partial(given_matrix, matrix)


def given_matrix(matrix: Callable[[int], Any], levels: int) -> Bits:
    """Return the matrix (levels, bits) that a user's function gives. Raises `UserError` where it is no code."""
    found = matrix(levels)
    try:
        values = found.detach().cpu().numpy() if isinstance(found, Tensor) else np.asarray(found)
    except ValueError as error:  # lists of different lengths
        raise UserError(f"the code matrix must be a table of 0 and 1, a row a level: {error}") from error
    return checked_matrix(
        "the code matrix", values, levels, "give a function from levels to a matrix where axes differ"
    )
