"""Axes of a regression target: value to level and back, values on a circle, and the Euler convention of pose datasets."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from bel.errors import UserError

if TYPE_CHECKING:  # workers that read labels do without torch, which takes seconds to import
    from torch import Tensor


Numbers = TypeVar("Numbers", np.ndarray, "Tensor")

MOST_LEVELS = 10_000  # of an axis: the rows of its code matrix, which may have as many columns


@dataclass(frozen=True)
class Axis:
    """One continuous target, cut into `levels` equal steps over [low, low + span).

    With a `period`, which is the span, it is a circle: values and levels wrap, where those of other axes are clamped.
    `flip` is the sign of the value in a mirrored image; None where mirroring changes its meaning. `check_unit` says that
    labels which look like degrees in place of radians, or the other way round, or span more than a `period`, are refused.
    """

    name: str
    low: float
    span: float
    levels: int
    unit: str = "deg"
    flip: int | None = None
    check_unit: bool = True
    period: float | None = None

    @property
    def step(self) -> float:
        """Width of a level, in the axis's unit."""
        return self.span / self.levels

    def wrap(self, value: Numbers) -> Numbers:
        """Value in units (any shape) -> the same place of a circle within [low, low + period); else the value itself."""
        return wrap(value, self.low, self.period) if self.period else value

    def to_level(self, value: Tensor) -> Tensor:
        """Value in units (B,) -> float level (B,), unclamped; of a circle within 0..levels."""
        return (self.wrap(value) - self.low) / self.step

    def to_index(self, value: Tensor) -> Tensor:
        """Value in units (B,) -> int64 level (B,), rounded half to even and clamped to 0..levels-1 (BEL, section 4).

        On a circle the level after the last one is 0.
        """
        level = self.to_level(value).round()
        return level.long() % self.levels if self.period else level.clamp(0, self.levels - 1).long()

    def to_value(self, level: Tensor) -> Tensor:
        """Level, int or float (B,) -> value in units (B,), of a circle within [low, low + period)."""
        return self.wrap(self.low + self.step * level)


def with_levels(axes: Sequence[Axis], code_bits: int | None) -> tuple[Axis, ...]:
    """Return axes with `code_bits` levels on the widest one and, in proportion and rounded up to even, on narrower ones.

    None keeps the levels of the protocol. Raises `UserError` below 2 levels and above 10,000.
    """
    if code_bits is None:
        return tuple(axes)
    if not 2 <= code_bits <= MOST_LEVELS:
        raise UserError(f"code_bits must be at least 2 levels and at most {MOST_LEVELS}, got {code_bits}")
    widest = max(axis.levels for axis in axes)

    def levels(axis: Axis) -> int:
        if axis.levels == widest:
            return code_bits
        return 2 * math.ceil(Fraction(code_bits * axis.levels, 2 * widest))

    return tuple(replace(axis, levels=levels(axis)) for axis in axes)


def wrap(values: Numbers, low: float, period: float) -> Numbers:
    """Values (any shape) -> the same places of a circle within [low, low + period); what is not finite becomes NaN."""
    xp = library(values)
    turned = values - period * xp.floor((values - low) / period)
    beyond = (turned < low) | (turned >= low + period)
    return xp.where(~beyond, turned, low)  # what rounding puts at its ends is at low


def wrap_axes(values: Numbers, axes: Sequence[Axis]) -> Numbers:
    """Values in units (..., axes) -> each within its axis where that has a period; the same object where none has."""
    if not any(axis.period for axis in axes):
        return values
    return library(values).stack([axis.wrap(values[..., i]) for i, axis in enumerate(axes)], -1)


def circular(difference: Numbers, period: float) -> Numbers:
    """Difference of places of a circle (any shape) -> the shorter way round, within half a period, with its sign."""
    return difference - period * library(difference).round(difference / period)


def differences(ours: Numbers, true: Numbers, periods: Sequence[float | None]) -> Numbers:
    """Values in units (..., axes) minus others; on an axis with a period the shorter way round, with its sign."""
    apart = ours - true
    if not any(periods):
        return apart
    columns = [circular(apart[..., i], period) if period else apart[..., i] for i, period in enumerate(periods)]
    return library(apart).stack(columns, -1)


def circular_median(values: np.ndarray, low: float, period: float) -> float:
    """Return the value among (n,) with the least mean distance to all of them round a circle, within [low, low + period).

    The mean distance is linear between values and the places opposite to them, and has a peak at the latter: no other place
    is nearer to all. Of equal ones it is the least. In O(n log n).
    """
    x = np.sort(wrap(values, low, period)) - low
    ring, first, count = np.concatenate([x, x + period]), np.arange(len(x)), len(x)
    sums = np.concatenate([[0.0], np.cumsum(ring)])
    half = np.searchsorted(ring, x + period / 2, "right")  # from here on the way back is the shorter one
    ahead = sums[half] - sums[first] - (half - first) * x
    behind = (first + count - half) * (x + period) - (sums[first + count] - sums[half])
    total = ahead + behind
    return float(low + x[np.flatnonzero(total <= total.min() + 1e-12 * count * period)[0]])


def library(values: np.ndarray | Tensor) -> ModuleType:
    """Return numpy or torch, whichever these values belong to."""
    return np if isinstance(values, np.ndarray) else importlib.import_module("torch")


def euler_to_matrix(yaw_pitch_roll: Numbers) -> Numbers:
    """Degrees (..., 3) -> rotation (..., 3, 3) = Rx(-pitch) Ry(yaw) Rz(roll); x right, y down, z away from the camera."""
    xp = library(yaw_pitch_roll)
    yaw, pitch, roll = (xp.deg2rad(yaw_pitch_roll[..., i]) for i in range(3))
    cy, sy, cp, sp, cr, sr = xp.cos(yaw), xp.sin(yaw), xp.cos(pitch), xp.sin(pitch), xp.cos(roll), xp.sin(roll)
    rows = [
        [cy * cr, -cy * sr, sy],
        [cp * sr - sp * sy * cr, cp * cr + sp * sy * sr, sp * cy],
        [-sp * sr - cp * sy * cr, -sp * cr + cp * sy * sr, cp * cy],
    ]
    return xp.stack([xp.stack(row, -1) for row in rows], -2)


def matrix_to_euler(rotation: Numbers) -> Numbers:
    """Rotation (..., 3, 3) -> yaw, pitch, roll in degrees (..., 3); inverse of `euler_to_matrix` for |yaw| < 90."""
    r, xp = rotation, library(rotation)
    yaw = xp.arctan2(r[..., 0, 2], xp.hypot(r[..., 1, 2], r[..., 2, 2]))
    pitch = xp.arctan2(r[..., 1, 2], r[..., 2, 2])
    roll = xp.arctan2(-r[..., 0, 1], r[..., 0, 0])
    return xp.rad2deg(xp.stack([yaw, pitch, roll], -1))


def rotation_angles(ours: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return angles between rotations (n,) and their columns (n, 3), of yaw, pitch, roll (n, 3), all in degrees."""
    chords = np.linalg.norm(euler_to_matrix(ours) - euler_to_matrix(true), axis=-2)  # (n, 3): exact where arccos is not
    geodesic = 2 * np.arcsin(np.minimum(np.linalg.norm(chords, axis=-1) / math.sqrt(8), 1))
    return np.degrees(geodesic), np.degrees(2 * np.arcsin(np.minimum(chords / 2, 1)))


def other_triple(yaw_pitch_roll: Numbers) -> Numbers:
    """Return the other yaw, pitch, roll (..., 3) of the same rotation, in -180..180 degrees."""
    yaw, pitch, roll = (yaw_pitch_roll[..., i] for i in range(3))
    other = library(yaw_pitch_roll).stack([180 - yaw, 180 + pitch, 180 + roll], -1)
    return (other + 180) % 360 - 180


def least_turned(yaw_pitch_roll: Numbers) -> Numbers:
    """Return the triple (..., 3) of a rotation with the smaller |pitch| + |roll|, so that |yaw| may exceed 90 degrees."""
    other, xp = other_triple(yaw_pitch_roll), library(yaw_pitch_roll)
    turned = abs(yaw_pitch_roll[..., 1:]).sum(-1) > abs(other[..., 1:]).sum(-1)
    return xp.where(turned[..., None], other, yaw_pitch_roll)
