"""Random light, backdrop and framing of a sitter, and the picture taken with them."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from bel.angles import euler_to_matrix
from bel.data.synthetic.mesh import Head
from bel.data.synthetic.render import FOCAL, Light, render


@dataclass(frozen=True)
class Scene:
    """Where a sitter is photographed: the lamp's angles (rad), light, backdrop (size, size, 3), framing.

    `fill` is the head's height over the picture's, `body_turn` and `body_roll` the shares of the head's yaw and roll that
    the body takes, `fills` the range that `fill` stays in when it jitters.
    """

    azimuth: float
    elevation: float
    light: Light
    backdrop: np.ndarray
    fill: float
    body_turn: float
    fills: tuple[float, float] = (0.56, 0.84)
    body_roll: float = 0.15


@dataclass(frozen=True)
class Shot:
    """A picture (size, size, 3) uint8 of a head at yaw, pitch, roll (3,) degrees, which as a matrix is `rotation`.

    `shift` is the head's origin (3,) mm in camera axes, `depth` (2 size, 2 size) mm is inf where no head is.
    """

    picture: np.ndarray
    pose: np.ndarray
    rotation: np.ndarray
    shift: np.ndarray
    depth: np.ndarray


def towards(azimuth: float, elevation: float) -> np.ndarray:
    """Return the unit vector (3,) in camera axes to a lamp at angles (rad) to the right of the camera and above it."""
    level = np.cos(elevation)
    return np.array([np.sin(azimuth) * level, -np.sin(elevation), -np.cos(azimuth) * level])


def draw_backdrop(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a background (size, size, 3) in 0..1: a soft gradient with a few blurred shapes."""
    ends = np.clip(rng.uniform(0.15, 0.8) + rng.uniform(-0.1, 0.1, (2, 1)) + rng.uniform(-0.07, 0.07, (2, 3)), 0, 1)
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (0.5 + 0.35 * (x * np.cos(angle) + y * np.sin(angle)))[..., None]
    scene = Image.fromarray((255 * np.clip(ends[0] + ramp * (ends[1] - ends[0]), 0, 1)).astype(np.uint8))
    draw = ImageDraw.Draw(scene)
    for _ in range(rng.integers(2, 7)):
        left, top, width, height = rng.integers((-10, -10, 6, 6), (44, 44, 26, 40)).tolist()
        colour = ends[0] + rng.uniform(-0.16, 0.16) + rng.uniform(-0.05, 0.05, 3)
        red, green, blue = (255 * np.clip(colour, 0, 1)).astype(int).tolist()
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((left, top, left + width, top + height), fill=(red, green, blue))
    scene = scene.filter(ImageFilter.GaussianBlur(rng.uniform(1, 4))).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(scene, np.float32) / 255


def draw_scene(rng: np.random.Generator, size: int, wild: bool) -> Scene:
    """Draw a scene; `wild` turns the body with the head as in snapshots."""
    azimuth, elevation = np.clip(rng.normal(0, 0.8), -1.4, 1.4), rng.uniform(-0.1, 1.0)
    lamp = rng.uniform(0.5, 1.1) * (1 + rng.uniform(-0.1, 0.1) * np.array([1, 0, -1]))
    ambient = rng.uniform(0.18, 0.5) * (1 + rng.uniform(-0.1, 0.1) * np.array([-1, 0, 1]))
    light = Light(towards(azimuth, elevation), lamp, ambient)
    turn = rng.uniform(0.35, 0.9) if wild else rng.uniform(0.05, 0.4)
    return Scene(azimuth, elevation, light, draw_backdrop(rng, size), rng.uniform(0.59, 0.81), turn)


def relight(scene: Scene, rng: np.random.Generator) -> Light:
    """Return the light of a scene, moved and dimmed a little as between frames of a recording."""
    aim = towards(scene.azimuth + rng.normal(0, 0.25), scene.elevation + rng.normal(0, 0.12))
    gain, fill = rng.uniform(0.8, 1.2), rng.uniform(0.85, 1.15)
    return Light(aim, gain * scene.light.lamp, fill * scene.light.ambient)


def shoot(head: Head, scene: Scene, pose: np.ndarray, rng: np.random.Generator) -> Shot:
    """Take a picture of a head at yaw, pitch, roll (3,) degrees, with jitter of place and distance, blur and sensor noise."""
    size = len(scene.backdrop)
    distance = head.height * FOCAL / np.clip(scene.fill + rng.normal(0, 0.015), *scene.fills)
    shift = distance * np.append(np.clip(rng.normal(0, 0.02, 2), -0.05, 0.05) / FOCAL, 1)
    rotation = euler_to_matrix(pose)
    body = euler_to_matrix(pose * (scene.body_turn, 0, scene.body_roll) + rng.normal(0, 3, 3))
    cut_out, depth = render(head, rotation, shift, body, size, scene.light)
    picture = cut_out[..., :3] + (1 - cut_out[..., 3:]) * scene.backdrop
    picture += rng.uniform(0.003, 0.014) * rng.standard_normal(picture.shape, np.float32)
    image = Image.fromarray((255 * np.clip(picture, 0, 1)).astype(np.uint8))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.7) * size / 128))
    return Shot(np.asarray(image), pose, rotation, shift, depth)
