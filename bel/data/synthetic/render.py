"""Rendering of a head: rotation, projection by a pinhole camera, light and shading.

Axes of the camera in mm: x right, y down, z away from it. The principal point is the centre of the picture.
"""

from dataclasses import dataclass

import numpy as np

from bel.data.synthetic.mesh import Head
from bel.data.synthetic.raster import rasterise

FOCAL = 3.0  # focal length in picture heights
JOINT = np.array([0.0, 75.0, 25.0])  # where the neck turns (mm from the head's origin)


@dataclass(frozen=True)
class Light:
    """Direction to the lamp (3,) in camera axes, its colour (3,), and the colour of light from everywhere (3,)."""

    direction: np.ndarray
    lamp: np.ndarray
    ambient: np.ndarray


def project(points: np.ndarray, size: int) -> np.ndarray:
    """Camera points (n, 3) mm -> pixels (n, 2); the centre of the first pixel is 0."""
    return points[:, :2] * (FOCAL * size / points[:, 2:]) + (size - 1) / 2


def render(
    head: Head, rotation: np.ndarray, shift: np.ndarray, body: np.ndarray, size: int, light: Light | None
) -> tuple[np.ndarray, np.ndarray]:
    """Picture (size, size, 4), RGB times cover and cover in 0..1, and depth (2 size, 2 size) mm, inf where empty.

    `rotation`, `body` are (3, 3), `shift` is the head's origin in camera axes (3,) mm. No light gives bare colours.
    """
    points, normals = place(head, rotation, shift, body)
    fine = 2 * size  # four samples for each pixel
    hits = rasterise(head, project(points, fine), points[:, 2], fine)
    shades = lit(points, normals, light) if light else np.zeros((len(points), 3), np.float32)
    vertex, corners = np.concatenate([head.texel, shades], -1), head.triangles[hits.triangles]
    values = sum(vertex[corners[:, i]] * hits.weights[:, i, None] for i in range(3))
    texel = read_atlas(head.atlas, values[:, :2], between=size > 128)
    colour = texel[:, :3]
    if light:
        lamp, ambient, gleam = values[:, 2:].T[:, :, None]
        colour = colour * (lamp * light.lamp + ambient * light.ambient) + texel[:, 3:] * gleam * light.lamp
    picture = np.zeros((fine * fine, 4), np.float32)
    picture[hits.places, :3] = np.sqrt(np.clip(colour, 0, 1))
    picture[hits.places, 3] = 1
    depth = np.full(fine * fine, np.inf, np.float32)
    depth[hits.places] = hits.depths
    picture = picture.reshape(size, 2, fine, 4).sum(1)
    return (picture[:, 0::2] + picture[:, 1::2]) / 4, depth.reshape(fine, fine)


def place(head: Head, rotation: np.ndarray, shift: np.ndarray, body: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices and normals (V, 3) in camera axes; the body turns by `body` about the neck."""
    joint = (JOINT @ rotation.T).astype(np.float32)
    rotation, body, shift = rotation.astype(np.float32), body.astype(np.float32), shift.astype(np.float32)
    points, normals = head.points @ rotation.T, head.normals @ rotation.T
    loose = np.flatnonzero(head.follow < 1)
    share = head.follow[loose]
    still = (head.points[loose] - JOINT.astype(np.float32)) @ body.T + joint
    points[loose] = share * points[loose] + (1 - share) * still
    normals[loose] = share * normals[loose] + (1 - share) * (head.normals[loose] @ body.T)
    return points + shift, normals


def lit(points: np.ndarray, normals: np.ndarray, light: Light) -> np.ndarray:
    """Share of lamp light, of ambient light and of the lamp's gleam at each vertex (V, 3)."""
    view = -points / np.linalg.norm(points, axis=-1, keepdims=True)
    towards = (normals * view).sum(-1)
    normals = normals * np.where(towards < 0, -1, 1)[:, None]  # of two-sided parts, the side that is seen
    lamp = np.clip((normals @ light.direction + 0.2) / 1.2, 0, None)
    half = view + light.direction
    half /= np.linalg.norm(half, axis=-1, keepdims=True)
    gleam = np.clip((normals * half).sum(-1), 0, None) ** 24
    return np.stack([lamp, 0.8 - 0.25 * normals[:, 1], gleam], -1).astype(np.float32)


def read_atlas(atlas: np.ndarray, place: np.ndarray, between: bool) -> np.ndarray:
    """Texels (n, 4) at rows and columns (n, 2): the nearest, or linear `between` four as large pictures need."""
    rows, columns, texels = len(atlas), atlas.shape[1], atlas.reshape(-1, 4)
    if not between:
        row, column = (place + 0.5).astype(np.int32).clip(0, (rows - 1, columns - 1)).T
        return texels[row * columns + column]
    low = place.astype(np.int32).clip(0, (rows - 2, columns - 2))
    (down, right), corner = (place - low).T[:, :, None], low[:, 0] * columns + low[:, 1]
    upper = texels[corner] + right * (texels[corner + 1] - texels[corner])
    corner = corner + columns
    lower = texels[corner] + right * (texels[corner + 1] - texels[corner])
    return np.asarray(upper + down * (lower - upper))
