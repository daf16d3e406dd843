"""Surfaces that make up a head: grids of points with a texture, and functions that shape and paint them.

Axes of the head in mm: x to the right of the picture, y down, z away from the camera; the face looks to -z.
"""

from dataclasses import dataclass

import numpy as np

TEX = 256  # texels across every texture


@dataclass(frozen=True)
class Part:
    """A lofted surface: points (r, c, 3) mm, texture (h, TEX, 4) albedo + gloss, share of the head's turn (r, c) or one."""

    points: np.ndarray
    texture: np.ndarray
    follow: np.ndarray | float = 1.0
    two_sided: bool = False


def bump(x: np.ndarray, y: np.ndarray, cx: float, cy: float, sx: float, sy: float) -> np.ndarray:
    """Bell of height 1 about (cx, cy)."""
    return np.exp(-(((x - cx) / sx) ** 2) - ((y - cy) / sy) ** 2)


def rise(value: np.ndarray) -> np.ndarray:
    """Smooth step from 0 at value <= 0 to 1 at value >= 1."""
    t = np.clip(value, 0, 1)
    return t * t * (3 - 2 * t)


def resample(grid: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Grid (r, c, ...) read linearly at rows x columns places, ends included."""
    for axis, count in ((0, rows), (1, columns)):
        place = np.linspace(0, grid.shape[axis] - 1, count)
        low = np.minimum(place.astype(int), grid.shape[axis] - 2)
        part = (place - low).reshape([-1 if i == axis else 1 for i in range(grid.ndim)])
        first = grid.take(low, axis)
        grid = first + part * (grid.take(low + 1, axis) - first)
    return grid


def speckle(rng: np.random.Generator, rows: int, columns: int, height: int = TEX) -> np.ndarray:
    """Noise (height, TEX) in -1..1 that is smooth over blots of a rows x columns grid."""
    return resample(rng.uniform(-1, 1, (rows, columns)).astype(np.float32), height, TEX)


def plain(colour: np.ndarray, gloss: float, height: int = 4) -> np.ndarray:
    """Texture (height, TEX, 4) of one colour."""
    return np.broadcast_to(np.append(colour, gloss).astype(np.float32), (height, TEX, 4)).copy()


def paint(texture: np.ndarray, mask: np.ndarray, colour: np.ndarray | tuple[float, ...], gloss: float) -> None:
    """Blend colour and gloss into a texture (..., 4) in place by mask (...)."""
    texture += mask[..., None] * (np.append(colour, gloss).astype(np.float32) - texture)


def ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
    """Closed surface (13, 17, 3) mm with its poles on the x axis."""
    polar, turn = np.linspace(0, np.pi, 13)[:, None], np.linspace(0, 2 * np.pi, 17)
    unit = [np.cos(polar) + 0 * turn, np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn)]
    return np.stack(unit, -1) * radii + centre


def tube(path: np.ndarray, radius: float) -> np.ndarray:
    """Round bar (n, 7, 3) mm along a path (n, 3)."""
    along = np.gradient(path, axis=0)
    across = np.cross(along, (0.3, 0.9, 0.31))  # any direction that no path here runs in
    across /= np.linalg.norm(across, axis=-1, keepdims=True)
    third = np.cross(along, across)
    third /= np.linalg.norm(third, axis=-1, keepdims=True)
    turn = np.linspace(0, 2 * np.pi, 7)[:, None]
    return path[:, None] + radius * (np.cos(turn) * across[:, None] + np.sin(turn) * third[:, None])
