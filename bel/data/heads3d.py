"""Textured 3-D heads, drawn at random or as asked, and their picture under a known rotation, camera and light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

FOCAL = 3.0  # focal length in picture heights; the principal point is the centre of the picture
TEX = 256  # texels across every part of the atlas
HEIGHT, JOINT = 230.0, np.array([0.0, 75.0, 25.0])  # mm: chin to crown before scaling; where the neck turns
HAIR_STYLES = ("bald", "buzz", "short", "receding", "horseshoe", "curly", "bob", "long", "bun")
# Sections of the skull: y, then middle z and half depth over the unit ellipsoid (mm). The face looks to -z.
SECTIONS = np.array(
    [
        (-115, 8, 96), (-80, 6, 101), (-50, 3, 101), (-25, 0, 100), (0, 0, 93), (25, -6, 88),
        (50, -17, 82), (70, -29, 77), (90, -39, 74), (105, -46, 76), (115, -50, 78),
    ],
    dtype=float,
)  # fmt: skip
# Hairline: |angle| from the front (rad) and the height y below which there is no hair (mm).
HAIRLINE = np.array([(0, -72), (0.5, -70), (0.8, -52), (1.05, -30), (1.25, 12), (1.5, 14), (1.9, 40), (3.2, 66)])
EYES, EARS = slice(70, 72), slice(68, 70)  # rows of `Head.landmarks` after the 68 of iBUG; image-left first


@dataclass(frozen=True)
class Part:
    """A lofted surface: points (r, c, 3) mm, texture (h, TEX, 4) albedo + gloss, share of the head's turn (r, c)."""

    points: np.ndarray
    texture: np.ndarray
    follow: np.ndarray
    two_sided: bool = False


@dataclass(frozen=True)
class Head:
    """One mesh of all parts: vertices (V, ...), triangles (T, 3), atlas (A, 4), landmarks (72, 3) mm, height mm."""

    points: np.ndarray
    normals: np.ndarray
    texel: np.ndarray
    follow: np.ndarray
    triangles: np.ndarray
    two_sided: np.ndarray
    atlas: np.ndarray
    landmarks: np.ndarray
    height: float


@dataclass(frozen=True)
class Traits:
    """What makes an identity: shape in mm or as scale, colours in 0..1, hair style of `HAIR_STYLES`, beard, glasses."""

    scale: np.ndarray  # width, height, depth
    jaw: float
    brow: float
    cheek: float
    chin: float
    nose: tuple[float, float]  # length, width
    eye_gap: float
    eye_size: float
    mouth: float
    lips: float
    ears: float
    bulk: float
    skin: np.ndarray
    hair: np.ndarray
    iris: np.ndarray
    shirt: np.ndarray
    frame: np.ndarray
    style: str
    beard: float  # mm, 0 for none
    glasses: str  # none, clear or dark


def draw_traits(rng: np.random.Generator) -> Traits:
    """A random identity."""
    skins = np.array(
        [(0.98, 0.84, 0.75), (0.93, 0.74, 0.60), (0.80, 0.58, 0.43), (0.58, 0.39, 0.28), (0.33, 0.21, 0.16)]
    )
    hairs = np.array([(0.07, 0.06, 0.06), (0.2, 0.13, 0.09), (0.38, 0.25, 0.15), (0.78, 0.62, 0.38), (0.5, 0.2, 0.1),
                      (0.55, 0.54, 0.53), (0.85, 0.84, 0.82)])  # fmt: skip
    tone = rng.uniform(0, 3.999)
    skin = skins[int(tone)] + (tone % 1) * (skins[int(tone) + 1] - skins[int(tone)])
    irises = np.array([(0.22, 0.13, 0.07), (0.35, 0.25, 0.12), (0.25, 0.42, 0.55), (0.3, 0.42, 0.3)])
    hair = hairs[rng.choice(3 if tone > 2.2 and rng.random() < 0.8 else 7)] * rng.uniform(0.8, 1.15)
    return Traits(
        scale=np.clip(rng.normal(1, (0.05, 0.04, 0.04)), 0.88, 1.12),
        jaw=rng.uniform(-7, 7),
        brow=rng.uniform(1, 6),
        cheek=rng.uniform(0, 6),
        chin=rng.uniform(3, 10),
        nose=(rng.uniform(20, 30), rng.uniform(9.5, 13.5)),
        eye_gap=rng.uniform(30, 34.5),
        eye_size=rng.uniform(13, 16),
        mouth=rng.uniform(21, 28),
        lips=rng.uniform(0.7, 1.4),
        ears=rng.uniform(27, 34),
        bulk=rng.uniform(0.88, 1.12),
        skin=np.clip(skin * rng.normal(1, 0.03, 3), 0, 1),
        hair=np.clip(hair, 0, 1),
        iris=irises[rng.integers(4)],
        shirt=rng.uniform(0.05, 0.9) * (0.6 + 0.4 * rng.random(3)),
        frame=rng.uniform(0.02, 0.35, 3),
        style=str(rng.choice(HAIR_STYLES)),
        beard=float(rng.choice([0, 0, 0, 0.6, 3, 8])),
        glasses=str(rng.choice(["none", "clear", "dark"], p=[0.66, 0.27, 0.07])),
    )


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


def skull(traits: Traits) -> tuple[np.ndarray, np.ndarray]:
    """Bare head: points (88, 80, 3) mm and the angle of each column from the front (80,) rad; dense at the face."""
    turn = np.linspace(-np.pi, np.pi, 80)
    angle = turn - 0.7 * np.sin(turn)
    density = 1 + 1.3 * np.exp(-(((np.linspace(0, 1, 87) - 0.66) / 0.15) ** 2))
    polar = np.pi * np.append(0, density.cumsum() / density.sum())[:, None]
    y, radius = -115 * np.cos(polar), np.sin(polar) ** np.where(polar < np.pi / 2, 0.56, 0.88)
    shifts = np.linspace(-14, 14, 7)
    middle, depth = (np.interp(y + shifts, SECTIONS[:, 0], column).mean(1, keepdims=True) for column in SECTIONS.T[1:])
    width = 74 + traits.jaw * np.exp(-(((y - 72) / 28) ** 2))
    x = radius * width * (np.sin(angle) + 0.04 * np.sin(3 * angle))
    z = middle - radius * depth * (np.cos(angle) - 0.04 * np.cos(3 * angle))
    y = np.broadcast_to(y, x.shape)
    z = z - rise(np.cos(angle) / 0.45) * relief(traits, x, y)
    x = x + np.sign(x) * traits.cheek * 0.5 * bump(abs(x), y, 58, 26, 18, 16)
    return np.stack([x, y, z], -1), angle


def relief(traits: Traits, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far the features of the face stand out (mm) at places (x, y) of the head."""
    side, gap = abs(x), traits.eye_gap
    along = np.clip((y + 16) / 57, 0, 1)
    spread = traits.nose[1] * (0.5 + 0.5 * along)
    ridge = (3 + (traits.nose[0] - 3) * along**1.15) * rise((y + 24) / 16) / (1 + np.exp((y - 47.5) / 1.3))
    return (
        ridge * np.exp(-((side / spread) ** 2))
        + 8 * bump(side, y, traits.nose[1] + 2, 43, 5.5, 6.5)
        + traits.brow * bump(side, y, gap - 6, -18, 22, 8)
        - 9 * bump(side, y, gap - 1, 0, 17, 10)
        + 4.5 * bump(side, y, gap, 1, 10, 7)
        + traits.cheek * bump(side, y, 46, 28, 18, 14)
        + 5 * traits.lips * bump(side, y, 0, 66, 17, 4.5)
        + 6 * traits.lips * bump(side, y, 0, 76, 16, 4.5)
        - 3 * bump(side, y, 0, 87, 20, 5)
        + traits.chin * bump(side, y, 0, 101, 19, 11)
    )


def hair_mask(traits: Traits, angle: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of hair 0..1 on the skin at columns `angle` and heights y (r, c)."""
    if traits.style == "bald":
        return np.zeros_like(y)
    line = np.interp(abs(angle), HAIRLINE[:, 0], HAIRLINE[:, 1])
    if traits.style == "receding":
        line = line - 20 * np.exp(-(((abs(angle) - 0.55) / 0.4) ** 2)) - 4
    mask = rise((line - y) / 9)
    return mask * rise((y + 52) / 16) if traits.style == "horseshoe" else mask


def beard_mask(traits: Traits, angle: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Share of beard 0..1 on the skin (r, c)."""
    top = np.interp(abs(angle), [0, 0.3, 0.6, 1.0, 1.3], [54, 55, 72, 58, 14])
    lips = rise(2.2 * (1 - (x / (traits.mouth + 3)) ** 2 - ((y - 71) / 10) ** 2))
    return (
        rise((y - top) / (14 if traits.beard < 1 else 7))
        * (1 - lips)
        * rise((1.55 - abs(angle)) / 0.2)
        * (traits.beard > 0)
    )


def paint(skin: np.ndarray, mask: np.ndarray, colour: np.ndarray | tuple[float, ...], gloss: float) -> None:
    """Blend colour and gloss into a texture (..., 4) in place by mask (...)."""
    skin += mask[..., None] * (np.append(colour, gloss).astype(np.float32) - skin)


def paint_face(traits: Traits, face: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Eyes, brows, lips, nostrils and creases on the skin texture (r, c, 4), in place, at places (x, y) mm."""
    side, dx, skin = abs(x), abs(x) - traits.eye_gap, traits.skin
    flush, dark = np.clip(skin * (1.05, 0.72, 0.68), 0, 1), skin * (0.4, 0.32, 0.3)
    paint(face, 0.4 * bump(side, y, 44, 36, 20, 15) + 0.4 * bump(side, y, 0, 41, 12, 9), flush, 0.14)
    paint(face, 0.4 * bump(side, y, traits.eye_gap - 8, -3, 15, 9) + 0.35 * bump(side, y, 0, 53, 15, 4), dark, 0.05)
    paint(face, 0.3 * bump(side, y, 0, 86, 17, 4) + 0.3 * bump(side, y, 21, 54, 5, 10), dark, 0.05)
    paint(face, 0.95 * bump(side, y, 6.5, 48.5, 3.2, 2.2), dark * 0.4, 0)
    bow = np.clip(1 - (side / traits.mouth) ** 2, 0, None) ** 0.6
    upper, lower = (6 - 1.5 * bump(side, y, 0, 66, 4, 9)) * bow * traits.lips**0.5, 8 * bow * traits.lips**0.5
    lips = rise((y - 71 + upper) / 1.6 + 0.5) * rise((71 + lower - y) / 1.6 + 0.5) * (side < traits.mouth)
    paint(face, lips * 0.85, skin * (0.82, 0.5, 0.48), 0.35)
    paint(face, 0.85 * np.exp(-(((y - 71 - 0.002 * side**2) / 1.1) ** 2)) * (side < traits.mouth + 1), dark * 0.6, 0)
    lid = 1 - (dx / traits.eye_size) ** 2
    inside, top, bottom = lid > -0.1, y - 1 + 6.4 * lid, y - 1 - 4.6 * lid
    white = rise(top / 1.2 + 0.5) * rise(-bottom / 1.2 + 0.5) * (lid > 0)
    radius = np.hypot(dx, y)
    paint(face, white, (0.93, 0.91, 0.9), 0.12)
    paint(face, white * rise((6.4 - radius) / 1.2), traits.iris, 0.12)
    paint(face, white * rise((3.2 - radius) / 1.0), (0.02, 0.02, 0.02), 0.1)
    paint(face, 0.85 * bump(np.hypot(x - traits.eye_gap * np.sign(x) + 2, y + 2.5), y, 0, -2.5, 1.4, 2), (1, 1, 1), 0.9)
    paint(face, 0.9 * np.exp(-((top / 1.3) ** 2)) * inside, traits.hair * 0.3 + 0.02, 0.1)
    paint(
        face, 0.5 * np.exp(-((bottom / 1.0) ** 2)) * inside + 0.4 * np.exp(-(((top + 4) / 1.1) ** 2)) * inside, dark, 0
    )
    brow = y + 18 + 4.5 * (1 - ((dx + 1) / 19) ** 2) - 0.12 * dx
    tuft = rise(1.6 - abs(brow) / np.clip(2.7 - 0.06 * dx, 0.5, 9)) * rise((20 - abs(dx + 1)) / 4)
    paint(face, 0.85 * tuft, traits.hair * 0.75 + 0.02 * skin, 0.05)


def head_part(traits: Traits, rng: np.random.Generator) -> tuple[Part, np.ndarray]:
    """Skin, face, hair and beard as one surface, and its landmarks (72, 3) mm; before the identity's scaling."""
    bare, angle = skull(traits)
    x, y, _ = np.moveaxis(resample(bare, TEX, TEX).astype(np.float32), -1, 0)
    fine = np.interp(np.linspace(0, 79, TEX), np.arange(80), angle)
    skin = np.empty((TEX, TEX, 4), np.float32)
    skin[..., :3] = traits.skin * (1 + 0.04 * speckle(rng, 24, 24) + 0.03 * speckle(rng, 128, 128))[..., None]
    skin[..., :3] *= 1 - 0.25 * rise((y - 92) / 30)[..., None]
    skin[..., 3] = 0.16
    rows, columns = slice(*np.searchsorted(y[:, 0], (-45, 112))), slice(*np.searchsorted(fine, (-1.3, 1.3)))
    paint_face(traits, skin[rows, columns], x[rows, columns], y[rows, columns])
    curl = traits.style == "curly"
    strands = 1 + 0.3 * (speckle(rng, 70, 70) if curl else speckle(rng, 10, 200)) + 0.12 * speckle(rng, TEX, TEX)
    ragged = hair_mask(traits, fine, y + 5 * speckle(rng, 40, 128))
    shade = traits.hair * strands[..., None]
    stubble = beard_mask(traits, fine, x, y + 4 * speckle(rng, 100, 100)) * (0.35 if traits.beard < 1 else 0.92)
    for mask in (stubble, ragged):
        skin[..., :3] += mask[..., None] * (shade - skin[..., :3])
        skin[..., 3] *= 1 - 0.7 * mask
    thick = {"buzz": 1.5, "short": 7, "receding": 6, "horseshoe": 4, "curly": 20}.get(traits.style, 9)
    depth = thick * hair_mask(traits, angle, bare[..., 1]) * (1 + 0.25 * resample(rng.uniform(-1, 1, (14, 14)), 88, 80))
    depth += traits.beard * beard_mask(traits, angle, bare[..., 0], bare[..., 1])
    outward = bare - (0, 0, 5)
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True) + 1e-9
    points = bare + depth[..., None] * outward
    points[:, -1] = points[:, 0]
    return Part(points, skin, np.ones(points.shape[:2])), landmarks(traits, points, angle)


def landmarks(traits: Traits, points: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """The 68 points of iBUG, both ear holes and both eyes (72, 3) mm on the surface (88, 80, 3)."""
    gap, eye, nose, mouth = traits.eye_gap, traits.eye_size, traits.nose[1] + 2, traits.mouth
    half = [(1.45, 10), (1.4, 28), (1.33, 46), (1.22, 62), (1.05, 77), (0.85, 90), (0.6, 100), (0.3, 107)]
    contour = [(-a, y) for a, y in half] + [(0, 109)] + [(a, y) for a, y in half[::-1]]
    brow = [(gap - 20 + 9.5 * i, y) for i, y in enumerate((-19, -22, -22.5, -21, -17))]
    lids = [(-eye, 1), (-eye / 3, -4.7), (eye / 3, -4.7), (eye, 1), (eye / 3, 5), (-eye / 3, 5)]
    half_brow = [(-x, y) for x, y in brow[::-1]]
    bridge = [(0, -4), (0, 11), (0, 26), (0, 41), (-nose, 49), (-6, 51), (0, 52), (6, 51), (nose, 49)]
    outer = [(-1, 71), (-0.6, 66), (-0.2, 64.5), (0, 65.5), (0.2, 64.5), (0.6, 66), (1, 71), (0.6, 77), (0.25, 79.5),
             (0, 80), (-0.25, 79.5), (-0.6, 77)]  # fmt: skip
    inner = [(-0.85, 71), (-0.3, 70), (0, 70), (0.3, 70), (0.85, 71), (0.3, 73), (0, 73), (-0.3, 73)]
    front = half_brow + brow + bridge + [(s * gap + x, y) for s in (-1, 1) for x, y in lids]
    front += [(x * mouth, y) for x, y in outer + inner] + [(-gap, 0), (gap, 0)]
    y = points[..., 1]
    spots = [points[divmod(int((900 * (angle - a) ** 2 + (y - h) ** 2).argmin()), 80)] for a, h in contour]
    behind = 1e6 * (np.cos(angle) < 0.2)
    for place in front:
        nearest = divmod(int(((points[..., 0] - place[0]) ** 2 + (y - place[1]) ** 2 + behind).argmin()), 80)
        spots.append(np.array([*place, points[nearest][2]]))
    spots[30] = points[40:70, 38:42].reshape(-1, 3)[points[40:70, 38:42, 2].argmin()]
    return np.array([*spots[:68], *(ear_points(s, traits.ears)[6, 4] for s in (-1, 1)), *spots[68:]])


def flat(colour: np.ndarray, gloss: float, height: int = 4) -> np.ndarray:
    """Texture (height, TEX, 4) of one colour."""
    return np.broadcast_to(np.append(colour, gloss).astype(np.float32), (height, TEX, 4)).copy()


def ellipsoid(centre: np.ndarray | tuple[float, ...], radii: tuple[float, float, float]) -> np.ndarray:
    """Closed surface (13, 17, 3) mm with its poles on the x axis."""
    polar, turn = np.linspace(0, np.pi, 13)[:, None], np.linspace(0, 2 * np.pi, 17)
    unit = [np.cos(polar) + 0 * turn, np.sin(polar) * np.cos(turn), np.sin(polar) * np.sin(turn)]
    return np.stack(unit, -1) * radii + centre


def ear_points(side: int, size: float) -> np.ndarray:
    """Ear (13, 17, 3) mm at the left (-1) or right (1) of the picture; row 0 is the middle of its hollow."""
    p = ellipsoid((0, 0, 0), (7, size, size * 0.6))
    p[..., 0] -= 6.5 * np.exp(-((np.hypot(p[..., 1] + 3, p[..., 2] * 1.5) / (size * 0.55)) ** 4)) * (p[..., 0] > 0)
    p[..., 2] *= 1 - 0.3 * p[..., 1:2].squeeze(-1) / size
    p[..., 0] += 0.42 * p[..., 2]
    p[..., 2] -= 0.2 * p[..., 1]
    return (p + np.array([75, 20, 14])) * (side, 1, 1)


def ears(traits: Traits) -> list[Part]:
    """Both ears, darker in the hollow."""
    texture = flat(traits.skin * (1, 0.9, 0.87), 0.15, 26)
    texture[:9, :, :3] *= np.linspace(0.5, 1, 9)[:, None, None]
    return [Part(ear_points(side, traits.ears), texture, np.ones((13, 17))) for side in (-1, 1)]


def torso(traits: Traits, rng: np.random.Generator) -> Part:
    """Neck and shoulders; the turn of the head dies away down the neck."""
    y = np.array([55, 75, 95, 112, 126, 138, 150, 162, 178, 200, 240, 290, 360.0])
    wide = np.array([44, 50, 52, 53, 55, 62, 84, 120, 158, 180, 190, 192, 192]) * traits.bulk
    deep = np.array([44, 50, 52, 54, 56, 60, 66, 74, 86, 96, 104, 108, 110]) * traits.bulk
    back = np.array([22, 24, 27, 30, 33, 36, 38, 38, 36, 34, 32, 32, 32])
    turn, heights = np.linspace(-np.pi, np.pi, 41), np.linspace(0, 12, 31)
    y, wide, deep, back = (np.interp(heights, np.arange(13), v)[:, None] for v in (y, wide, deep, back))
    points = np.stack([wide * np.sin(turn), y + 0 * turn, back - deep * np.cos(turn)], -1)
    texture = flat(traits.skin * 0.9, 0.1, 64)
    height = resample(points[..., 1], 64, TEX)
    texture[..., :3] *= (1 - 0.45 * rise((130 - height) / 50))[..., None]
    around = np.cos(np.linspace(-np.pi, np.pi, TEX))
    collar = rise((height - rng.uniform(125, 140) - rng.choice([0, 24]) * rise(around)) / 3)
    cloth = traits.shirt * (1 + 0.1 * speckle(rng, 16, 30, 64))[..., None]
    paint(texture, collar, (0, 0, 0), 0.02)
    texture[..., :3] += collar[..., None] * cloth
    return Part(points, texture, np.broadcast_to(rise((150 - y) / 75), points.shape[:2]))


def long_hair(traits: Traits, rng: np.random.Generator) -> list[Part]:
    """Hair that hangs down around the back and sides, or a bun; none for the other styles."""
    if traits.style == "bun":
        knot = ellipsoid((0, -62, 96), (34, 32, 30))
        return [Part(knot, flat(traits.hair, 0.05, 26), np.ones(knot.shape[:2]))]
    if traits.style not in ("bob", "long"):
        return []
    bottom = rng.uniform(75, 105) if traits.style == "bob" else rng.uniform(150, 200)
    y = np.linspace(-62, bottom, 20)[:, None]
    open_to = 1.05 + 0.35 * rise((y + 62) / 60) - 0.1 * rise((y - 60) / 60)
    turn = open_to + (2 * np.pi - 2 * open_to) * np.linspace(0, 1, 33)
    wide = 70 + 18 * rise((y + 75) / 70) - 8 * rise((y - 70) / 60) + 2 * rng.uniform(-1, 1, turn.shape)
    deep = 96 + 8 * rise((y + 75) / 60) - 26 * rise((y - 20) / 60)
    points = np.stack([wide * np.sin(turn), y + 0 * turn, 8 - deep * np.cos(turn)], -1)
    texture = flat(traits.hair, 0.05, 64)
    texture[..., :3] *= (1 + 0.3 * speckle(rng, 4, 120, 64) + 0.15 * speckle(rng, 8, TEX, 64))[..., None]
    return [Part(points, texture, np.broadcast_to(1 - 0.5 * rise((y - 90) / 90), turn.shape), two_sided=True)]


def tube(path: np.ndarray, radius: float) -> np.ndarray:
    """Round bar (n, 7, 3) mm along a path (n, 3)."""
    along = np.gradient(path, axis=0)
    across = np.cross(along, (0.3, 0.9, 0.31))
    across /= np.linalg.norm(across, axis=-1, keepdims=True)
    third = np.cross(along, across)
    third /= np.linalg.norm(third, axis=-1, keepdims=True)
    turn = np.linspace(0, 2 * np.pi, 7)[:, None]
    return path[:, None] + radius * (np.cos(turn) * across[:, None] + np.sin(turn) * third[:, None])


def glasses(traits: Traits) -> list[Part]:
    """Rims, bridge and temples, with lenses where they are dark."""
    if traits.glasses == "none":
        return []
    turn, gap = np.linspace(0, 2 * np.pi, 25), traits.eye_gap + 1
    parts = []
    for side in (-1, 1):
        ring = np.stack([side * gap + 22 * np.cos(turn), 2 + 17 * np.sin(turn), -101 + 0 * turn], -1)
        ring[:, 2] += 0.006 * ring[:, 0] ** 2 - 2
        arm = np.array([(gap + 22, -3, -89), (74, -5, -70), (79, -5, -30), (79, -4, 4), (78, 4, 16)]) * (side, 1, 1)
        parts += [tube(ring, 2.2), tube(resample(arm[:, None].repeat(2, 1), 12, 2)[:, 0], 2)]
        if traits.glasses == "dark":
            parts.append(ring.mean(0) + np.linspace(0, 1, 5)[:, None, None] * (ring - ring.mean(0)))
    parts.append(tube(np.array([(-gap + 21, -1, -100), (-5, -4, -103), (5, -4, -103), (gap - 21, -1, -100.0)]), 2))
    return [Part(p, flat(traits.frame, 0.7), np.ones(p.shape[:2]), two_sided=True) for p in parts]


def face_normals(points: np.ndarray) -> np.ndarray:
    """Unit normals (r, c, 3) of a lofted surface; columns wrap round where the first and the last coincide."""
    closed = np.allclose(points[:, 0], points[:, -1], atol=1e-3)
    padded = np.concatenate([points[:, -2:-1], points, points[:, 1:2]], 1) if closed else points
    normal = np.cross(np.gradient(padded, axis=0), np.gradient(padded, axis=1))
    normal = normal[:, 1:-1] if closed else normal
    for pole, next_row in ((0, 1), (-1, -2)):
        if np.ptp(points[pole], axis=0).max() < 1e-3:
            normal[pole] = normal[next_row].mean(0)
    return normal / (np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-9)


def assemble(parts: list[Part], spots: np.ndarray, scale: np.ndarray, marks: Mapping[int, np.ndarray]) -> Head:
    """One mesh of all parts, normals outward; `marks` paints 12 mm about a landmark in a colour, for tests."""
    fields: list[list[np.ndarray]] = [[] for _ in range(7)]
    vertices = texels = 0
    for part in parts:
        points, (rows, columns) = part.points * scale, part.points.shape[:2]
        normal, texture = face_normals(points), part.texture.copy()
        if marks:
            place = resample(points, len(texture), TEX)
            for index, colour in marks.items():
                near = np.linalg.norm(place - spots[index] * scale, axis=-1) < 12
                texture[near] = np.append(colour, 0)
        corner = vertices + np.arange(rows * columns).reshape(rows, columns)[:-1, :-1].reshape(-1, 1)
        quads = corner + np.array([[0, columns, 1, 1, columns, columns + 1]])
        if ((points - points.mean((0, 1))) * normal).sum() < 0:
            normal, quads = -normal, quads[:, ::-1]
        v, u = np.mgrid[0 : len(texture) - 1.01 : rows * 1j, 0 : TEX - 1.01 : columns * 1j]
        triangles = quads.reshape(-1, 3)
        pieces = (points, normal, np.stack([v + texels, u], -1), part.follow[..., None])
        for field, piece in zip(fields, pieces, strict=False):
            field.append(piece.reshape(-1, piece.shape[-1]).astype(np.float32))
        for field, piece in zip(fields[4:], (triangles, np.full(len(triangles), part.two_sided), texture), strict=True):
            field.append(piece)
        vertices, texels = vertices + rows * columns, texels + len(texture)
    mesh = [np.concatenate(field) for field in fields]
    mesh[6][:, :, :3] = np.clip(mesh[6][..., :3], 0.01, 1) ** 2  # shading adds light, so colours are kept linear
    points, normals, texel, follow, triangles, two_sided, atlas = mesh
    height = HEIGHT * float(scale[1])
    return Head(points, normals, texel, follow, triangles, two_sided, atlas, spots * scale, height)


def build_head(traits: Traits, rng: np.random.Generator, marks: Mapping[int, np.ndarray] | None = None) -> Head:
    """Mesh of an identity; `rng` draws its blotches and strands."""
    face, spots = head_part(traits, rng)
    parts = [face, *ears(traits), torso(traits, rng), *long_hair(traits, rng), *glasses(traits)]
    return assemble(parts, spots, traits.scale, marks or {})


def project(points: np.ndarray, size: int) -> np.ndarray:
    """Camera points (n, 3) mm -> pixels (n, 2); the centre of the first pixel is 0."""
    return points[:, :2] * (FOCAL * size / points[:, 2:]) + (size - 1) / 2


@dataclass(frozen=True)
class Light:
    """Direction to the lamp (3,) in camera axes, its colour (3,), and the colour of light from everywhere (3,)."""

    direction: np.ndarray
    lamp: np.ndarray
    ambient: np.ndarray


def stand(head: Head, rotation: np.ndarray, shift: np.ndarray, body: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and normals (V, 3) in camera axes; what does not follow the head turns by `body` about the neck."""
    joint = (JOINT @ rotation.T).astype(np.float32)
    rotation, body, shift = rotation.astype(np.float32), body.astype(np.float32), shift.astype(np.float32)
    points, normals = head.points @ rotation.T, head.normals @ rotation.T
    loose = np.flatnonzero(head.follow < 1)
    share = head.follow[loose]
    still = (head.points[loose] - JOINT.astype(np.float32)) @ body.T + joint
    points[loose] = share * points[loose] + (1 - share) * still
    normals[loose] = share * normals[loose] + (1 - share) * (head.normals[loose] @ body.T)
    return points + shift, normals


def rasterise(head: Head, pixel: np.ndarray, depth: np.ndarray, size: int) -> tuple[np.ndarray, ...]:
    """Nearest triangle at each pixel: flat pixel places (n,), triangles (n,), corner weights (n, 3), depths (n,) mm."""
    corner = pixel[head.triangles]
    za, zb, zc = depth[head.triangles].T
    cx, cy = corner[:, 2].T
    (ax, ay), (bx, by) = corner[:, 0].T - (cx, cy), corner[:, 1].T - (cx, cy)
    area = ax * by - ay * bx
    low = np.maximum(np.ceil(corner.min(1)), 0).astype(np.int32)
    span = np.minimum(np.floor(corner.max(1)), size - 1).astype(np.int32) - low + 1
    facing = ((area < -1e-6) | (head.two_sided & (area > 1e-6))) & (span > 0).all(1)
    reach = np.where(facing, span.max(1), 0)
    area = np.where(facing, area, 1)
    # Weights of the first two corners and the depth are linear in the pixel, measured from the third corner.
    planes = np.stack([by / area, -bx / area, -ay / area, ax / area])
    slope = planes[:2] * (za - zc) + planes[2:] * (zb - zc)
    near, nothing = float(depth.min()), np.iinfo(np.int64).max
    packed = np.full(size * size, nothing)
    edges = [2, 3, 4, 5, 6, 8, 10, 13, 17, 24, 32, 48, 64, 128, 256, 1 << 20]
    for below, edge in zip([0, *edges], edges, strict=False):
        chosen = np.flatnonzero((reach > below) & (reach <= edge))
        if not len(chosen):
            continue
        edge = min(edge, int(reach[chosen].max()))
        x = low[chosen, 0, None] + np.tile(np.arange(edge, dtype=np.int32), edge)
        y = low[chosen, 1, None] + np.repeat(np.arange(edge, dtype=np.int32), edge)
        px, py = (x - cx[chosen, None]).astype(np.float32), (y - cy[chosen, None]).astype(np.float32)
        a1, a2, b1, b2 = planes[:, chosen, None]
        wa, wb = px * a1 + py * a2, px * b1 + py * b2
        inside = (np.minimum(wa, wb) >= -1e-4) & (wa + wb <= 1.0001) & (x < size) & (y < size)
        which, cell = np.nonzero(inside)
        index = chosen[which]
        z = zc[index] + px[which, cell] * slope[0, index] + py[which, cell] * slope[1, index]
        key = (((z - near + 9) * 4096).astype(np.int64) << 24) | index
        np.minimum.at(packed, y[which, cell].astype(np.int64) * size + x[which, cell], key)
    places = np.flatnonzero(packed != nothing)
    index = packed[places] & 0xFFFFFF
    px, py = places % size - cx[index], places // size - cy[index]
    wa, wb = px * planes[0, index] + py * planes[1, index], px * planes[2, index] + py * planes[3, index]
    depths = zc[index] + px * slope[0, index] + py * slope[1, index]
    return places, index, np.stack([wa, wb, 1 - wa - wb], -1).astype(np.float32), depths


def lit(head: Head, points: np.ndarray, normals: np.ndarray, light: Light) -> np.ndarray:
    """Share of lamp light, of ambient light and of the lamp's gleam at each vertex (V, 3)."""
    view = -points / np.linalg.norm(points, axis=-1, keepdims=True)
    towards = (normals * view).sum(-1)
    normals = normals * np.where(towards < 0, -1, 1)[:, None]
    lamp = np.clip((normals @ light.direction + 0.2) / 1.2, 0, None)
    half = view + light.direction
    half /= np.linalg.norm(half, axis=-1, keepdims=True)
    gleam = np.clip((normals * half).sum(-1), 0, None) ** 24
    return np.stack([lamp, 0.8 - 0.25 * normals[:, 1] + 0 * lamp, gleam], -1).astype(np.float32)


def read_atlas(atlas: np.ndarray, place: np.ndarray, between: bool) -> np.ndarray:
    """Texels (n, 4) at rows and columns (n, 2): the nearest, or linear `between` four as large pictures need."""
    rows, columns, flat_atlas = len(atlas), atlas.shape[1], atlas.reshape(-1, 4)
    if not between:
        row, column = (place + 0.5).astype(np.int32).clip(0, (rows - 1, columns - 1)).T
        return flat_atlas[row * columns + column]
    low = place.astype(np.int32).clip(0, (rows - 2, columns - 2))
    (down, right), corner = (place - low).T[:, :, None], low[:, 0] * columns + low[:, 1]
    upper = flat_atlas[corner] + right * (flat_atlas[corner + 1] - flat_atlas[corner])
    corner = corner + columns
    lower = flat_atlas[corner] + right * (flat_atlas[corner + 1] - flat_atlas[corner])
    return np.asarray(upper + down * (lower - upper))


def render(
    head: Head, rotation: np.ndarray, shift: np.ndarray, body: np.ndarray, size: int, light: Light | None
) -> tuple[np.ndarray, np.ndarray]:
    """Picture (size, size, 4), RGB times cover and cover in 0..1, and depth (2 size, 2 size) mm, inf where empty.

    `rotation`, `body` are (3, 3), `shift` is the head's origin in camera axes (3,) mm. No light gives bare colours.
    """
    points, normals = stand(head, rotation, shift, body)
    fine = 2 * size
    places, index, weights, depths = rasterise(head, project(points, fine), points[:, 2], fine)
    corners = head.triangles[index]
    shades = lit(head, points, normals, light) if light else np.zeros((len(points), 3), np.float32)
    vertex = np.concatenate([head.texel, shades], -1)
    values = sum(vertex[corners[:, i]] * weights[:, i, None] for i in range(3))
    texel = read_atlas(head.atlas, values[:, :2], between=size > 128)
    colour = texel[:, :3]
    if light:
        lamp, ambient, gleam = values[:, 2:].T[:, :, None]
        colour = colour * (lamp * light.lamp + ambient * light.ambient) + texel[:, 3:] * gleam * light.lamp
    picture = np.zeros((fine * fine, 4), np.float32)
    picture[places, :3] = np.sqrt(np.clip(colour, 0, 1))
    picture[places, 3] = 1
    depth = np.full(fine * fine, np.inf, np.float32)
    depth[places] = depths
    picture = picture.reshape(size, 2, fine, 4).sum(1)
    return (picture[:, 0::2] + picture[:, 1::2]) / 4, depth.reshape(fine, fine)
