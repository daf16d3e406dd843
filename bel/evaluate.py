"""Evaluation: fp32, center crop, sums in float64, the error of every image kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bel.angles import Axis
from bel.config import TrainConfig
from bel.data.batches import eval_batches
from bel.data.prepared import Prepared
from bel.model import Model, plain_fp32

PER_CENT = "% of range"


@dataclass(frozen=True)
class Evaluation:
    """Predictions of one model on some rows: targets and, by decoder, predictions (n, axes) in units, float64."""

    axes: tuple[Axis, ...]
    names: list[str]
    groups: list[str]
    targets: Tensor
    predictions: dict[str, Tensor]

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
        """MAE of the headline decoder over all axes and by axis, then of every decoder over all axes."""
        by_axis = self.errors(self.headline).mean(0)
        values = {f"{split}/mae": self.mae(self.headline)}
        values |= {f"{split}/mae_{axis.name}": error.item() for axis, error in zip(self.axes, by_axis, strict=True)}
        return values | {f"{split}/{name}/mae": self.mae(name) for name in self.predictions}


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
    )


def constant_median(train: Tensor, evaluation: Evaluation) -> Evaluation:
    """The predictor to beat: the median of the training targets (n, axes) for every image."""
    median = train.quantile(0.5, dim=0).expand_as(evaluation.targets)
    return Evaluation(evaluation.axes, evaluation.names, evaluation.groups, evaluation.targets, {"median": median})
