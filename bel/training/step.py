"""A training step: forward, loss, backward and Adam on a batch; in chunks where memory is short, a CUDA graph on a GPU.

Losses are sums, means, comparisons of all pairs of a batch, or of the weights alone, so that a weighted sum over chunks
would be another loss. The activations take the memory, not the outputs: the forward pass of a chunk keeps its outputs only
(activation checkpointing), and the backward pass repeats it and adds up the gradients chunk by chunk.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from bel.config import TrainConfig
from bel.errors import UserError
from bel.model import Model
from bel.precision import autocasts, widest
from bel.training.build import Optimiser
from bel.training.objective import Objective
from bel.training.run_context import Replay

WARM_UP = 3  # steps before one is captured: they load libraries, which a capture cannot
SMALLEST = 2  # images: for one image and 1 x 1 pixels batch norm has a single value in each channel


@dataclass
class Chunks:
    """The number of chunks for the batches of a run: one, doubled each time that memory runs out."""

    config: TrainConfig
    count: int = 1

    def outputs(self, model: nn.Module, images: Tensor) -> list[Tensor]:
        """Images (B, 3, S, S) -> outputs of a model, a list of (B, width), from chunks of almost the same size.

        Only batch norm and dropout make a difference: batch norm takes the statistics of each chunk.
        """
        if self.count == 1:
            outputs: list[Tensor] = model(images)
            return outputs

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), frozen_statistics(model)

        parts = images.tensor_split(self.count)
        given = [checkpoint(model, part, use_reentrant=False, context_fn=contexts) for part in parts]
        return [torch.cat(output) for output in zip(*given, strict=True)]

    def double(self) -> None:
        """Halve the chunks. Raises `UserError` where one would hold a single image."""
        c = self.config
        images = c.views * c.batch_size
        if images // (2 * self.count) < SMALLEST:
            raise UserError(
                f"memory runs out with {-(-images // self.count)} images at once (batch_size {c.batch_size}, image_size "
                f"{c.image_size}, backbone {c.backbone}): lower image_size, choose a smaller backbone, or share the GPU less"
            )
        self.count *= 2
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # cached blocks for larger chunks are not used any more


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Freeze the running statistics and counters of batch norm while a forward pass is repeated."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, counted) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counted


REMEDIES = {
    "building": "choose a smaller backbone, set cache to host, or share the GPU less",
    "training": "lower image_size or batch_size, or choose a smaller backbone",
    "validating": "lower eval_batch_size",
}


@contextmanager
def enough_memory(phase: str, config: TrainConfig) -> Iterator[None]:
    """Raise `UserError` with a remedy where memory runs out in a phase of a run."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        sizes = (
            f"batch_size {config.batch_size}, eval_batch_size {config.eval_batch_size}, image_size {config.image_size}"
        )
        raise UserError(
            f"memory runs out in {phase} ({sizes}, backbone {config.backbone}): {REMEDIES[phase]}"
        ) from error


class Step:
    """The step of one run: images (B, 3, S, S) and targets in units (B, axes) on the device -> loss ().

    `targets` are those of all training images, by which `balance` weights them; without them none has a weight.
    """

    def __init__(
        self,
        model: Model,
        optimiser: Optimiser,
        config: TrainConfig,
        chunks: Chunks,
        bf16: bool | None = None,
        targets: Tensor | None = None,
    ) -> None:
        self.model, self.optimiser, self.config, self.chunks = model, optimiser, config, chunks
        self.device = next(model.parameters()).device
        self.bf16 = autocasts(config, self.device) if bf16 is None else bf16
        self.objective = Objective(config, targets, self.device)
        self.network = self.objective.network(model)
        self.penalty = torch.zeros(
            (), dtype=widest(self.device), device=self.device
        )  # of the regulariser, since `begin`
        self.replays = config.cuda_graph and self.objective.graph and self.device.type == "cuda"
        self.replay: Replay[Tensor] | None = None
        self.warm = 0

    def restart(self, lr: float) -> None:
        """Restart Adam without moments, at a learning rate."""
        self.replay, self.warm = None, 0
        self.optimiser.restart(lr)

    def __call__(self, images: Tensor, targets: Tensor) -> Tensor:
        """Step on a batch. Raises `UserError` where memory runs out with two images."""
        if self.replay is None and self.replays and self.warm >= WARM_UP and self.chunks.count == 1:
            self.capture(images, targets)
        if self.replay is not None:
            return self.replay(images, targets)
        self.warm += 1
        while (loss := self.differentiate(images, targets)) is None:
            self.chunks.double()
        self.optimiser.step()
        return loss

    def capture(self, images: Tensor, targets: Tensor) -> None:
        """Capture the step as a graph, without computing it; where memory is too short, steps continue without a graph."""
        try:
            self.replay = Replay(self.whole, images, targets)
        except torch.OutOfMemoryError:
            self.replays = False
            torch.cuda.empty_cache()

    def whole(self, images: Tensor, targets: Tensor) -> Tensor:
        """Step on a batch that fits into memory."""
        loss = self.backward(images, targets)
        self.optimiser.step()
        return loss

    def differentiate(self, images: Tensor, targets: Tensor) -> Tensor | None:
        """Return the loss () of a batch and set the gradients of the parameters; None where memory ran out.

        The running statistics of batch norm keep the update of a failed pass: they have seen the batch once more.
        """
        try:
            return self.backward(images, targets)
        except torch.OutOfMemoryError:  # the memory of the pass is free only after return, so the caller tries again
            return None

    def backward(self, images: Tensor, targets: Tensor) -> Tensor:
        """Return the loss () of a batch and set the gradients of the parameters."""
        self.optimiser.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            outputs = self.chunks.outputs(self.network, images)
        loss, penalty = self.objective(self.model.head, outputs, targets)
        loss.backward()
        if penalty is not None:
            self.penalty += penalty
        return loss.detach()

    def begin(self) -> None:
        """Begin the mean of the regulariser anew."""
        self.penalty.zero_()

    def means(self, count: int) -> dict[str, float]:
        """Return the mean of the regulariser over the `count` steps since `begin`, without its weight, if there is one."""
        return {} if self.objective.regulariser is None else {"train/regulariser": self.penalty.item() / count}

    def facts(self) -> dict[str, float]:
        """Return metrics on how the steps were computed."""
        facts = {"bf16": float(self.bf16)}
        if self.chunks.count > 1:
            facts["accumulation"] = float(self.chunks.count)
        if self.device.type == "cuda":
            facts["cuda_graph"] = float(self.replay is not None)
        return facts
