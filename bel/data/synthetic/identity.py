"""Random identities: shape, colours, hair and glasses of a rendered person."""

from dataclasses import dataclass

import numpy as np

HAIR_STYLES = ("bald", "buzz", "short", "receding", "horseshoe", "curly", "bob", "long", "bun")
# Red, green, blue. Skins run from light to dark and are mixed; people of dark skin mostly have one of the first hairs.
SKINS = np.array([(0.98, 0.84, 0.75), (0.93, 0.74, 0.60), (0.80, 0.58, 0.43), (0.58, 0.39, 0.28), (0.33, 0.21, 0.16)])
HAIRS = np.array([
    (0.07, 0.06, 0.06), (0.2, 0.13, 0.09), (0.38, 0.25, 0.15), (0.78, 0.62, 0.38), (0.5, 0.2, 0.1),
    (0.55, 0.54, 0.53), (0.85, 0.84, 0.82),
])  # fmt: skip
IRISES = np.array([(0.22, 0.13, 0.07), (0.35, 0.25, 0.12), (0.25, 0.42, 0.55), (0.3, 0.42, 0.3)])


@dataclass(frozen=True)
class Traits:
    """An identity: shape in mm or as scale, colours in 0..1, hair style of `HAIR_STYLES`, beard, glasses."""

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
    """Draw an identity."""
    tone = rng.uniform(0, len(SKINS) - 1.001)
    skin = SKINS[int(tone)] + (tone % 1) * (SKINS[int(tone) + 1] - SKINS[int(tone)])
    hair = HAIRS[rng.choice(3 if tone > 2.2 and rng.random() < 0.8 else len(HAIRS))] * rng.uniform(0.8, 1.15)
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
        iris=IRISES[rng.integers(len(IRISES))],
        shirt=rng.uniform(0.05, 0.9) * (0.6 + 0.4 * rng.random(3)),
        frame=rng.uniform(0.02, 0.35, 3),
        style=str(rng.choice(HAIR_STYLES)),
        beard=float(rng.choice([0, 0, 0, 0.6, 3, 8])),
        glasses=str(rng.choice(["none", "clear", "dark"], p=[0.66, 0.27, 0.07])),
    )
