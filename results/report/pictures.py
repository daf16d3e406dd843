"""The pictures of a report: code matrices beside the bits that were wrong, and the images of the worst and of median errors."""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from mlflow.entities import Run
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bel.angles import wrap_axes
from bel.codes.file import Bits
from bel.codes.library import code_digest, code_matrix
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
from results.store.predictions import Floats, Predictions
from results.store.runs import artifact, fetch_predictions

MOST_AXES, MOST_RUNS, MOST_SIDE = 4, 10, 1000  # axes of a picture; runs of it; entries of a matrix along one side
WORST, MEDIAN = 8, 4  # images
GAP = 4  # pixels between the two copies of an image


def wrong_shares(one: Configuration) -> dict[str, tuple[Floats, float]]:
    """Return by axis the share of wrong bits (levels, bits) over the images of all seeds and folds, and its mean.

    The share is NaN for levels without images.
    """
    wrong: dict[str, Floats] = {}
    images: dict[str, Floats] = {}
    for found in filter(None, (fetch_predictions(run, bits=True) for run in one.runs[:MOST_RUNS])):
        for name, bits in found.wrong_bits.items():
            levels = found.levels[:, found.axes.index(name)]
            shape = int(one.params[f"levels_{name}"]), bits.shape[1]
            np.add.at(wrong.setdefault(name, np.zeros(shape)), levels, bits)
            np.add.at(images.setdefault(name, np.zeros((shape[0], 1))), levels, 1)
    return {
        name: (
            np.where(images[name] > 0, wrong[name] / np.maximum(images[name], 1), np.nan),
            float(wrong[name].sum() / (images[name].sum() * wrong[name].shape[1])),
        )
        for name in wrong
    }


def draw_codes(one: Configuration) -> bytes | None:
    """Return a PNG of a code's matrix of each axis beside the share of its bits that were wrong; None where that is unknown.

    Raises `UserError` where the code is in a file that does not exist, or that holds another code now.
    """
    shares = dict(list(wrong_shares(one).items())[:MOST_AXES])
    if not shares:
        return None
    figure = Figure(figsize=(10, 2.9), dpi=130)
    figure.subplots_adjust(left=0.045, right=0.92, bottom=0.15, top=0.9, wspace=0.28)
    panels = list(figure.subplots(1, 2 * len(shares), squeeze=False)[0])
    top = max(0.02, float(np.nanquantile(np.concatenate([s.ravel() for s, _ in shares.values()]), 0.99)))
    for i, (name, (share, overall)) in enumerate(shares.items()):
        draw_matrix(panels[2 * i], trained_matrix(one, len(share)), f"{name}: code", cmap="binary", vmax=1)
        title = f"{overall:.1%} of bits wrong"
        drawn = draw_matrix(panels[2 * i + 1], share, title, cmap="magma_r", vmax=top)
        panels[2 * i + 1].set_yticklabels([])
        panels[2 * i].set_ylabel("level" if i == 0 else "", fontsize=8)
    bar = figure.colorbar(drawn, cax=figure.add_axes((0.935, 0.15, 0.009, 0.75)))
    bar.ax.tick_params(labelsize=7)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return png(figure)


def trained_matrix(one: Configuration, levels: int) -> Bits:
    """Return the matrix (levels, bits) of a configuration. Raises `UserError` where its file holds another one now."""
    code = one.params["code"]
    digest = code_digest(code, levels)
    if digest not in one.params.get("code_digest", digest).split():  # of a sweep before there were digests
        raise UserError(f"{code} holds another code of {levels} levels than the one that was trained")
    return code_matrix(code, levels)


def draw_matrix(ax: Axes, matrix: NDArray[Any], title: str, cmap: str, vmax: float) -> Any:
    """Draw a matrix (levels, bits), a row a level; of a large one every n-th row and column; grey where it is NaN."""
    levels, bits = matrix.shape
    shown = matrix[:: -(-levels // MOST_SIDE), :: -(-bits // MOST_SIDE)]
    ax.set_facecolor("#dfe2e6")
    edges = (-0.5, bits - 0.5, levels - 0.5, -0.5)
    drawn = ax.imshow(shown, aspect="auto", cmap=cmap, vmin=0, vmax=vmax, interpolation="nearest", extent=edges)
    ax.set_title(title, fontsize=8.5)
    ax.set_xlabel("bit", fontsize=8)
    ax.tick_params(labelsize=7)
    return drawn


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG of 128 colours."""
    canvas, file = FigureCanvasAgg(figure), io.BytesIO()
    canvas.draw()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(128).save(file, "png", optimize=True)
    return file.getvalue()


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
    labels = wrap_axes(data.targets[rows].numpy(), config.definition.axes)
    if min(rows) < 0 or not np.allclose(labels, found.values["target"]):
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
