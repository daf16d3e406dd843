"""Axes of a regression target: value to level and back, and the Euler convention of the pose datasets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from bel.errors import UserError

if TYPE_CHECKING:  # a process that only reads labels does without torch's seconds of import
    from torch import Tensor


MOST_LEVELS = 10_000  # of an axis: a code's matrix has as many rows, and up to as many columns


@dataclass(frozen=True)
class Axis:
    """One continuous target, cut into `levels` equal steps over [low, low + span).

    `flip` is the sign that the value takes in a mirrored image; None where mirroring changes its meaning.
    """

    name: str
    low: float
    span: float
    levels: int
    unit: str = "deg"
    flip: int | None = None

    @property
    def step(self) -> float:
        """Width of a level, in the axis's unit."""
        return self.span / self.levels

    def to_level(self, value: Tensor) -> Tensor:
        """Value in units (B,) -> unclamped float level (B,)."""
        return (value - self.low) / self.step

    def to_index(self, value: Tensor) -> Tensor:
        """Value in units (B,) -> int64 level (B,), rounded half to even and clamped to 0..levels-1 (BEL, section 4)."""
        return self.to_level(value).round().clamp(0, self.levels - 1).long()

    def to_value(self, level: Tensor) -> Tensor:
        """Level, int or float (B,) -> value in units (B,)."""
        return self.low + self.step * level


def with_levels(axes: Sequence[Axis], code_bits: int | None) -> tuple[Axis, ...]:
    """Axes with `code_bits` levels on the widest one and, in proportion and rounded up to even, on narrower ones.

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


def euler_to_matrix(yaw_pitch_roll: np.ndarray) -> np.ndarray:
    """Degrees (..., 3) -> rotation (..., 3, 3) = Rx(-pitch) Ry(yaw) Rz(roll); x right, y down, z away from the camera."""
    yaw, pitch, roll = np.moveaxis(np.radians(np.asarray(yaw_pitch_roll, dtype=np.float64)), -1, 0)
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    rows = [
        [cy * cr, -cy * sr, sy],
        [cp * sr - sp * sy * cr, cp * cr + sp * sy * sr, sp * cy],
        [-sp * sr - cp * sy * cr, -sp * cr + cp * sy * sr, cp * cy],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def matrix_to_euler(rotation: np.ndarray) -> np.ndarray:
    """Rotation (..., 3, 3) -> yaw, pitch, roll in degrees (..., 3); inverse of `euler_to_matrix` for |yaw| < 90."""
    r = np.asarray(rotation, dtype=np.float64)
    yaw = np.arctan2(r[..., 0, 2], np.hypot(r[..., 1, 2], r[..., 2, 2]))
    pitch = np.arctan2(r[..., 1, 2], r[..., 2, 2])
    roll = np.arctan2(-r[..., 0, 1], r[..., 0, 0])
    return np.degrees(np.stack([yaw, pitch, roll], axis=-1))
