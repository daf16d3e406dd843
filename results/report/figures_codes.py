"""The code matrices of a report, beside the bits that were wrong."""

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from PIL import Image

from bel.codes.file import Bits
from bel.codes.library import code_digest, code_matrix
from bel.errors import UserError
from results.analysis.configurations import Configuration
from results.store.artifacts import fetch_predictions
from results.store.predictions import Floats

MOST_AXES, MOST_RUNS, MOST_SIDE = 4, 10, 1000  # axes of a picture; runs of it; entries of a matrix along one side


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
