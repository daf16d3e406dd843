"""Rasterisation by a depth buffer in numpy: the triangle visible at each pixel, and the place on it."""

from typing import NamedTuple

import numpy as np

from bel.data.synthetic.mesh import Head

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
