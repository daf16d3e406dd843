"""The images of a report: those of the greatest and of median errors, with true and predicted targets."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
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
from results.report.page import Picture
from results.store.artifacts import artifact
from results.store.predictions import Floats, Predictions

WORST, MEDIAN = 8, 4  # images
GAP = 4  # pixels between the two copies of an image


def config_of(run: Run, changes: Mapping[str, Any]) -> TrainConfig:
    """Return the config of a run, with fields changed for this machine. Raises `UserError` where it has none."""
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


def validation_images(run: Run, changes: Mapping[str, Any]) -> tuple[TrainConfig, Prepared]:
    """Return the config of a run and its prepared validation images. Raises `UserError` where they are not on this machine."""
    config = config_of(run, changes)
    wanted = request(config, "test" if config.selection == "test" else "train")
    folder = place(wanted, usable(wanted))
    if not folder.exists():
        raise UserError("the images are not prepared here: run `bel-data prepare` with the data of the sweep")
    try:
        return config, open_prepared(folder, wanted.skip)
    except DamagedError as error:
        raise UserError(f"{error}: run `bel-data prepare` with the data of the sweep, which makes it again") from error


def tiles(one: Configuration, changes: Mapping[str, Any]) -> tuple[list[Picture], list[Picture]]:
    """Return the images of the greatest errors of a configuration's first seed, and of the median ones.

    Raises `UserError` where the images are not on this machine.
    """
    found = one.seeds[0]
    try:
        config, data = validation_images(one.runs[0], changes)
    except OSError as error:
        raise UserError(f"the images cannot be read here: {error}") from error
    index = {name: i for i, name in enumerate(data.names)}
    rows = [index.get(name, -1) for name in found.names.tolist()]
    if min(rows) < 0 or not np.allclose(data.targets[rows].numpy(), found.values["target"]):
        raise UserError("the data here has other images or other labels than those of the sweep")
    errors = found.mean_errors(one.decoder)

    def tile(i: int) -> Picture:
        pixels = np.asarray(data.images[rows[i]])
        true, predicted = found.values["target"][i], found.values[one.decoder][i]
        top, left = center(pixels.shape, size := config.image_size, config.center_crop)
        seen = pixels[top : top + size, left : left + size]
        picture = jpeg(seen, [true, predicted] if config.definition.pose else [])
        return Picture(picture, "image/jpeg", str(found.names[i]), tile_text(found, i, one.decoder, float(errors[i])))

    return [tile(i) for i in worst_rows(found, errors)], [tile(i) for i in median_rows(errors)]


def worst_rows(found: Predictions, errors: Floats) -> list[int]:
    """Return the rows of the greatest errors, few of a group: neighbouring frames fail alike."""
    most = most_of_a_group(found)
    count: Counter[str] = Counter()
    rows = []
    for i in np.argsort(-errors, kind="stable").tolist():
        count[found.groups[i]] += 1
        if count[found.groups[i]] <= most:
            rows.append(i)
    return rows[:WORST]


def most_of_a_group(found: Predictions) -> int:
    """Return how many of the worst images one group may have."""
    return max(2, -(-WORST // len(found.group_names)))


def median_rows(errors: Floats) -> list[int]:
    """Return the rows of the errors around the median."""
    start = max(0, (len(errors) - MEDIAN) // 2)
    return np.argsort(errors, kind="stable")[start : start + MEDIAN].tolist()


def tile_text(found: Predictions, i: int, decoder: str, error: float) -> str:
    """Return the error of an image, and its true and predicted target."""
    values = zip(found.meaning["axes"], found.values["target"][i], found.values[decoder][i], strict=True)
    texts = [f"{axis['name']} {target_text(t, axis)} → {target_text(p, axis)}" for axis, t, p in values]
    return f"{error:.2f} {found.meaning['unit']}: {', '.join(texts[:6])}"


def target_text(value: float, axis: Mapping[str, Any]) -> str:
    """Return a target as text."""
    return f"{value:.1f}" if axis["unit"] == "deg" else f"{value:.4g}"


def jpeg(pixels: NDArray[np.uint8], poses: Sequence[Sequence[float]] = ()) -> bytes:
    """Return an image as JPEG; with poses (yaw, pitch, roll in degrees) once for each, the axes of the head drawn in."""
    copies = [Image.fromarray(pixels).resize((TILE, TILE), Image.Resampling.BICUBIC) for _ in poses or [()]]
    row = Image.new("RGB", (len(copies) * (TILE + GAP) - GAP, TILE), "white")
    for i, copy in enumerate(copies):
        if poses:
            draw_axes(ImageDraw.Draw(copy), poses[i])
        row.paste(copy, (i * (TILE + GAP), 0))
    file = io.BytesIO()
    row.save(file, "jpeg", quality=88, subsampling=0)
    return file.getvalue()
