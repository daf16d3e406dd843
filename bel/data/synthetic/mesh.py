"""A whole head as one mesh: the grids of all parts cut into triangles that share an atlas of textures."""

from dataclasses import dataclass

import numpy as np

from bel.data.synthetic.head import ears, glasses, head_part, long_hair, torso
from bel.data.synthetic.identity import Traits
from bel.data.synthetic.surface import TEX, Part

HEIGHT = 230.0  # mm from chin to crown before scaling


@dataclass(frozen=True)
class Head:
    """V vertices and T triangles of an identity, in mm.

    `points`, `normals` (V, 3), `texel` (V, 2) row and column of the atlas, `follow` (V, 1) share of the head's turn,
    `triangles` (T, 3), `two_sided` (T,), `atlas` (A, TEX, 4) linear colours and gloss; `landmarks` (72, 3): the 68 of
    iBUG, ears, eyes, each time the picture's left one first.
    """

    points: np.ndarray
    normals: np.ndarray
    texel: np.ndarray
    follow: np.ndarray
    triangles: np.ndarray
    two_sided: np.ndarray
    atlas: np.ndarray
    landmarks: np.ndarray
    height: float


def build_head(traits: Traits, rng: np.random.Generator) -> Head:
    """Build the mesh of an identity; `rng` draws the noise of its textures."""
    face, landmarks = head_part(traits, rng)
    parts = [face, *ears(traits), torso(traits, rng), *long_hair(traits, rng), *glasses(traits)]
    pieces, vertices, texels = [], 0, 0
    for part in parts:
        points, normals, texel, follow, triangles = cut(part, traits.scale)
        two_sided = np.full(len(triangles), part.two_sided)
        pieces.append(
            (points, normals, texel + np.array([texels, 0]), follow, triangles + vertices, two_sided, part.texture)
        )
        vertices, texels = vertices + len(points), texels + len(part.texture)
    points, normals, texel, follow, triangles, two_sided, atlas = (np.concatenate(p) for p in zip(*pieces, strict=True))
    points, normals, texel, follow = (field.astype(np.float32) for field in (points, normals, texel, follow))
    atlas[..., :3] = np.clip(atlas[..., :3], 0.01, 1) ** 2  # shading adds light, so colours are kept linear
    height = HEIGHT * float(traits.scale[1])
    return Head(points, normals, texel, follow, triangles, two_sided, atlas, landmarks * traits.scale, height)


def cut(part: Part, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points, normals, texels, follow and triangles of one part, the normals and the triangles facing outwards."""
    points, (rows, columns) = part.points * scale, part.points.shape[:2]
    normals = grid_normals(points)
    corner = np.arange(rows * columns).reshape(rows, columns)[:-1, :-1].reshape(-1, 1)
    quads = corner + np.array([[0, columns, 1, 1, columns, columns + 1]])
    if ((points - points.mean((0, 1))) * normals).sum() < 0:
        normals, quads = -normals, quads[:, ::-1]
    # Just short of the last row and column, so that reading between texels never meets another part's.
    row, column = np.mgrid[0 : len(part.texture) - 1.01 : rows * 1j, 0 : TEX - 1.01 : columns * 1j]
    texel = np.stack([row, column], -1).reshape(-1, 2)
    follow = np.broadcast_to(part.follow, (rows, columns)).reshape(-1, 1)
    return points.reshape(-1, 3), normals.reshape(-1, 3), texel, follow, quads.reshape(-1, 3)


def grid_normals(points: np.ndarray) -> np.ndarray:
    """Unit normals (r, c, 3) of a lofted surface; columns wrap round where the first and the last coincide."""
    closed = np.allclose(points[:, 0], points[:, -1], atol=1e-3)
    padded = np.concatenate([points[:, -2:-1], points, points[:, 1:2]], 1) if closed else points
    normal = np.cross(np.gradient(padded, axis=0), np.gradient(padded, axis=1))
    normal = normal[:, 1:-1] if closed else normal
    for pole, next_row in ((0, 1), (-1, -2)):
        if np.ptp(points[pole], axis=0).max() < 1e-3:
            normal[pole] = normal[next_row].mean(0)
    return normal / (np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9)
