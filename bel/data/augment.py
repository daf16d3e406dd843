"""Augmentations of a batch on its device, with random numbers that are drawn on the CPU beforehand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bel.angles import Axis, euler_to_matrix, matrix_to_euler, other_triple, wrap_axes
from bel.precision import copy_to

BLUR = 5  # pixels on a side
GREY = (0.299, 0.587, 0.114)  # weights of red, green and blue in a grey value (ITU-R BT.601)
ERASED = (0.02, 0.33)  # share of the image's area
SLIMMEST = 0.3  # least height over width of an erased rectangle; the greatest is its inverse


@dataclass(frozen=True)
class Augmentation:
    """The strength of each augmentation; 0 turns it off.

    `flip`, `blur`, `erase` are probabilities of changing an image, `rotate` is the largest turn in the image plane in degrees,
    `zoom` the largest relative change of size, `shift` the largest move down or right in sides of the image, `jitter` the
    largest relative change of brightness, of contrast and of saturation, below 1.
    """

    flip: float = 0.0
    blur: float = 0.0
    rotate: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    jitter: float = 0.0
    erase: float = 0.0


@dataclass(frozen=True)
class Draws:
    """Random numbers for n images, on the CPU; `draws[rows]` selects some.

    `corners` (n, 2) y, x in pixels of a crop's upper left corner; the rest is float64: uniform in -1..1 `turn` (n,) and
    `jitter` (n, 3), `zoom` (n,) and `shift` (n, 2) y, x, in 0..1 `flip`, `blur`, `erase` (n,), `box` (n, 4) area, aspect,
    y, x and `colour` (n, 3).
    """

    corners: Tensor
    flip: Tensor
    blur: Tensor
    turn: Tensor
    jitter: Tensor
    erase: Tensor
    box: Tensor
    colour: Tensor
    zoom: Tensor
    shift: Tensor

    def __getitem__(self, rows: slice | Tensor) -> Draws:
        """Return the draws of some rows: a slice, indices or a mask."""
        return Draws(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def joined(parts: Sequence[Draws]) -> Draws:
    """Return the draws of several sets of images as those of one."""
    return Draws(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Draws)})


def draw(n: int, margin: tuple[int, int], generator: torch.Generator) -> Draws:
    """Draw random numbers for n images with crop corners from 0 to `margin` pixels (height, width), both included.

    All are drawn, used or not, so that turning one augmentation on or off does not change the others.
    """

    def uniform(*shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=generator, dtype=torch.float64)

    corners = torch.stack([torch.randint(m + 1, (n,), generator=generator) for m in margin], dim=1)
    flip, blur, erase = uniform(), uniform(), uniform()
    turn, change, box, colour = 2 * uniform() - 1, 2 * uniform(3) - 1, uniform(4), uniform(3)
    return Draws(corners, flip, blur, turn, change, erase, box, colour, 2 * uniform() - 1, 2 * uniform(2) - 1)


def augment(images: Tensor, draws: Draws, settings: Augmentation) -> Tensor:
    """Bytes or floats (B, 3, S, S) in 0..255 -> the same shape, range and memory format, on the same device.

    Flips and erasing keep bytes, which are the fastest to copy; the others return floats. Never changes `images`.
    """
    if settings.jitter:
        images = jitter(images.float(), 1 + settings.jitter * draws.jitter)
    if settings.rotate or settings.zoom or settings.shift:
        size = (1 + settings.zoom) ** draws.zoom
        images = warp(images.float(), settings.rotate * draws.turn, size, settings.shift * draws.shift)
    if settings.flip:
        images = change(images, draws.flip < settings.flip, lambda chosen: chosen.flip(-1))
    if settings.blur:
        images = change(images.float(), draws.blur < settings.blur, ring_blur)
    if settings.erase:
        erased = draws.erase < settings.erase
        images = change(images, erased, lambda chosen: erase(chosen, draws.box[erased], draws.colour[erased]))
    return images


def augment_targets(targets: Tensor, draws: Draws, settings: Augmentation, axes: Sequence[Axis]) -> Tensor:
    """Targets in units (B, axes), float64 on the CPU -> targets of the augmented images.

    Rotation needs the axes yaw, pitch, roll; flips need every axis's `flip`. On an axis with a period they are wrapped.
    """
    if settings.rotate:
        targets = turn(targets, settings.rotate * draws.turn)
    if settings.flip:
        signs = torch.tensor([axis.flip or 1 for axis in axes], dtype=targets.dtype)
        targets = torch.where((draws.flip < settings.flip)[:, None], targets * signs, targets)
    return wrap_axes(targets, axes)


def within_axes(targets: Tensor, draws: Draws, settings: Augmentation, axes: Sequence[Axis]) -> Draws:
    """Return the draws without rotations that would move a target (B, axes) beyond the levels of its axes."""
    if not settings.rotate:
        return draws
    turned = augment_targets(targets, draws, settings, axes)
    levels = torch.stack([axis.to_level(value) for axis, value in zip(axes, turned.T, strict=True)])
    last = torch.tensor([[axis.levels - 1] for axis in axes])
    return replace(draws, turn=draws.turn * ((levels >= 0) & (levels <= last)).all(0))


def turn(poses: Tensor, angles: Tensor) -> Tensor:
    """Yaw, pitch, roll (B, 3) and angles (B,) of image rotations, degrees float64 -> rotated poses: R' = Rz(angle) R.

    Of the two triples of each rotation the one nearer to the old pose, so that poses do not jump at 90 degrees of yaw.
    """
    old = poses.numpy()
    about_z = euler_to_matrix(np.stack([np.zeros(len(old)), np.zeros(len(old)), angles.numpy()], axis=-1))
    new = matrix_to_euler(about_z @ euler_to_matrix(old))
    steps = (np.stack([new, other_triple(new)]) - old + 180) % 360 - 180  # (2, B, 3)
    nearer = (steps**2).sum(-1).argmin(0)
    return torch.from_numpy(old + steps[nearer, np.arange(len(old))])


def warp(images: Tensor, angles: Tensor, sizes: Tensor, shifts: Tensor) -> Tensor:
    """Rotate floats (B, 3, S, S) about their centres by degrees (B,), right to down, scale by `sizes` (B,) and shift.

    `shifts` (B, 2) are down and right, in sides of the image. Bilinear, black outside.
    """
    side, angles = images.shape[-1], torch.deg2rad(angles)
    down, right = shifts.T
    numbers = torch.stack([angles.cos(), angles.sin(), 1 / sizes, 2 * right, 2 * down])
    cos, sin, scale, right, down = on_device(numbers, images)[..., None, None]
    x = (2 * torch.arange(side, device=images.device) + 1) / side - 1
    x, y = x - right, x[:, None] - down
    # not by affine_grid: with TF32 its matrix product is rounded to ten bits
    grid = torch.stack([scale * (cos * x + sin * y), scale * (cos * y - sin * x)], dim=-1)
    return torch.empty_like(images).copy_(F.grid_sample(images, grid, align_corners=False))  # keeps the memory format


def jitter(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply brightness, contrast and saturation of floats (B, 3, S, S) in 0..255 by factors (B, 3), in this order.

    Contrast is relative to the mean grey of the image, saturation to the grey of the pixel. The three are one linear map,
    clamped once.
    """
    brightness, contrast, saturation = factors.T
    gain = brightness * contrast
    terms = torch.stack([gain * saturation, gain * (1 - saturation), brightness - gain])
    own, pixel, mean = on_device(terms, images)[..., None, None, None]
    red, green, blue = images.split(1, dim=1)
    grey = GREY[0] * red + GREY[1] * green + GREY[2] * blue
    return (images * own).add_(grey * pixel + grey.mean((1, 2, 3), keepdim=True) * mean).clamp_(0, 255)


def ring_blur(images: Tensor) -> Tensor:
    """Floats (B, 3, S, S) -> means over the 16 outer of 5 x 5 pixels, two pixels of border kept: the published PIL blur."""
    outer, inner = BLUR**2, (BLUR - 2) ** 2
    ring = outer * F.avg_pool2d(images, BLUR, 1) - inner * F.avg_pool2d(images, BLUR - 2, 1)[..., 1:-1, 1:-1]
    edge = BLUR // 2
    blurred = images.clone()
    blurred[..., edge:-edge, edge:-edge] = ring / (outer - inner)
    return blurred


def erase(images: Tensor, boxes: Tensor, colours: Tensor) -> Tensor:
    """Erase a rectangle of images (B, 3, S, S) to one colour (B, 3), boxes (B, 4) as in `Draws` (Zhong et al. 2017).

    Area and log aspect are uniform; the paper draws again what does not fit, here only aspects that fit are drawn.
    """
    size = images.shape[-1]
    area = ERASED[0] + (ERASED[1] - ERASED[0]) * boxes[:, 0]
    aspect = torch.exp((2 * boxes[:, 1] - 1) * area.log().neg().clamp(max=-math.log(SLIMMEST)))
    sides = (size * torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()])).round()  # (2, B) height, width
    starts = (boxes[:, 2:].T * (size - sides + 1)).floor()
    (top, left), (bottom, right) = on_device(torch.stack([starts, starts + sides]), images)[..., None, None, None]
    x = torch.arange(size, device=images.device)
    y = x[:, None]
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)  # (B, 1, S, S)
    return torch.where(inside, on_device(255 * colours, images)[..., None, None].to(images.dtype), images)


def change(images: Tensor, chosen: Tensor, how: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply `how` to the images (B, 3, S, S) of a mask (B,) on the CPU; returns the same object if there are none."""
    rows = chosen.nonzero()[:, 0]
    if not len(rows):
        return images
    rows = copy_to(rows, images.device)
    return images.clone().index_copy_(0, rows, how(images[rows]))


def on_device(numbers: Tensor, images: Tensor) -> Tensor:
    """Copy numbers from the CPU to the device of `images` as float32, without waiting for it."""
    return copy_to(numbers.float(), images.device)
