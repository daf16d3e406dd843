"""Rendering of a head: rotation, projection by a pinhole camera, a depth buffer in numpy, light and shading.

Axes of the camera in mm: x right, y down, z away from it. The principal point is the centre of the picture.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bel.data.synthetic.mesh import Head

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


# Triangles of similar size are tested in batches, each against a square of pixels as wide as the upper edge of the batch.
EDGES = (2, 3, 4, 5, 6, 8, 10, 13, 17, 24, 32, 48, 64, 128, 256, 1 << 20)
NOTHING = np.iinfo(np.int64).max


class Hits(NamedTuple):
    """What n covered pixels show: flat pixel places (n,), triangles (n,), corner weights (n, 3), depths (n,) mm."""

    places: np.ndarray
    triangles: np.ndarray
    weights: np.ndarray
    depths: np.ndarray


class Planes(NamedTuple):
    """What is linear in the pixel on each of T triangles, measured from the third corner (2, T) px at depth (T,)."""

    origin: np.ndarray
    depth: np.ndarray
    weight: np.ndarray  # (4, T): x and y slope of the first corner's weight, then of the second's
    slope: np.ndarray  # (2, T): of the depth

    def at(self, x: np.ndarray, y: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights of the first two corners of triangles `index` at x, y px from their third."""
        a1, a2, b1, b2 = self.weight[:, index]
        return x * a1 + y * a2, x * b1 + y * b2

    def depth_at(self, x: np.ndarray, y: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Depth of triangles `index` at x, y px from their third corner."""
        return self.depth[index] + x * self.slope[0, index] + y * self.slope[1, index]


def rasterise(head: Head, pixel: np.ndarray, depth: np.ndarray, size: int) -> Hits:
    """Nearest triangle at each pixel of a square picture, for vertices at `pixel` (V, 2) and `depth` (V,) mm."""
    planes, low, reach = prepare(head, pixel, depth, size)
    near, packed = float(depth.min()), np.full(size * size, NOTHING)
    for below, edge in zip((0, *EDGES), EDGES, strict=False):
        batch = np.flatnonzero((reach > below) & (reach <= edge))
        if len(batch):
            draw(planes, batch, low[batch], min(edge, int(reach[batch].max())), near, packed, size)
    places = np.flatnonzero(packed != NOTHING)
    index = packed[places] & 0xFFFFFF
    cx, cy = planes.origin[:, index]
    x, y = places % size - cx, places // size - cy
    wa, wb = planes.at(x, y, index)
    weights = np.stack([wa, wb, 1 - wa - wb], -1).astype(np.float32)
    return Hits(places, index, weights, planes.depth_at(x, y, index))


def prepare(head: Head, pixel: np.ndarray, depth: np.ndarray, size: int) -> tuple[Planes, np.ndarray, np.ndarray]:
    """Planes of all triangles, first pixel (T, 2) and longer side (T,) px of what they reach; 0 px if not to be seen."""
    corner = pixel[head.triangles]
    za, zb, zc = depth[head.triangles].T
    cx, cy = corner[:, 2].T
    (ax, ay), (bx, by) = corner[:, 0].T - (cx, cy), corner[:, 1].T - (cx, cy)
    area = ax * by - ay * bx
    low = np.maximum(np.ceil(corner.min(1)), 0).astype(np.int32)
    span = np.minimum(np.floor(corner.max(1)), size - 1).astype(np.int32) - low + 1
    seen = ((area < -1e-6) | (head.two_sided & (area > 1e-6))) & (span > 0).all(1)
    area = np.where(seen, area, 1)
    weight = np.stack([by / area, -bx / area, -ay / area, ax / area])
    slope = weight[:2] * (za - zc) + weight[2:] * (zb - zc)
    return Planes(np.stack([cx, cy]), zc, weight, slope), low, np.where(seen, span.max(1), 0)


def draw(
    planes: Planes, batch: np.ndarray, low: np.ndarray, edge: int, near: float, packed: np.ndarray, size: int
) -> None:
    """Test edge x edge pixels from `low` (b, 2) on of each triangle of a batch (b,); keep the nearest in `packed`.

    An entry of `packed` (size * size,) is the depth behind `near` in 1/4096 mm and, in its low 24 bits, the triangle,
    so that the least entry is the nearest triangle.
    """
    x = low[:, :1] + np.tile(np.arange(edge, dtype=np.int32), edge)
    y = low[:, 1:] + np.repeat(np.arange(edge, dtype=np.int32), edge)
    cx, cy = planes.origin[:, batch, None]
    px, py = (x - cx).astype(np.float32), (y - cy).astype(np.float32)
    wa, wb = planes.at(px, py, batch[:, None])
    inside = (np.minimum(wa, wb) >= -1e-4) & (wa + wb <= 1.0001) & (x < size) & (y < size)
    index = batch[np.nonzero(inside)[0]]
    depth = planes.depth_at(px[inside], py[inside], index)
    key = (((depth - near + 9) * 4096).astype(np.int64) << 24) | index
    np.minimum.at(packed, y[inside].astype(np.int64) * size + x[inside], key)
