"""Evaluation: fp32, center crop, sums in float64, the error of every image kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from bel.angles import Axis, euler_to_matrix
from bel.config import TrainConfig
from bel.data.batches import eval_batches
from bel.data.prepared import Prepared
from bel.model import Model, plain_fp32

PER_CENT = "% of range"


@dataclass(frozen=True)
class Evaluation:
    """Predictions of one model on some rows: targets and, by decoder, predictions (n, axes) in units, float64.

    `pose` says that the axes are yaw, pitch and roll of a head.
    """

    axes: tuple[Axis, ...]
    names: list[str]
    groups: list[str]
    targets: Tensor
    predictions: dict[str, Tensor]
    pose: bool = False

    @property
    def headline(self) -> str:
        """The decoder whose error is the model's."""
        return next(iter(self.predictions))

    def errors(self, decoder: str) -> Tensor:
        """Absolute errors (n, axes) in units."""
        return (self.predictions[decoder] - self.targets).abs()

    def mae(self, decoder: str) -> float:
        """Mean absolute error over all axes, in `unit(axes)`."""
        return overall(self.errors(decoder).mean(0), self.axes)

    def metrics(self, split: str) -> dict[str, float]:
        """MAE of the headline decoder over all axes and by axis, errors of its rotation, then MAE of every decoder."""
        by_axis = self.errors(self.headline).mean(0)
        values = {f"{split}/mae": self.mae(self.headline)}
        values |= {f"{split}/mae_{axis.name}": error.item() for axis, error in zip(self.axes, by_axis, strict=True)}
        if self.pose:
            values |= {f"{split}/{name}": error for name, error in self.rotation_errors(self.headline).items()}
        return values | {f"{split}/{name}/mae": self.mae(name) for name in self.predictions}

    def rotation_errors(self, decoder: str) -> dict[str, float]:
        """Mean angles in degrees between the predicted and the true rotation: about one axis (geodesic), and of each column.

        The columns are where x, y and z of a head point, which are right, down and away in one that faces the camera
        (TriNet, WACV 2021, section 3.3).
        """
        geodesic, columns = self.rotation_angles(decoder)
        means = [geodesic.mean(), *columns.mean(0)]
        return dict(zip(("geodesic", "column_x", "column_y", "column_z"), map(float, means), strict=True))

    def rotation_angles(self, decoder: str) -> tuple[np.ndarray, np.ndarray]:
        """Angles in degrees by image, between rotations (n,) and between their columns (n, 3)."""
        order = [[axis.name for axis in self.axes].index(name) for name in ("yaw", "pitch", "roll")]
        ours, true = (euler_to_matrix(x[:, order].numpy()) for x in (self.predictions[decoder], self.targets))
        columns = np.linalg.norm(ours - true, axis=-2)  # (n, 3) chords: exact where the arc cosine is not
        geodesic = 2 * np.arcsin(np.minimum(np.linalg.norm(columns, axis=-1) / math.sqrt(8), 1))
        angles = 2 * np.arcsin(np.minimum(columns / 2, 1))
        return np.degrees(geodesic), np.degrees(angles)


def unit(axes: Sequence[Axis]) -> str:
    """Unit of an error over all axes: their own, or where it differs or is not said, per cent of each one's range."""
    units = {axis.unit for axis in axes}
    return units.pop() if len(axes) == 1 or (len(units) == 1 and "" not in units) else PER_CENT


def width(axis: Axis, axes: Sequence[Axis]) -> float:
    """Range of an axis in `unit(axes)`."""
    return 100.0 if unit(axes) == PER_CENT else axis.span


def overall(by_axis: Tensor, axes: Sequence[Axis]) -> float:
    """Mean of errors by axis (axes,), each in its axis's unit, in `unit(axes)`."""
    scale = torch.tensor([width(axis, axes) / axis.span for axis in axes], dtype=by_axis.dtype)
    return (by_axis * scale).mean().item()


def evaluate(model: Model, data: Prepared, rows: Tensor, config: TrainConfig) -> Evaluation:
    """Predict the rows (n,) of prepared data with a model, on the model's device; the model is left in its mode."""
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    parts: list[dict[str, Tensor]] = []
    with torch.inference_mode(), plain_fp32():
        for images in eval_batches(data, rows, config, device):
            decoded = model.head.decode(model(images))
            parts.append({name: value.cpu() for name, value in decoded.items()})
    model.train(training)
    predictions = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    picked = rows.tolist()
    return Evaluation(
        axes=config.axes,
        names=[data.names[i] for i in picked],
        groups=[data.groups[i] for i in picked],
        targets=data.targets[rows],
        predictions=predictions,
        pose=config.definition.pose,
    )


def constant_median(train: Tensor, evaluation: Evaluation) -> Evaluation:
    """The predictor to beat: the median of the training targets (n, axes) for every image."""
    median = train.quantile(0.5, dim=0).expand_as(evaluation.targets)
    return replace(evaluation, predictions={"median": median})
