"""Shape of the head: skull and face, hair and beard, ears and landmarks; neck and shirt, long hair, glasses."""

import numpy as np

from bel.data.synthetic.identity import Traits
from bel.data.synthetic.skin import beard_mask, hair_mask, head_texture
from bel.data.synthetic.surface import TEX, Part, bump, ellipsoid, paint, plain, resample, rise, speckle, tube

ROWS, COLUMNS = 88, 80  # points of the head, from top to chin; columns go round from the back, the face in the middle
# Sections of the skull: y, then middle z and half depth over the unit ellipsoid (mm).
SECTIONS = np.array([
    (-115, 8, 96), (-80, 6, 101), (-50, 3, 101), (-25, 0, 100), (0, 0, 93), (25, -6, 88),
    (50, -17, 82), (70, -29, 77), (90, -39, 74), (105, -46, 76), (115, -50, 78),
], dtype=float)  # fmt: skip
THICKNESS = {"buzz": 1.5, "short": 7, "receding": 6, "horseshoe": 4, "curly": 20, "bob": 9, "long": 9, "bun": 9}  # mm


def skull(traits: Traits) -> tuple[np.ndarray, np.ndarray]:
    """Bare head (ROWS, COLUMNS, 3) mm and the angle of each column from the front (rad); dense at the face."""
    turn = np.linspace(-np.pi, np.pi, COLUMNS)
    angle = turn - 0.7 * np.sin(turn)
    density = 1 + 1.3 * np.exp(-(((np.linspace(0, 1, ROWS - 1) - 0.66) / 0.15) ** 2))
    polar = np.pi * np.append(0, density.cumsum() / density.sum())[:, None]
    y, radius = -115 * np.cos(polar), np.sin(polar) ** np.where(polar < np.pi / 2, 0.56, 0.88)
    # The mean over heights near y rounds the corners between sections.
    near = y + np.linspace(-14, 14, 7)
    middle, depth = (np.interp(near, SECTIONS[:, 0], column).mean(1, keepdims=True) for column in SECTIONS.T[1:])
    width = 74 + traits.jaw * np.exp(-(((y - 72) / 28) ** 2))
    x = radius * width * (np.sin(angle) + 0.04 * np.sin(3 * angle))
    z = middle - radius * depth * (np.cos(angle) - 0.04 * np.cos(3 * angle))
    y = np.broadcast_to(y, x.shape)
    z = z - rise(np.cos(angle) / 0.45) * relief(traits, x, y)
    x = x + np.sign(x) * traits.cheek * 0.5 * bump(abs(x), y, 58, 26, 18, 16)
    return np.stack([x, y, z], -1), angle


def relief(traits: Traits, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the height (mm) of the features of the face at places (x, y) of the head."""
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


def with_hair(traits: Traits, rng: np.random.Generator, bare: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return the bare head with the thickness of its hair and beard (ROWS, COLUMNS, 3) mm."""
    x, y, _ = np.moveaxis(bare, -1, 0)
    uneven = 1 + 0.25 * resample(rng.uniform(-1, 1, (14, 14)), ROWS, COLUMNS)
    depth = THICKNESS.get(traits.style, 0) * hair_mask(traits, angle, y) * uneven
    depth += traits.beard * beard_mask(traits, angle, x, y)
    outward = bare - (0, 0, 5)
    outward /= np.linalg.norm(outward, axis=-1, keepdims=True) + 1e-9
    points = bare + depth[..., None] * outward
    points[:, -1] = points[:, 0]
    return points


def head_part(traits: Traits, rng: np.random.Generator) -> tuple[Part, np.ndarray]:
    """Return skin, face, hair and beard as one surface, and its landmarks (72, 3) mm; before scaling."""
    bare, angle = skull(traits)
    x, y = np.moveaxis(resample(bare[..., :2], TEX, TEX).astype(np.float32), -1, 0)
    fine = np.interp(np.linspace(0, COLUMNS - 1, TEX), np.arange(COLUMNS), angle)
    texture = head_texture(traits, rng, fine, x, y)
    points = with_hair(traits, rng, bare, angle)
    return Part(points, texture), landmarks(traits, points, angle)


def ear_points(traits: Traits, side: int) -> np.ndarray:
    """Ear (13, 17, 3) mm at the left (-1) or right (1) of the picture; row 0 is the middle of its hollow."""
    size = traits.ears
    x, y, z = np.moveaxis(ellipsoid((0, 0, 0), (7, size, size * 0.6)), -1, 0)
    x = x - 6.5 * np.exp(-((np.hypot(y + 3, z * 1.5) / (size * 0.55)) ** 4)) * (x > 0)
    z = z * (1 - 0.3 * y / size)
    return (np.stack([x + 0.42 * z, y, z - 0.2 * y], -1) + np.array([75, 20, 14])) * (side, 1, 1)


def ears(traits: Traits) -> list[Part]:
    """Return both ears, darker in the hollow."""
    texture = plain(traits.skin * (1, 0.9, 0.87), 0.15, 26)
    texture[:9, :, :3] *= np.linspace(0.5, 1, 9)[:, None, None]
    return [Part(ear_points(traits, side), texture) for side in (-1, 1)]


def landmark_places(traits: Traits) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Return the places of iBUG's points: (angle, y) of 17 on the contour, (x, y) of the other 51 and of both eyes."""
    gap, eye, nose, mouth = traits.eye_gap, traits.eye_size, traits.nose[1] + 2, traits.mouth
    angles, heights = (1.45, 1.4, 1.33, 1.22, 1.05, 0.85, 0.6, 0.3), (10.0, 28.0, 46.0, 62.0, 77.0, 90.0, 100.0, 107.0)
    half = list(zip(angles, heights, strict=True))
    brow = [(gap - 20 + 9.5 * i, y) for i, y in enumerate((-19, -22, -22.5, -21, -17))]
    bridge = [(0, -4), (0, 11), (0, 26), (0, 41), (-nose, 49), (-6, 51), (0, 52), (6, 51), (nose, 49)]
    lids = [(-eye, 1), (-eye / 3, -4.7), (eye / 3, -4.7), (eye, 1), (eye / 3, 5), (-eye / 3, 5)]
    outer = [(-1, 71), (-0.6, 66), (-0.2, 64.5), (0, 65.5), (0.2, 64.5), (0.6, 66), (1, 71), (0.6, 77), (0.25, 79.5),
             (0, 80), (-0.25, 79.5), (-0.6, 77)]  # fmt: skip
    inner = [(-0.85, 71), (-0.3, 70), (0, 70), (0.3, 70), (0.85, 71), (0.3, 73), (0, 73), (-0.3, 73)]
    contour = [(-angle, y) for angle, y in half] + [(0.0, 109)] + half[::-1]
    front = [(-x, y) for x, y in brow[::-1]] + brow + bridge + [(s * gap + x, y) for s in (-1, 1) for x, y in lids]
    return contour, [*front, *((x * mouth, y) for x, y in outer + inner), (-gap, 0), (gap, 0)]


def landmarks(traits: Traits, points: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return landmarks on the points of the head, before scaling (72, 3) mm: 68 of iBUG, both ear holes, both eyes."""
    contour, front = landmark_places(traits)
    x, y, _ = np.moveaxis(points, -1, 0)
    surface, behind = points.reshape(-1, 3), 1e6 * (np.cos(angle) < 0.2)
    spots = [surface[(900 * (angle - a) ** 2 + (y - h) ** 2).argmin()] for a, h in contour]
    for across, height in front:
        nearest = ((x - across) ** 2 + (y - height) ** 2 + behind).argmin()
        spots.append(np.array([across, height, surface[nearest, 2]]))
    nose = points[40:70, 38:42].reshape(-1, 3)
    spots[30] = nose[nose[:, 2].argmin()]
    return np.array([*spots[:68], *(ear_points(traits, side)[6, 4] for side in (-1, 1)), *spots[68:]])


# Sections of neck and shoulders (mm): y, half width, half depth, middle z.
TORSO = np.array([
    (55, 44, 44, 22), (75, 50, 50, 24), (95, 52, 52, 27), (112, 53, 54, 30), (126, 55, 56, 33), (138, 62, 60, 36),
    (150, 84, 66, 38), (162, 120, 74, 38), (178, 158, 86, 36), (200, 180, 96, 34), (240, 190, 104, 32),
    (290, 192, 108, 32), (360, 192, 110, 32),
], dtype=float)  # fmt: skip


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
