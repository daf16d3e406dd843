"""One training run: `fit` yields one epoch at a time, and the caller reports it, saves it or stops."""

import math
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bel.config import TrainConfig
from bel.data.batches import placed, train_batches
from bel.data.loading import Split, split
from bel.data.prepare.prepared import Prepared, refuse_changed
from bel.errors import Diverged, UserError
from bel.model import Model
from bel.precision import pick_device, plain_fp32, widest
from bel.training.build import Optimiser, build_model, optimiser_groups
from bel.training.checkpoint import FORMAT, environment, restore
from bel.training.evaluate import Evaluation, evaluate
from bel.training.run_context import Forward, RunContext
from bel.training.step import Chunks, Step, enough_memory

CHECK_EVERY = 50  # steps between checks of the loss, each of which waits for the GPU


@dataclass(frozen=True)
class Epoch:
    """The result of one epoch: its number from 1, metrics, whether it is the best so far, validation, the state after it."""

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
    return (epoch for epoch in steps(config, data, resume) if epoch is not None)


def steps(config: TrainConfig, data: Prepared, resume: dict[str, Any] | None = None) -> Iterator[Epoch | None]:
    """`fit` step by step, so that several runs can take turns: None after each step, which the GPU may still compute."""
    device = pick_device(config.device)
    parts = split(config, data)
    facts = {"data_digest": data.digest, "code_digest": config.code_digest} | parts.as_dict()
    if resume and any(resume["data"][name] != facts[name] for name in ("data_digest", "split_hash")):
        raise UserError(
            f"the data in {config.data_root} is not what the checkpoint was trained on: its lists or files have changed"
        )
    if len(parts.train) < config.batch_size:
        raise UserError(f"batch_size {config.batch_size} is more than the {len(parts.train)} training images: lower it")
    context = RunContext(device)
    context.seed(config.seed)
    with enough_memory("building", config), context.active():
        torch.manual_seed(config.seed)
        model = restore(resume, config) if resume else build_model(config)
        model.to(device=device, memory_format=config.layout)  # type: ignore[call-overload]
        optimiser = Optimiser(optimiser_groups(model, config), config.lr)
        if resume:
            optimiser.load_state_dict(resume["optimiser"])
        on_device = placed(data, config, device)
        held_out = on_device if parts.held is data else placed(parts.held, config, device)
    # A resumed run computes as it began, on any machine.
    progress: dict[str, Any] = {"epoch": 0, "best": {}, "chunks": 1, "bf16": None} | (resume or {})
    step = Step(
        model, optimiser, config, Chunks(config, progress["chunks"]), progress["bf16"], data.targets[parts.train]
    )
    progress = {"epoch": progress["epoch"], "best": progress["best"], "data": facts}
    return epochs(config, on_device, step, replace(parts, held=held_out), progress, context)


def epochs(
    config: TrainConfig, data: Prepared, step: Step, parts: Split, progress: dict[str, Any], context: RunContext
) -> Iterator[Epoch | None]:
    """Train, validate and yield, epoch by epoch, after the last one of `progress`."""
    best: dict[str, float] = progress["best"]
    forward = Forward(step.model, config.eval_batch_size if step.replays else 0)
    try:
        for number in range(progress["epoch"] + 1, config.epochs + 1):
            start = time.perf_counter()
            with enough_memory("training", config):
                losses = yield from train_epoch(step, data, parts.train, config, number, context)
            speed = len(parts.train) // config.batch_size * config.batch_size / (time.perf_counter() - start)
            with enough_memory("validating", config), context.active():
                validation = evaluate(step.model, parts.held, parts.val, config, forward)
            measured = validation.metrics("val")
            refuse_divergence("validation error", measured["val/mae"], number)
            name = selection_metric(config, best)
            is_best = config.selection == "last" or measured[f"val/{name}"] < best.get(f"val/best_{name}", math.inf)
            if is_best:
                best = best_epoch(number, measured, best)
            metrics = measured | losses | {"lr": learning_rate(config, number - 1), "images_per_s": speed}
            metrics |= best | step.facts()
            description = progress | {"config": config.as_dict(), "epoch": number, "best": best, "metrics": measured}
            description |= {"chunks": step.chunks.count, "bf16": step.bf16}
            yield Epoch(
                number, metrics, is_best, validation, partial(snapshot, step.model, step.optimiser, description)
            )
    finally:
        del step, forward, data, parts  # close() can only release memory that is not referenced
        context.close()


def selection_metric(config: TrainConfig, best: dict[str, float]) -> str:
    """Return the error that selects the best epoch: each group counts once; each image in the published recipe.

    A run that an earlier version began continues with the error over images.
    """
    older = bool(best) and "val/best_mae_groups" not in best
    return "mae" if config.recipe == "published" or config.selection == "test" or older else "mae_groups"


def best_epoch(number: int, measured: dict[str, float], before: dict[str, float]) -> dict[str, float]:
    """Return the errors of the best epoch so far, by the names of the best one before it."""
    errors = {name.replace("/", "/best_"): value for name, value in measured.items() if name.count("/") == 1}
    return {name: e for name, e in errors.items() if not before or name in before} | {"val/best_epoch": float(number)}


def train_epoch(
    step: Step, data: Prepared, rows: Tensor, config: TrainConfig, number: int, context: RunContext
) -> Generator[None, None, dict[str, float]]:
    """Train on the rows (n,) once, yielding after each step; return mean losses. Raises `Diverged` if one is not finite.

    `train/loss` is all that is minimised: the head's loss and the weighted regulariser; `train/regulariser` is without weight.
    """
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
    context.seed(config.seed * 1_000_003 + number)  # for dropout
    count = len(rows) // config.batch_size
    if number - 1 == config.drop_epoch:
        step.restart(learning_rate(config, number - 1))
    step.model.train()
    batches = train_batches(data, rows, config, generator, context.device)
    with context.active():
        total = torch.zeros((), dtype=widest(context.device), device=context.device)
        step.begin()
    for done in range(count):
        with context.active(), plain_fp32():
            step.optimiser.set_rate(learning_rate(config, number - 1 + done / count))
            total += step(*next(batches))
            if done % CHECK_EVERY == CHECK_EVERY - 1 or done == count - 1:
                refuse_divergence("training loss", total_loss := total.item(), number)
        yield
    refuse_changed(data)
    return {"train/loss": total_loss / count} | step.means(count)


def refuse_divergence(what: str, value: float, number: int) -> None:
    """Raise `Diverged` where a value of epoch `number` is not finite."""
    if not math.isfinite(value):
        raise Diverged(f"the {what} became {value} in epoch {number}: lower lr, or set precision to fp32")


def learning_rate(config: TrainConfig, epochs_done: float) -> float:
    """Return the learning rate of the trunk after a (fractional) number of epochs."""
    if config.schedule == "constant":
        return config.lr
    if config.drop_epoch is not None:
        return config.lr / 10 if epochs_done >= config.drop_epoch else config.lr
    start, end = period(config, epochs_done)
    return config.lr * 0.5 * (1 + math.cos(math.pi * (epochs_done - start) / (end - start)))


def period(config: TrainConfig, epochs_done: float) -> tuple[int, int]:
    """Return the epochs before and after which the present cosine of the learning rate began and ends.

    Warm restarts are of SGDR (Loshchilov and Hutter, ICLR 2017).
    """
    restarts = config.restarts or ()
    start = max((epoch for epoch in restarts if epoch <= epochs_done), default=0)
    return start, min((epoch for epoch in restarts if epoch > epochs_done), default=config.epochs)


def snapshot(model: Model, optimiser: Optimiser, description: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint: the description of the run, and copies on the CPU of its weights and its optimiser's state."""

    def copied(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.detach().to("cpu", copy=True)
        if isinstance(value, dict):
            return {key: copied(item) for key, item in value.items()}
        return [copied(item) for item in value] if isinstance(value, (list, tuple)) else value

    device = next(model.parameters()).device
    state = {"weights": dict(model.state_dict()), "optimiser": optimiser.state_dict()}
    return copied(description | state) | {"format": FORMAT, "environment": environment(device, description["config"])}
