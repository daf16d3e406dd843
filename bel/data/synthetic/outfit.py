"""Neck and shirt, long hair, and glasses of a head."""

import numpy as np

from bel.data.synthetic.identity import Traits
from bel.data.synthetic.surface import TEX, Part, ellipsoid, paint, plain, resample, rise, speckle, tube

# Sections of neck and shoulders (mm): y, half width, half depth, middle z.
TORSO = np.array(
    [
        (55, 44, 44, 22), (75, 50, 50, 24), (95, 52, 52, 27), (112, 53, 54, 30), (126, 55, 56, 33), (138, 62, 60, 36),
        (150, 84, 66, 38), (162, 120, 74, 38), (178, 158, 86, 36), (200, 180, 96, 34), (240, 190, 104, 32),
        (290, 192, 108, 32), (360, 192, 110, 32),
    ],
    dtype=float,
)  # fmt: skip


def torso(traits: Traits, rng: np.random.Generator) -> Part:
    """Return neck and shoulders; the turn of the head decreases to 0 down the neck."""
    turn = np.linspace(-np.pi, np.pi, 41)
    y, wide, deep, back = resample(TORSO * (1, traits.bulk, traits.bulk, 1), 31, 4).T[..., None]
    points = np.stack([wide * np.sin(turn), y + 0 * turn, back - deep * np.cos(turn)], -1)
    texture = shirt_texture(traits, rng, resample(points[..., 1], 64, TEX))
    return Part(points, texture, np.broadcast_to(rise((150 - y) / 75), points.shape[:2]))


def shirt_texture(traits: Traits, rng: np.random.Generator, y: np.ndarray) -> np.ndarray:
    """Texture (64, TEX, 4) of the neck, in shadow, and of a shirt with a round or a wide collar, at heights y."""
    texture = plain(traits.skin * 0.9, 0.1, 64)
    texture[..., :3] *= (1 - 0.45 * rise((130 - y) / 50))[..., None]
    front = rise(np.cos(np.linspace(-np.pi, np.pi, TEX)))
    shirt = rise((y - rng.uniform(125, 140) - rng.choice([0, 24]) * front) / 3)
    cloth = traits.shirt * (1 + 0.1 * speckle(rng, 16, 30, 64))[..., None]
    paint(texture, shirt, (0, 0, 0), 0.02)
    texture[..., :3] += shirt[..., None] * cloth
    return texture


def long_hair(traits: Traits, rng: np.random.Generator) -> list[Part]:
    """Return long hair around the back and sides, or a bun; none for the other styles."""
    if traits.style == "bun":
        knot = ellipsoid((0, -62, 96), (34, 32, 30))
        return [Part(knot, plain(traits.hair, 0.05))]
    if traits.style not in ("bob", "long"):
        return []
    bottom = rng.uniform(75, 105) if traits.style == "bob" else rng.uniform(150, 200)
    y = np.linspace(-62, bottom, 20)[:, None]
    open_to = 1.05 + 0.35 * rise((y + 62) / 60) - 0.1 * rise((y - 60) / 60)
    turn = open_to + (2 * np.pi - 2 * open_to) * np.linspace(0, 1, 33)
    wide = 70 + 18 * rise((y + 75) / 70) - 8 * rise((y - 70) / 60) + 2 * rng.uniform(-1, 1, turn.shape)
    deep = 96 + 8 * rise((y + 75) / 60) - 26 * rise((y - 20) / 60)
    points = np.stack([wide * np.sin(turn), y + 0 * turn, 8 - deep * np.cos(turn)], -1)
    texture = plain(traits.hair, 0.05, 64)
    texture[..., :3] *= (1 + 0.3 * speckle(rng, 4, 120, 64) + 0.15 * speckle(rng, 8, TEX, 64))[..., None]
    return [Part(points, texture, np.broadcast_to(1 - 0.5 * rise((y - 90) / 90), turn.shape), two_sided=True)]


def glasses(traits: Traits) -> list[Part]:
    """Return rims, bridge and temples, with lenses where they are dark."""
    if traits.glasses == "none":
        return []
    turn, gap = np.linspace(0, 2 * np.pi, 25), traits.eye_gap + 1
    surfaces = []
    for side in (-1, 1):
        ring = np.stack([side * gap + 22 * np.cos(turn), 2 + 17 * np.sin(turn), -101 + 0 * turn], -1)
        ring[:, 2] += 0.006 * ring[:, 0] ** 2 - 2
        arm = np.array([(gap + 22, -3, -89), (74, -5, -70), (79, -5, -30), (79, -4, 4), (78, 4, 16)]) * (side, 1, 1)
        surfaces += [tube(ring, 2.2), tube(resample(arm[:, None].repeat(2, 1), 12, 2)[:, 0], 2)]
        if traits.glasses == "dark":
            surfaces.append(ring.mean(0) + np.linspace(0, 1, 5)[:, None, None] * (ring - ring.mean(0)))
    surfaces.append(tube(np.array([(-gap + 21, -1, -100), (-5, -4, -103), (5, -4, -103), (gap - 21, -1, -100.0)]), 2))
    return [Part(points, plain(traits.frame, 0.7), two_sided=True) for points in surfaces]
