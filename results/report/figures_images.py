"""The images of a report: the worst and the usual ones, with true and predicted targets."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml
from mlflow.entities import Run
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bel.config import TrainConfig
from bel.data.checking.sheet import TILE, draw_axes
from bel.data.loading import request
from bel.data.prepare.crops import center
from bel.data.prepare.prepared import Prepared, open_prepared, place, usable
from bel.data.prepare.verified import DamagedError
from bel.errors import UserError
from bel.run_layout import CONFIG
from bel.tensor_file import refuse_odd
from bel.training.checkpoint import config_values
from results.analysis.configurations import Configuration
from results.store.artifacts import artifact
from results.store.predictions import Predictions

WORST, MEDIAN = 8, 4


@dataclass(frozen=True)
class Tile:
    """An image with its true and predicted target, as JPEG, and what it is."""

    picture: bytes
    name: str
    text: str


def trained_with(run: Run, changes: Mapping[str, Any]) -> TrainConfig:
    """The config that a run was trained with, some fields changed for this machine. Raises `UserError` where it has none."""
    with artifact(run, CONFIG) as path:
        if path is None:
            raise UserError(f"run {run.info.run_id} has no {CONFIG}")
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
            refuse_odd(values, 0)
            fields = dict(values)
        except (ValueError, TypeError, RecursionError, yaml.YAMLError) as error:
            raise UserError(f"the {CONFIG} of run {run.info.run_id} is none of ours: {type(error).__name__}") from error
    return TrainConfig.make(config_values({"config": fields}) | {"weights": "none"} | dict(changes))


def pictures(run: Run, changes: Mapping[str, Any]) -> tuple[TrainConfig, Prepared]:
    """The prepared images that a run was validated on. Raises `UserError` where they are not on this machine."""
    config = trained_with(run, changes)
    wanted = request(config, "test" if config.selection == "test" else "train")
    folder = place(wanted, usable(wanted))
    if not folder.exists():
        raise UserError("the images are not prepared here: run `bel-data prepare` with the data of the sweep")
    try:
        return config, open_prepared(folder, wanted.skip)
    except DamagedError as error:
        raise UserError(f"{error}: run `bel-data prepare` with the data of the sweep, which makes it again") from error


def tiles(one: Configuration, changes: Mapping[str, Any]) -> tuple[list[Tile], list[Tile]]:
    """The worst images of a configuration's first seed, and the middle ones. Raises `UserError` where there are none here."""
    found = one.seeds[0]
    try:
        config, data = pictures(one.runs[0], changes)
    except OSError as error:
        raise UserError(f"the images cannot be read here: {error}") from error
    index = {name: i for i, name in enumerate(data.names)}
    rows = [index.get(name, -1) for name in found.names.tolist()]
    if min(rows) < 0 or not np.allclose(data.targets[rows].numpy(), found.values["target"]):
        raise UserError("the data here has other images or other labels than those of the sweep")
    errors = found.mean_errors(one.decoder)

    def drawn(i: int) -> Tile:
        pixels = np.asarray(data.images[rows[i]])
        true, predicted = found.values["target"][i], found.values[one.decoder][i]
        top, left = center(pixels.shape, size := config.image_size, config.center_crop)
        picture = jpeg(pixels[top : top + size, left : left + size], true, predicted, config.definition.pose)
        return Tile(picture, str(found.names[i]), described(found, i, one.decoder, float(errors[i])))

    return [drawn(i) for i in worst(found, errors)], [drawn(i) for i in middle(errors)]


def worst(found: Predictions, errors: NDArray[np.float64]) -> list[int]:
    """Rows of the greatest errors, few of a group: neighbouring frames fail alike."""
    most = most_of_a_group(found)
    times: Counter[str] = Counter()
    picked = []
    for i in np.argsort(-errors, kind="stable").tolist():
        times[found.groups[i]] += 1
        if times[found.groups[i]] <= most:
            picked.append(i)
    return picked[:WORST]


def most_of_a_group(found: Predictions) -> int:
    """How many of the worst images one group may have."""
    return max(2, -(-WORST // len(found.group_names)))


def middle(errors: NDArray[np.float64]) -> list[int]:
    """Rows of the errors in the middle."""
    order = np.argsort(errors, kind="stable")
    start = max(0, (len(order) - MEDIAN) // 2)
    return [int(i) for i in order[start : start + MEDIAN]]


def described(found: Predictions, i: int, decoder: str, error: float) -> str:
    """Error of an image, and its true and predicted target."""

    def pairs() -> Iterator[str]:
        for axis, true, ours in zip(
            found.meaning["axes"], found.values["target"][i], found.values[decoder][i], strict=True
        ):
            yield f"{axis['name']} {value(true, axis)} → {value(ours, axis)}"

    return f"{error:.2f} {found.meaning['unit']}: {', '.join(list(pairs())[:6])}"


def value(number: float, axis: Mapping[str, Any]) -> str:
    """A target as text."""
    return f"{number:.1f}" if axis["unit"] == "deg" else f"{number:.4g}"


def jpeg(pixels: NDArray[np.uint8], true: Sequence[float], ours: Sequence[float], pose: bool) -> bytes:
    """What the network saw of an image, for a pose twice: with the true axes and with the predicted ones."""
    seen = Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.BICUBIC)
    both = Image.new("RGB", (2 * TILE + 4 if pose else TILE, TILE), "white")
    for i, target in enumerate([true, ours] if pose else [()]):
        half = seen.copy()
        if pose:
            draw_axes(ImageDraw.Draw(half), target)
        both.paste(half, (i * (TILE + 4), 0))
    file = io.BytesIO()
    both.save(file, "jpeg", quality=88, subsampling=0)
    return file.getvalue()
