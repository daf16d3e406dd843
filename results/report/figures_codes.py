"""The code matrices of a report, beside the bits that were wrong."""

from __future__ import annotations

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

MOST_AXES, MOST_RUNS, MOST_SIDE = 4, 10, 1000  # axes of a picture; runs of it; entries of a matrix along one side


def wrong_share(one: Configuration) -> dict[str, tuple[NDArray[np.float64], float]]:
    """Share of wrong bits (levels, bits) by axis over the images of all seeds and folds, and of all of them together.

    The share is NaN for levels without images.
    """
    wrong: dict[str, NDArray[np.float64]] = {}
    seen: dict[str, NDArray[np.float64]] = {}
    for run in one.runs[:MOST_RUNS]:
        found = fetch_predictions(run, bits=True)
        for i, name in enumerate(found.axes if found else []):
            assert found is not None
            if name not in found.wrong_bits:
                continue
            levels, bits = int(one.params[f"levels_{name}"]), found.wrong_bits[name].shape[1]
            wrong.setdefault(name, np.zeros((levels, bits)))
            seen.setdefault(name, np.zeros((levels, 1)))
            np.add.at(wrong[name], found.levels[:, i], found.wrong_bits[name])
            np.add.at(seen[name], found.levels[:, i], 1)
    return {
        name: (
            np.where(seen[name] > 0, wrong[name] / np.maximum(seen[name], 1), np.nan),
            float(wrong[name].sum() / (seen[name].sum() * wrong[name].shape[1])),
        )
        for name in wrong
    }


def draw_codes(one: Configuration) -> bytes | None:
    """A code's matrix of each axis beside the share of its bits that were wrong, as PNG; None where it is not known.

    Raises `UserError` where the code is in a file that is not there, or holds another one now.
    """
    shares = dict(list(wrong_share(one).items())[:MOST_AXES])
    if not shares:
        return None
    figure = Figure(figsize=(10, 2.9), dpi=130)
    figure.subplots_adjust(left=0.045, right=0.92, bottom=0.15, top=0.9, wspace=0.28)
    panels = list(figure.subplots(1, 2 * len(shares), squeeze=False)[0])
    top = max(0.02, float(np.nanquantile(np.concatenate([s.ravel() for s, _ in shares.values()]), 0.99)))
    for i, (name, (share, overall)) in enumerate(shares.items()):
        heat(panels[2 * i], trained_matrix(one, len(share)), f"{name}: code", cmap="binary", vmax=1)
        title = f"{overall:.1%} of bits wrong"
        drawn = heat(panels[2 * i + 1], share, title, cmap="magma_r", vmax=top)
        panels[2 * i + 1].set_yticklabels([])
        panels[2 * i].set_ylabel("level" if i == 0 else "", fontsize=8)
    bar = figure.colorbar(drawn, cax=figure.add_axes((0.935, 0.15, 0.009, 0.75)))
    bar.ax.tick_params(labelsize=7)
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return png(figure)


def trained_matrix(one: Configuration, levels: int) -> Bits:
    """The matrix (levels, bits) that a configuration was trained with. Raises `UserError` where its file holds another."""
    code = one.params["code"]
    digest = code_digest(code, levels)
    if digest not in one.params.get("code_digest", digest).split():  # of a sweep before there were digests
        raise UserError(f"{code} holds another code of {levels} levels than the one that was trained")
    return code_matrix(code, levels)


def heat(ax: Axes, matrix: NDArray[Any], title: str, cmap: str, vmax: float) -> Any:
    """A matrix (levels, bits) in axes, a row a level; of a large one every n-th row and column; grey where unknown."""
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
    """A figure as a PNG of few colours."""
    file, small = io.BytesIO(), io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)
    Image.open(file, formats=["PNG"]).convert("RGB").quantize(128).save(small, "png", optimize=True)
    return small.getvalue()
