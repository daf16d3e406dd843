"""One training run: `fit` yields an epoch at a time, and the caller reports it, saves it or stops."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bel.checkpoint import environment, restore
from bel.config import TrainConfig
from bel.data.batches import train_batches
from bel.data.prepared import Prepared
from bel.data.splits import holdout, rows
from bel.errors import UserError
from bel.evaluate import evaluate
from bel.model import Model, autocasts, build_model, optimiser_groups, pick_device


@dataclass(frozen=True)
class Epoch:
    """What one pass gave: its number from 1, metrics by name, whether it selects so far, and the run's state after it."""

    number: int
    metrics: dict[str, float]
    is_best: bool
    state: Callable[[], dict[str, Any]]


def fit(config: TrainConfig, data: Prepared, resume: dict[str, Any] | None = None) -> Iterator[Epoch]:
    """Train on all groups but the held-out ones, which select; with a checkpoint, go on after its epoch.

    Every random draw of an epoch comes from (seed, epoch), so a resumed run equals an uninterrupted one. Raises
    `UserError` at once for a missing GPU, weights that do not fit, or too few images.
    """
    device = pick_device(config.device)
    train_rows, val_rows = rows(holdout(data.groups, config.val_fraction, config.split_seed))
    if len(train_rows) < config.batch_size:
        raise UserError(f"batch_size {config.batch_size} is more than the {len(train_rows)} training images: lower it")
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    torch.manual_seed(config.seed)
    model = restore(resume, config) if resume else build_model(config)
    model.to(device=device, memory_format=config.layout)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(optimiser_groups(model, config))
    if resume:
        optimiser.load_state_dict(resume["optimiser"])
    return epochs(config, data, model, optimiser, (train_rows, val_rows), resume or {"epoch": 0, "best": {}})


def epochs(
    config: TrainConfig,
    data: Prepared,
    model: Model,
    optimiser: torch.optim.Optimizer,
    split: tuple[Tensor, Tensor],
    begun: dict[str, Any],
) -> Iterator[Epoch]:
    """Train, validate and yield, epoch by epoch, after the one that `begun` ended with."""
    train_rows, val_rows = split
    best: dict[str, float] = begun["best"]
    for number in range(begun["epoch"] + 1, config.epochs + 1):
        start = time.perf_counter()
        loss = train_epoch(model, optimiser, data, train_rows, config, number)
        speed = len(train_rows) // config.batch_size * config.batch_size / (time.perf_counter() - start)
        metrics = evaluate(model, data, val_rows, config).metrics("val")
        is_best = metrics["val/mae"] < best.get("val/best_mae", math.inf)
        if is_best:
            best = {name.replace("/", "/best_"): value for name, value in metrics.items() if name.startswith("val/mae")}
            best["val/best_epoch"] = float(number)
        metrics |= {"train/loss": loss, "lr": learning_rate(config, number - 1), "images_per_s": speed} | best
        yield Epoch(number, metrics, is_best, partial(snapshot, model, optimiser, config, number, best))


def train_epoch(
    model: Model, optimiser: torch.optim.Optimizer, data: Prepared, rows: Tensor, config: TrainConfig, number: int
) -> float:
    """One pass over the rows (n,); returns the mean loss of its steps. Raises `UserError` where that is not finite."""
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
    torch.manual_seed(config.seed * 1_000_003 + number)  # dropout draws from the global generator
    steps = len(rows) // config.batch_size
    total = torch.zeros((), dtype=torch.float64, device=device)
    model.train()
    for step, (images, targets) in enumerate(train_batches(data, rows, config, generator, device)):
        set_learning_rate(optimiser, config, number - 1 + step / steps)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocasts(config.precision, device)):
            outputs = model(images)
        loss = model.head.loss(outputs, targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.detach()
    mean = total.item() / steps
    if not math.isfinite(mean):
        raise UserError(f"the training loss became {mean} in epoch {number}: lower lr, or set precision to fp32")
    return mean


def learning_rate(config: TrainConfig, epochs_done: float) -> float:
    """Learning rate of the trunk after a (fractional) number of epochs."""
    if config.schedule == "constant":
        return config.lr
    return config.lr * 0.5 * (1 + math.cos(math.pi * epochs_done / config.epochs))


def set_learning_rate(optimiser: torch.optim.Optimizer, config: TrainConfig, epochs_done: float) -> None:
    """Give trunk and head the rates of this step."""
    trunk, head = optimiser.param_groups
    trunk["lr"] = learning_rate(config, epochs_done)
    head["lr"] = config.head_lr_factor * trunk["lr"]


def snapshot(
    model: Model, optimiser: torch.optim.Optimizer, config: TrainConfig, number: int, best: dict[str, float]
) -> dict[str, Any]:
    """A checkpoint of the run after epoch `number`; its tensors are copies on the CPU."""

    def copied(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.detach().to("cpu", copy=True)
        if isinstance(value, dict):
            return {key: copied(item) for key, item in value.items()}
        return [copied(item) for item in value] if isinstance(value, (list, tuple)) else value

    return {
        "config": config.as_dict(),
        "weights": copied(dict(model.state_dict())),
        "optimiser": copied(optimiser.state_dict()),
        "epoch": number,
        "best": dict(best),
        "environment": environment(next(model.parameters()).device),
    }
