"""The pictures of a trial: its code matrices, the labels on its levels, and its learning curve."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from bel.codes import code_matrix
from bel.config import TrainConfig
from bel.data.labels import clamped, histogram


def draw_code(config: TrainConfig, path: Path) -> None:
    """Code matrix of each axis, a row a level; nothing for a head without a code, nor over an older picture."""
    if config.code is None or path.exists():
        return
    figure = Figure(figsize=(4 * len(config.axes), 4), layout="constrained")
    for ax, axis in zip(figure.subplots(1, len(config.axes), squeeze=False)[0], config.axes, strict=True):
        matrix = code_matrix(config.code, axis.levels)
        ax.imshow(matrix, aspect="auto", cmap="binary", interpolation="nearest")
        ax.set(title=f"{axis.name}: {matrix.shape[0]} levels x {matrix.shape[1]} bits", xlabel="bit", ylabel="level")
    figure.suptitle(f"code {config.code}")
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
