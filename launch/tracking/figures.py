"""Figures of a trial: its code matrices, the distribution of its labels over the levels, its learning curve.

For speed they are drawn once, into a canvas with fixed margins (savefig draws twice, a layout engine more often), and a
figure that many trials share once in a process.
"""

import io
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from bel.codes.file import Bits
from bel.config import TrainConfig
from bel.data.labels import clamped, histogram
from bel.data.prepare.prepared import Prepared
from bel.heads import HEADS
from bel.run_layout import CODE_FIGURE, CURVE_FIGURE
from bel.text import SHOWN, selection
from bel.training import checkpoint

MOST_PIXELS = 2000  # of a code matrix, a side
MOST_LINES = 50  # of a learning curve
DPI = 90
DRAWN: dict[Hashable, bytes] = {}  # PNG by what determines a figure


def draw_matrix(ax: Axes, matrix: Bits | NDArray[np.float32], name: str) -> None:
    """Draw a code matrix (levels, bits), of a large one every n-th row and column, because imshow would take GBs."""
    levels, bits = matrix.shape
    shown = matrix[:: -(-levels // MOST_PIXELS), :: -(-bits // MOST_PIXELS)]
    edges = (-0.5, bits - 0.5, levels - 0.5, -0.5)
    ax.imshow(shown, aspect="auto", cmap="binary", interpolation="nearest", extent=edges)
    ax.set(title=f"{name}: {levels} levels x {bits} bits", xlabel="bit", ylabel="level")


def draw_code(config: TrainConfig, weights: Mapping[str, Tensor], path: Path) -> None:
    """Write a figure of the code matrix of each axis, a learned one from the weights; none for a head without a code."""
    head = HEADS[config.head]

    def drawn() -> bytes:
        matrices = head.code_matrices(config, weights)
        figure, axes = row(len(matrices), height=4, title=f"code {config.code or config.head}")
        for ax, (name, matrix) in zip(axes, matrices.items(), strict=False):
            draw_matrix(ax, matrix, name)
        return png(figure)

    if config.code is not None:
        path.write_bytes(once(("code", config.head, config.code, config.code_digest, config.axes), drawn))
    elif head.code_matrices(config, weights):
        path.write_bytes(drawn())


def draw_result(config: TrainConfig, history: Sequence[Mapping[str, float]], best: Path, folder: Path) -> None:
    """Write into a folder the figures of the code, a learned one from the checkpoint, and of the curve, unless it is there."""
    draw_code(config, {} if config.code else checkpoint.load(best)["weights"], folder / CODE_FIGURE)
    if not (folder / CURVE_FIGURE).exists():
        draw_curve(history, folder / CURVE_FIGURE, config.selection)


def draw_labels(config: TrainConfig, data: Prepared, path: Path) -> None:
    """Write a figure of the number of training images on each level of each axis, with the share of clamped labels."""

    def drawn() -> bytes:
        figure, axes = row(len(config.axes), height=3, title=f"labels of {len(data)} training images")
        for ax, axis, values in zip(axes, config.axes, data.targets.T, strict=False):
            ax.stairs(histogram(values, axis).numpy(), np.arange(axis.levels + 1) - 0.5, fill=True)
            title = f"{axis.name}: {clamped(values, axis):.2%} clamped"
            ax.set(title=title, xlabel=f"level ({axis.step:g} {axis.unit})", ylabel="images")
        return png(figure)

    path.write_bytes(once(("labels", data.digest, config.axes), drawn))


def draw_curve(history: Sequence[Mapping[str, float]], path: Path, split: str = "val") -> None:
    """Write a figure of MAE on the images that select, over all axes and of each, and of the training loss, by epoch."""
    figure = Figure(figsize=(7, 4), dpi=DPI)
    figure.subplots_adjust(left=0.1, right=0.86, bottom=0.13, top=0.96)
    ax = figure.subplots()
    epochs, marker = range(1, len(history) + 1), "." if len(history) < 40 else ""
    names = [key for key in history[0] if key == "val/mae" or key.startswith("val/mae_groups")]
    for name in names if len(names) <= MOST_LINES else ["val/mae", "val/mae_groups"]:
        width = 2 if name == "val/mae_groups" else 1
        ax.plot(epochs, [h[name] for h in history], label=name, linewidth=width, marker=marker)
    ax.set(xlabel="epoch", ylabel=f"{selection(split).heading}", xlim=(0.5, len(history) + 0.5), ylim=(0, None))
    draw_loss(ax, epochs, [h["train/loss"] for h in history], marker)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.legend(loc="upper right", ncols=-(-len(ax.lines) // 8))
    path.write_bytes(png(figure))


def draw_loss(ax: Axes, epochs: Sequence[int], losses: Sequence[float], marker: str) -> None:
    """Draw losses by epoch over the height of axes that show something else, on a logarithmic scale with labels on the right.

    Twin axes would take half the time of the whole figure more.
    """
    scale = math.log if min(losses) > 0 else float
    low, high = scale(min(losses)), scale(max(losses))
    span = high - low or 1.0
    heights = [0.05 + 0.9 * (scale(loss) - low) / span for loss in losses]
    ax.plot(
        epochs,
        heights,
        transform=ax.get_xaxis_transform(),
        label="train/loss",
        color="grey",
        linestyle="--",
        marker=marker,
    )
    for share in (0, 1 / 3, 2 / 3, 1):
        value = math.exp(low + share * span) if scale is math.log else low + share * span
        text = f"– {value:,.0f}" if 100 <= abs(value) < 1e6 else f"– {value:.3g}"
        ax.text(1, 0.05 + 0.9 * share, text, transform=ax.transAxes, va="center")
    ax.text(1.15, 0.5, "training loss (dashed)", transform=ax.transAxes, va="center", rotation=90)


def row(count: int, height: float, title: str) -> tuple[Figure, list[Axes]]:
    """Return a figure of `height` inches and its axes, side by side, for at most `SHOWN` of `count` axes of the config."""
    if count > SHOWN:
        title, count = f"{title}, the first {SHOWN} of {count} axes", SHOWN
    width = 4.0 * count
    figure = Figure(figsize=(width, height), dpi=DPI)
    figure.subplots_adjust(
        left=0.75 / width, right=1 - 0.15 / width, bottom=0.5 / height, top=1 - 0.65 / height, wspace=0.3
    )
    figure.suptitle(title, y=1 - 0.08 / height, va="top")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def once(key: Hashable, drawn: Callable[[], bytes]) -> bytes:
    """Return the PNG of a key, drawn unless this process has drawn it before."""
    if key not in DRAWN:
        DRAWN[key] = drawn()
    return DRAWN[key]


def png(figure: Figure) -> bytes:
    """Return a figure as PNG."""
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(
        file, pil_kwargs={"compress_level": 1}
    )  # a tenth larger, in two thirds of the time
    return file.getvalue()
