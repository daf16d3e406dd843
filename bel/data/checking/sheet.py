"""A picture sheet: images over the whole range of the first axis, with their labels drawn on them."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from bel.angles import Axis, euler_to_matrix
from bel.data.checking.half import Half
from bel.data.checking.inspection import Facts
from bel.data.images import decoded
from bel.data.prepare.crops import part
from bel.data.readers.base import Box, Entry

TILE, CAPTION, COLUMNS, PICKED = 168, 26, 6, 24  # pixels of an image and of its text; images in a row and of a source
LENGTH = 0.36  # of an axis, in tiles
RED, GREEN, BLUE, WHITE, GREY = (255, 60, 60), (60, 220, 60), (80, 140, 255), (255, 255, 255), (170, 170, 170)
LEGEND = "red: the head's x, to image-right    green: its y, down    blue, with a dot: where the face looks"


def draw_sheet(halves: Sequence[Half]) -> Image.Image:
    """Draw twenty-four images of each source in rows of six, below its name."""
    blocks = [draw_source(half) for half in halves]
    sheet = Image.new("RGB", (COLUMNS * TILE, max(1, sum(block.height for block in blocks))))
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    return sheet


def draw_source(half: Half) -> Image.Image:
    """Draw usable images of one source."""
    entries, pose = half.usable(), half.definition.pose
    picked = pick(entries, half.facts)
    title = f"{half.name}: {len(picked)} of {len(entries)}, by {half.axes[0].name}    {LEGEND if pose else ''}"
    return grid([draw_tile(entry, half.facts[entry.stem], half.axes, pose, half.exif) for entry in picked], title)


def grid(tiles: Sequence[Image.Image], title: str) -> Image.Image:
    """Return tiles in rows of six below a title."""
    rows = math.ceil(len(tiles) / COLUMNS)
    block = Image.new("RGB", (COLUMNS * TILE, CAPTION + rows * (TILE + CAPTION)))
    ImageDraw.Draw(block).text((6, 6), title, fill=WHITE)
    for i, tile in enumerate(tiles):
        block.paste(tile, (i % COLUMNS * TILE, CAPTION + i // COLUMNS * (TILE + CAPTION)))
    return block


def pick(entries: list[Entry], facts: dict[str, Facts], count: int = PICKED) -> list[Entry]:
    """Return entries in equal steps of the first axis; of those nearest to a step, one of the least used group."""
    values = {entry.stem: (facts[entry.stem].target or (0.0,))[0] for entry in entries}
    left = sorted(entries, key=lambda entry: values[entry.stem])
    if len(left) <= count:
        return left
    times: Counter[str] = Counter()
    picked = []
    for step in np.linspace(values[left[0].stem], values[left[-1].stem], count):
        nearest = sorted(left, key=lambda entry: abs(values[entry.stem] - step))[: max(1, len(entries) // (4 * count))]
        chosen = min(nearest, key=lambda entry: times[entry.group])
        times[chosen.group] += 1
        left.remove(chosen)
        picked.append(chosen)
    return sorted(picked, key=lambda entry: values[entry.stem])


def draw_tile(entry: Entry, facts: Facts, axes: Sequence[Axis], pose: bool, exif: str) -> Image.Image:
    """Draw one image, cropped around its face where that is known, with its label."""
    rgb = decoded(entry.image, exif)
    if facts.face:
        rgb = part(rgb, facts.face)
    scale = TILE / max(rgb.size)
    rgb = rgb.resize([max(1, round(side * scale)) for side in rgb.size], Image.Resampling.BILINEAR)
    target = facts.target or ()
    values = "  ".join(f"{axis.name[0] if pose else axis.name} {x:.4g}" for axis, x in zip(axes, target, strict=True))
    return labelled(rgb, entry.stem, values, target if pose else None)


def labelled(image: Image.Image, name: str, values: str, pose: Sequence[float] | None) -> Image.Image:
    """Return a tile of an image that is as large at most, with its name and values below; a pose is drawn in."""
    tile = Image.new("RGB", (TILE, TILE + CAPTION))
    tile.paste(image, ((TILE - image.width) // 2, (TILE - image.height) // 2))
    draw = ImageDraw.Draw(tile)
    if pose is not None:
        draw_axes(draw, pose)
    draw.text((3, TILE + 1), name[-27:], fill=GREY)
    draw.text((3, TILE + 13), values[:30], fill=WHITE)
    return tile


def draw_axes(draw: ImageDraw.ImageDraw, pose: Sequence[float], box: Box = (0, 0, TILE, TILE)) -> None:
    """Draw the axes of a head rotated by yaw, pitch, roll in degrees, without perspective, from the centre of a square box."""
    side = box[2] - box[0]
    center, scale = np.array([box[0] + side / 2, box[1] + side / 2]), side / TILE
    x, y, z = (LENGTH * side * euler_to_matrix(np.array(pose)).T)[:, :2]
    for color, arm in ((RED, x), (GREEN, y), (BLUE, -z)):  # z points away from the camera, the face towards it
        draw.line([*center, *(center + arm)], fill=color, width=max(round(3 * scale), 1))
    draw.ellipse([*(center - z - 4 * scale), *(center - z + 4 * scale)], fill=BLUE)
