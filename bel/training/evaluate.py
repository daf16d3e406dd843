"""Evaluation: fp32, center crop, sums in float64, the error of every image kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bel.angles import Axis, circular_median, differences, rotation_angles, wrap_axes
from bel.config import TrainConfig
from bel.data.batches import eval_batches
from bel.data.groups import group_means
from bel.data.prepare.prepared import Prepared, refuse_changed
from bel.heads import Head
from bel.model import Model
from bel.precision import copy_to, plain_fp32
from bel.training.posterior import summary

PER_CENT = "% of range"
DECODED = 1024  # images that are decoded at once; until then the GPU is not waited for


@dataclass(frozen=True)
class Evaluation:
    """Predictions of one model on some rows: targets and, by decoder, predictions (n, axes) in units, float64.

    `pose` says that the axes are yaw, pitch and roll of a head. `posterior` holds, from a head that gives one, its
    standard deviation in units (`std`) and its probability below the target (`pit`), both (n, axes); `wrong_bits` by axis
    which bits (n, bits) were not the code's.
    """

    axes: tuple[Axis, ...]
    names: list[str]
    groups: list[str]
    targets: Tensor
    predictions: dict[str, Tensor]
    pose: bool = False
    posterior: dict[str, Tensor] = field(default_factory=dict)
    wrong_bits: dict[str, Tensor] = field(default_factory=dict)

    @property
    def headline(self) -> str:
        """The decoder that gives the error of the model."""
        return next(iter(self.predictions))

    def errors(self, decoder: str) -> Tensor:
        """Return absolute errors (n, axes) in units, the shorter way round on an axis with a period."""
        periods = [axis.period for axis in self.axes]
        return differences(self.predictions[decoder], self.targets, periods).abs()

    def group_errors(self, decoder: str) -> Tensor:
        """Return absolute errors (groups, axes) in units: means over the images of each group, groups sorted by name."""
        return torch.from_numpy(group_means(self.errors(decoder).numpy(), self.groups))

    def mae(self, decoder: str) -> float:
        """Return the mean absolute error over all axes, in `unit(axes)`: each image counts once."""
        return overall(self.errors(decoder).mean(0), self.axes)

    def mae_groups(self, decoder: str) -> float:
        """Return the mean absolute error over all axes, in `unit(axes)`: each group counts once."""
        return overall(self.group_errors(decoder).mean(0), self.axes)

    def metrics(self, split: str) -> dict[str, float]:
        """Return MAE of the headline decoder over all axes and by axis, errors of its rotation, and MAE of every decoder.

        `mae` and the others count each image once, `mae_groups` each group.
        """
        values = {}
        for name, errors in (("mae", self.errors(self.headline)), ("mae_groups", self.group_errors(self.headline))):
            by_axis = errors.mean(0)
            values[f"{split}/{name}"] = overall(by_axis, self.axes)
            values |= {f"{split}/{name}_{axis.name}": e.item() for axis, e in zip(self.axes, by_axis, strict=True)}
        if self.pose:
            values |= {f"{split}/{name}": error for name, error in self.rotation_errors(self.headline).items()}
        return values | {f"{split}/{name}/mae": self.mae(name) for name in self.predictions}

    def rotation_errors(self, decoder: str) -> dict[str, float]:
        """Return mean angles in degrees between predicted and true rotation: about one axis (geodesic), and of each column.

        The columns are the directions x, y and z of a head: right, down and away where it faces the camera (TriNet, WACV
        2021, section 3.3).
        """
        order = [[axis.name for axis in self.axes].index(name) for name in ("yaw", "pitch", "roll")]
        ours, true = (x[:, order].numpy() for x in (self.predictions[decoder], self.targets))
        geodesic, columns = rotation_angles(ours, true)
        means = [geodesic.mean(), *columns.mean(0)]
        return dict(zip(("geodesic", "column_x", "column_y", "column_z"), map(float, means), strict=True))

    def columns(self) -> dict[str, list[Any]]:
        """Return a table, a row an image: name, group, and by axis target, decoders, posterior, level, packed wrong bits."""
        columns: dict[str, list[Any]] = {"name": self.names, "group": self.groups}
        for kind, values in ({"target": self.targets} | self.predictions | self.posterior).items():
            columns |= {f"{kind}_{axis.name}": values[:, i].tolist() for i, axis in enumerate(self.axes)}
        for i, axis in enumerate(self.axes):
            columns[f"level_{axis.name}"] = axis.to_index(self.targets[:, i]).tolist()
        packed = {name: np.packbits(wrong.numpy(), axis=1) for name, wrong in self.wrong_bits.items()}
        return columns | {f"wrong_bits_{name}": [row.tobytes() for row in rows] for name, rows in packed.items()}

    def meaning(self) -> dict[str, Any]:
        """Return plain values that a reader of `columns` needs too."""
        return {
            "axes": [
                {"name": axis.name, "unit": axis.unit, "width": width(axis, self.axes) / axis.span}
                | ({"period": axis.period} if axis.period else {})
                for axis in self.axes
            ],
            "unit": unit(self.axes),
            "decoders": list(self.predictions),
            "pose": self.pose,
            "bits": {name: wrong.shape[1] for name, wrong in self.wrong_bits.items()},
        }


def unit(axes: Sequence[Axis]) -> str:
    """Return the unit of an error over all axes: that of the axes, or per cent of range where it differs or is unknown."""
    units = {axis.unit for axis in axes}
    return units.pop() if len(axes) == 1 or (len(units) == 1 and "" not in units) else PER_CENT


def width(axis: Axis, axes: Sequence[Axis]) -> float:
    """Return the range of an axis in `unit(axes)`."""
    return 100.0 if unit(axes) == PER_CENT else axis.span


def overall(by_axis: Tensor, axes: Sequence[Axis]) -> float:
    """Return the mean over axes of errors (axes,), each in the unit of its axis, in `unit(axes)`."""
    scale = torch.tensor([width(axis, axes) / axis.span for axis in axes], dtype=by_axis.dtype)
    return (by_axis * scale).mean().item()


def evaluate(
    model: Model,
    data: Prepared,
    rows: Tensor,
    config: TrainConfig,
    forward: Callable[[Tensor], list[Tensor]] | None = None,
) -> Evaluation:
    """Predict the rows (n,) of prepared data with a model, on the model's device; the model is left in its mode.

    `forward` computes the model's outputs, by default the model itself.
    """
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    batches, pending = [], []
    targets = wrap_axes(data.targets[rows], config.definition.axes)
    with torch.inference_mode(), plain_fp32():
        for number, images in enumerate(eval_batches(data, rows, config, device), start=1):
            pending.append((forward or model)(images))
            done = min(number * config.eval_batch_size, len(rows))
            if len(pending) * config.eval_batch_size >= DECODED or done == len(rows):
                outputs = [torch.cat(axis) for axis in zip(*pending, strict=True)]
                pending = []
                batches.append(decoded(model.head, outputs, targets[done - len(outputs[0]) : done], config.axes))
    model.train(training)
    refuse_changed(data)
    picked = rows.tolist()
    predictions, posterior, wrong_bits = zip(*batches, strict=True)
    return Evaluation(
        axes=config.axes,
        names=[data.names[i] for i in picked],
        groups=[data.groups[i] for i in picked],
        targets=targets,
        predictions=stacked(predictions),
        pose=config.definition.pose,
        posterior=stacked(posterior),
        wrong_bits=stacked(wrong_bits),
    )


def decoded(head: Head, outputs: list[Tensor], targets: Tensor, axes: Sequence[Axis]) -> list[dict[str, Tensor]]:
    """Outputs (B, width) of a head and targets in units (B, axes) -> predictions, summary and wrong bits, on the CPU."""
    there = copy_to(targets, outputs[0].device)
    wrong = {axis.name: value for axis, value in zip(axes, head.wrong_bits(outputs, there), strict=False)}
    posteriors = head.posteriors(outputs)
    true = targets.to(posteriors[0].device) if posteriors else None
    found = [head.decode(outputs), summary(posteriors, true, axes), wrong]
    return [{name: value.cpu() for name, value in values.items()} for values in found]


def stacked(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Concatenate batches of the same tensors (B, ...) to (n, ...)."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def constant_median(train: Tensor, evaluation: Evaluation) -> Evaluation:
    """Return the baseline evaluation that predicts the median of the training targets (n, axes) for every image.

    On an axis with a period it is the circular median: the label with the least mean error.
    """
    median = train.quantile(0.5, dim=0)
    for i, axis in enumerate(evaluation.axes):
        if axis.period:
            median[i] = circular_median(train[:, i].numpy(), axis.low, axis.period)
    predictions = {"median": median.expand_as(evaluation.targets)}
    return replace(evaluation, predictions=predictions, posterior={}, wrong_bits={})
