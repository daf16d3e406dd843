"""One training run: `fit` yields an epoch at a time, and the caller reports it, saves it or stops."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bel.accumulate import Chunks, enough_memory
from bel.checkpoint import environment, restore
from bel.config import TrainConfig
from bel.data.batches import placed, train_batches
from bel.data.prepared import Prepared
from bel.data.splits import Split, split
from bel.errors import Diverged, UserError
from bel.evaluate import Evaluation, evaluate
from bel.model import Model, autocasts, build_model, optimiser_groups, pick_device, plain_fp32
from bel.optimiser import Optimiser

LOOK = 50  # steps between looks at the loss: each waits for a GPU to have computed it


@dataclass(frozen=True)
class Epoch:
    """What one pass gave: its number from 1, metrics by name, whether it selects so far, validation, the state after it."""

    number: int
    metrics: dict[str, float]
    is_best: bool
    validation: Evaluation
    state: Callable[[], dict[str, Any]]


def fit(config: TrainConfig, data: Prepared, resume: dict[str, Any] | None = None) -> Iterator[Epoch]:
    """Train on all groups but the held-out ones, which select; with a checkpoint, go on after its epoch.

    Every random draw of an epoch comes from (seed, epoch), so a resumed run equals an uninterrupted one. Batches that do
    not fit into memory are computed in chunks. Raises `UserError` at once for a missing GPU, weights that do not fit, or
    too few images; later for too little memory, and `Diverged`.
    """
    device = pick_device(config.device)
    parts = split(config, data)
    facts = {"data_digest": data.digest, "code_digest": config.code_digest} | parts.as_dict()
    if resume and any(resume["data"][name] != facts[name] for name in ("data_digest", "split_hash")):
        raise UserError(
            f"the data in {config.data_root} is not what the checkpoint was trained on: its lists or files have changed"
        )
    if len(parts.train) < config.batch_size:
        raise UserError(f"batch_size {config.batch_size} is more than the {len(parts.train)} training images: lower it")
    torch.manual_seed(config.seed)
    with enough_memory("building", config):
        model = restore(resume, config) if resume else build_model(config)
        model.to(device=device, memory_format=config.layout)  # type: ignore[call-overload]
        optimiser = Optimiser(optimiser_groups(model, config), config.lr)
        if resume:
            optimiser.load_state_dict(resume["optimiser"])
        there = placed(data, config, device)
        held = there if parts.held is data else placed(parts.held, config, device)
    begun = {name: resume[name] for name in ("epoch", "best")} if resume else {"epoch": 0, "best": {}}
    begun |= {"data": facts, "chunks": resume.get("chunks", 1) if resume else 1}
    return epochs(config, there, model, optimiser, replace(parts, held=held), begun)


def epochs(
    config: TrainConfig, data: Prepared, model: Model, optimiser: Optimiser, parts: Split, begun: dict[str, Any]
) -> Iterator[Epoch]:
    """Train, validate and yield, epoch by epoch, after the one that `begun` ended with."""
    best: dict[str, float] = begun["best"]
    chunks = Chunks(config, begun["chunks"])
    for number in range(begun["epoch"] + 1, config.epochs + 1):
        start = time.perf_counter()
        with enough_memory("training", config):
            loss = train_epoch(model, optimiser, data, parts.train, config, number, chunks)
        speed = len(parts.train) // config.batch_size * config.batch_size / (time.perf_counter() - start)
        with enough_memory("validating", config):
            validation = evaluate(model, parts.held, parts.val, config)
        measured = validation.metrics("val")
        refuse_divergence("validation error", measured["val/mae"], number)
        is_best = config.selection == "last" or measured["val/mae"] < best.get("val/best_mae", math.inf)
        if is_best:
            best = {name.replace("/", "/best_"): value for name, value in measured.items() if name.count("/") == 1}
            best["val/best_epoch"] = float(number)
        metrics = measured | {"train/loss": loss, "lr": learning_rate(config, number - 1), "images_per_s": speed} | best
        if chunks.count > 1:
            metrics["accumulation"] = float(chunks.count)
        reached = {"epoch": number, "best": best, "metrics": measured, "chunks": chunks.count}
        described = begun | {"config": config.as_dict()} | reached
        yield Epoch(number, metrics, is_best, validation, partial(snapshot, model, optimiser, described))


def train_epoch(
    model: Model, optimiser: Optimiser, data: Prepared, rows: Tensor, config: TrainConfig, number: int, chunks: Chunks
) -> float:
    """One pass over the rows (n,); returns the mean loss of its steps. Raises `Diverged` where that is not finite."""
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
    torch.manual_seed(config.seed * 1_000_003 + number)  # dropout draws from the global generator
    steps = len(rows) // config.batch_size
    total = torch.zeros((), dtype=torch.float64, device=device)
    if number - 1 == config.drop_epoch:
        optimiser.restart(learning_rate(config, number - 1))
    model.train()
    with plain_fp32():
        for step, (images, targets) in enumerate(train_batches(data, rows, config, generator, device)):
            optimiser.set_rate(learning_rate(config, number - 1 + step / steps))
            while (loss := differentiate(model, optimiser, images, targets, config, chunks)) is None:
                chunks.double()
            optimiser.step()
            total += loss
            if step % LOOK == LOOK - 1:
                refuse_divergence("training loss", total.item(), number)
    mean = total.item() / steps
    refuse_divergence("training loss", mean, number)
    return mean


def differentiate(
    model: Model, optimiser: Optimiser, images: Tensor, targets: Tensor, config: TrainConfig, chunks: Chunks
) -> Tensor | None:
    """Loss () of a batch, whose gradients are left on the parameters; None where memory ran out, to be tried again.

    What a failed pass has done to batch norm's running statistics stays: they have seen the batch once more.
    """
    optimiser.zero_grad()
    try:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=autocasts(config.precision, images.device)):
            outputs = chunks.outputs(model, images)
        loss = model.head.loss(outputs, targets)
        loss.backward()
        return loss.detach()
    except torch.OutOfMemoryError:  # what the pass holds is let go on the way out, so the next try is the caller's
        return None


def refuse_divergence(what: str, value: float, number: int) -> None:
    """Raise `Diverged` where a value of epoch `number` is not finite."""
    if not math.isfinite(value):
        raise Diverged(f"the {what} became {value} in epoch {number}: lower lr, or set precision to fp32")


def learning_rate(config: TrainConfig, epochs_done: float) -> float:
    """Learning rate of the trunk after a (fractional) number of epochs."""
    if config.schedule == "constant":
        return config.lr
    if config.drop_epoch is not None:
        return config.lr / 10 if epochs_done >= config.drop_epoch else config.lr
    return config.lr * 0.5 * (1 + math.cos(math.pi * epochs_done / config.epochs))


def snapshot(model: Model, optimiser: Optimiser, described: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint: what describes the run, and copies on the CPU of its weights and its optimiser's state."""

    def copied(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.detach().to("cpu", copy=True)
        if isinstance(value, dict):
            return {key: copied(item) for key, item in value.items()}
        return [copied(item) for item in value] if isinstance(value, (list, tuple)) else value

    state = {"weights": dict(model.state_dict()), "optimiser": optimiser.state_dict()}
    return copied(described | state) | {"environment": environment(next(model.parameters()).device)}
