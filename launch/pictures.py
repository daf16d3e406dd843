"""The pictures of a trial: its code matrices, the labels on its levels, and its learning curve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from bel.code_file import Bits
from bel.config import TrainConfig
from bel.data.labels import clamped, histogram
from bel.heads import HEADS

MOST_PIXELS = 2000  # of a code matrix along one side


def draw_matrix(ax: Axes, matrix: Bits | NDArray[np.float32], name: str) -> None:
    """Code matrix (levels, bits) in axes, a row a level; of a large one every n-th row and column (imshow takes GBs)."""
    levels, bits = matrix.shape
    shown = matrix[:: -(-levels // MOST_PIXELS), :: -(-bits // MOST_PIXELS)]
    edges = (-0.5, bits - 0.5, levels - 0.5, -0.5)
    ax.imshow(shown, aspect="auto", cmap="binary", interpolation="nearest", extent=edges)
    ax.set(title=f"{name}: {levels} levels x {bits} bits", xlabel="bit", ylabel="level")


def draw_code(config: TrainConfig, weights: Mapping[str, Tensor], path: Path) -> None:
    """Code matrix of each axis, a row a level, a learned one from the weights; nothing for a head without a code."""
    matrices = HEADS[config.head].codes(config, weights)
    if not matrices:
        return
    figure = Figure(figsize=(4 * len(matrices), 4), layout="constrained")
    for ax, (name, matrix) in zip(figure.subplots(1, len(matrices), squeeze=False)[0], matrices.items(), strict=True):
        draw_matrix(ax, matrix, name)
    figure.suptitle(f"code {config.code or config.head}")
    figure.savefig(path, dpi=90)


def draw_labels(config: TrainConfig, targets: Tensor, path: Path) -> None:
    """Number of targets in units (n, axes) on each level of each axis, and the share beyond; not over an older picture."""
    if path.exists():
        return
    figure = Figure(figsize=(4 * len(config.axes), 3), layout="constrained")
    for i, (ax, axis) in enumerate(
        zip(figure.subplots(1, len(config.axes), squeeze=False)[0], config.axes, strict=True)
    ):
        ax.bar(range(axis.levels), histogram(targets[:, i], axis), width=1)
        share = clamped(targets[:, i], axis)
        ax.set(title=f"{axis.name}: {share:.2%} clamped", xlabel=f"level ({axis.step:g} {axis.unit})", ylabel="images")
    figure.suptitle(f"labels of {len(targets)} training images")
    figure.savefig(path, dpi=90)


def draw_curve(history: list[dict[str, float]], path: Path) -> None:
    """Validation MAE over all axes and by axis, and training loss, against the epoch."""
    epochs = range(1, len(history) + 1)
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    for name in [key for key in history[0] if key.startswith("val/mae")]:
        left.plot(epochs, [h[name] for h in history], label=name, linewidth=2 if name == "val/mae" else 1)
    left.set(xlabel="epoch", ylabel="validation MAE", ylim=(0, None))
    left.legend(loc="upper right")
    right = left.twinx()
    right.plot(epochs, [h["train/loss"] for h in history], color="grey", linestyle="--")
    right.set(ylabel="training loss (dashed)", yscale="log")
    figure.savefig(path, dpi=90)
