"""A batch that does not fit into memory, computed in chunks: the loss and its gradients are still those of the whole batch.

The losses are sums, means, comparisons of all pairs of a batch, or of the weights alone, so that weighted losses of the
chunks would be another loss. What takes memory is the network, not its few outputs: each chunk's forward pass keeps its
outputs only and is done again when its turn in the backward pass comes, which adds the gradients up chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from bel.config import TrainConfig
from bel.errors import UserError

SMALLEST = 2  # images: batch norm of one image has a single value a channel where a trunk ends in 1 x 1 pixels


@dataclass
class Chunks:
    """In how many chunks the batches of a run are computed: one, until memory runs out; then doubled for its rest."""

    config: TrainConfig
    count: int = 1

    def outputs(self, model: nn.Module, images: Tensor) -> list[Tensor]:
        """What a model gives for images (B, 3, S, S), a list of (B, width), from chunks of almost the same size.

        Batch norm normalises by the statistics of a chunk, and its running ones move once a chunk: in this alone, and in
        what dropout draws, a batch in chunks differs from a whole one.
        """
        if self.count == 1:
            outputs: list[Tensor] = model(images)
            return outputs

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), settled(model)

        parts = images.tensor_split(self.count)
        given = [checkpoint(model, part, use_reentrant=False, context_fn=contexts) for part in parts]
        return [torch.cat(output) for output in zip(*given, strict=True)]

    def double(self) -> None:
        """Halve the chunks. Raises `UserError` where one would hold a single image."""
        c = self.config
        if c.batch_size // (2 * self.count) < SMALLEST:
            raise UserError(
                f"memory runs out with {-(-c.batch_size // self.count)} images at once (batch_size {c.batch_size}, image_size "
                f"{c.image_size}, backbone {c.backbone}): lower image_size, choose a smaller backbone, or share the GPU less"
            )
        self.count *= 2
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()  # blocks of the sizes of larger chunks are of no use any more


@contextmanager
def settled(model: nn.Module) -> Iterator[None]:
    """Batch norm neither moves its running statistics nor counts: a forward pass that is done again has done it before."""
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
    """Raise `UserError` with what helps in a phase of a run where memory runs out in it."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        sizes = (
            f"batch_size {config.batch_size}, eval_batch_size {config.eval_batch_size}, image_size {config.image_size}"
        )
        raise UserError(
            f"memory runs out in {phase} ({sizes}, backbone {config.backbone}): {REMEDIES[phase]}"
        ) from error
