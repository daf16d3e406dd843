"""Colours of the head: skin, face, hair and beard, each where it grows; before the identity's scaling."""

import numpy as np

from bel.data.synthetic.identity import Traits
from bel.data.synthetic.surface import TEX, bump, paint, rise, speckle

# Hairline: |angle| from the front (rad) and the height y below which there is no hair (mm).
HAIRLINE = np.array([(0, -72), (0.5, -70), (0.8, -52), (1.05, -30), (1.25, 12), (1.5, 14), (1.9, 40), (3.2, 66)])


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
    if not traits.beard:
        return np.zeros_like(y)
    top = np.interp(abs(angle), [0, 0.3, 0.6, 1.0, 1.3], [54, 55, 72, 58, 14])
    lips = rise(2.2 * (1 - (x / (traits.mouth + 3)) ** 2 - ((y - 71) / 10) ** 2))
    return rise((y - top) / (14 if traits.beard < 1 else 7)) * (1 - lips) * rise((1.55 - abs(angle)) / 0.2)


def head_texture(
    traits: Traits, rng: np.random.Generator, angle: np.ndarray, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Texture (TEX, TEX, 4) of the head whose columns are at `angle` (TEX,) and whose texels at x, y (TEX, TEX) mm."""
    skin = np.empty((TEX, TEX, 4), np.float32)
    skin[..., :3] = traits.skin * (1 + 0.04 * speckle(rng, 24, 24) + 0.03 * speckle(rng, 128, 128))[..., None]
    skin[..., :3] *= 1 - 0.25 * rise((y - 92) / 30)[..., None]
    skin[..., 3] = 0.16
    face = np.s_[slice(*np.searchsorted(y[:, 0], (-45, 112))), slice(*np.searchsorted(angle, (-1.3, 1.3)))]
    for paint_feature in (paint_creases, paint_mouth, paint_eyes, paint_brows):
        paint_feature(traits, skin[face], x[face], y[face])
    paint_hair(traits, rng, skin, angle, x, y)
    return skin


def shadow(traits: Traits) -> np.ndarray:
    """Colour (3,) of the skin's folds."""
    return traits.skin * (0.4, 0.32, 0.3)


def paint_creases(traits: Traits, face: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Red cheeks and nose, dark folds and nostrils on the texture (r, c, 4), in place, at places x, y (r, c) mm."""
    side, dark = abs(x), shadow(traits)
    flush = np.clip(traits.skin * (1.05, 0.72, 0.68), 0, 1)
    paint(face, 0.4 * bump(side, y, 44, 36, 20, 15) + 0.4 * bump(side, y, 0, 41, 12, 9), flush, 0.14)
    paint(face, 0.4 * bump(side, y, traits.eye_gap - 8, -3, 15, 9) + 0.35 * bump(side, y, 0, 53, 15, 4), dark, 0.05)
    paint(face, 0.3 * bump(side, y, 0, 86, 17, 4) + 0.3 * bump(side, y, 21, 54, 5, 10), dark, 0.05)
    paint(face, 0.95 * bump(side, y, 6.5, 48.5, 3.2, 2.2), dark * 0.4, 0)


def paint_mouth(traits: Traits, face: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Lips and the line between them, as `paint_creases`."""
    side, full = abs(x), traits.lips**0.5
    bow = np.clip(1 - (side / traits.mouth) ** 2, 0, None) ** 0.6
    upper, lower = (6 - 1.5 * bump(side, y, 0, 66, 4, 9)) * bow * full, 8 * bow * full
    lips = rise((y - 71 + upper) / 1.6 + 0.5) * rise((71 + lower - y) / 1.6 + 0.5) * (side < traits.mouth)
    line = np.exp(-(((y - 71 - 0.002 * side**2) / 1.1) ** 2)) * (side < traits.mouth + 1)
    paint(face, lips * 0.85, traits.skin * (0.82, 0.5, 0.48), 0.35)
    paint(face, 0.85 * line, shadow(traits) * 0.6, 0)


def paint_eyes(traits: Traits, face: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """White, iris, pupil and glint of the eyes, their lashes and lids, as `paint_creases`."""
    dx = abs(x) - traits.eye_gap
    lid = 1 - (dx / traits.eye_size) ** 2
    inside, top, bottom = lid > -0.1, y - 1 + 6.4 * lid, y - 1 - 4.6 * lid
    white = rise(top / 1.2 + 0.5) * rise(-bottom / 1.2 + 0.5) * (lid > 0)
    radius = np.hypot(dx, y)
    paint(face, white, (0.93, 0.91, 0.9), 0.12)
    paint(face, white * rise((6.4 - radius) / 1.2), traits.iris, 0.12)
    paint(face, white * rise((3.2 - radius) / 1.0), (0.02, 0.02, 0.02), 0.1)
    # The glint is on the same side of both eyes, unlike all else.
    glint = bump(np.hypot(x - traits.eye_gap * np.sign(x) + 2, y + 2.5), y, 0, -2.5, 1.4, 2)
    paint(face, 0.85 * glint, (1, 1, 1), 0.9)
    paint(face, 0.9 * np.exp(-((top / 1.3) ** 2)) * inside, traits.hair * 0.3 + 0.02, 0.1)
    below, above = np.exp(-((bottom / 1.0) ** 2)), np.exp(-(((top + 4) / 1.1) ** 2))
    paint(face, 0.5 * below * inside + 0.4 * above * inside, shadow(traits), 0)


def paint_brows(traits: Traits, face: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Brows, as `paint_creases`."""
    dx = abs(x) - traits.eye_gap
    off = y + 18 + 4.5 * (1 - ((dx + 1) / 19) ** 2) - 0.12 * dx
    tuft = rise(1.6 - abs(off) / np.clip(2.7 - 0.06 * dx, 0.5, 9)) * rise((20 - abs(dx + 1)) / 4)
    paint(face, 0.85 * tuft, traits.hair * 0.75 + 0.02 * traits.skin, 0.05)


def paint_hair(
    traits: Traits, rng: np.random.Generator, skin: np.ndarray, angle: np.ndarray, x: np.ndarray, y: np.ndarray
) -> None:
    """Beard and hair in strands with ragged edges on the whole texture, in place; less glossy than skin."""
    coarse = (70, 70) if traits.style == "curly" else (10, 200)
    strands = traits.hair * (1 + 0.3 * speckle(rng, *coarse) + 0.12 * speckle(rng, TEX, TEX))[..., None]
    hair = hair_mask(traits, angle, y + 5 * speckle(rng, 40, 128))
    beard = beard_mask(traits, angle, x, y + 4 * speckle(rng, 100, 100)) * (0.35 if traits.beard < 1 else 0.92)
    for mask in (beard, hair):
        skin[..., :3] += mask[..., None] * (strands - skin[..., :3])
        skin[..., 3] *= 1 - 0.7 * mask
