"""CUDA graphs: what a step launches, captured once and launched as a whole, so that Python is no longer in the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Result = TypeVar("Result")


class Replay(Generic[Result]):
    """A function of tensors on a GPU as a CUDA graph; its result lies in the same memory after every call.

    The function must have run before on this stream, waits for nothing, and changes only memory that stays where it is.
    """

    def __init__(self, function: Callable[..., Result], *inputs: Tensor) -> None:
        self.inputs = [value.clone() for value in inputs]
        self.graph = torch.cuda.CUDAGraph()
        # other threads, which copy the next batch, may go on to allocate memory
        with torch.cuda.graph(self.graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
            self.result = function(*self.inputs)

    def fits(self, *inputs: Tensor) -> bool:
        """Whether inputs are of the captured shapes."""
        return all(own.shape == value.shape for own, value in zip(self.inputs, inputs, strict=True))

    def __call__(self, *inputs: Tensor) -> Result:
        """The function's result for other inputs of the same shapes."""
        for own, value in zip(self.inputs, inputs, strict=True):
            own.copy_(value, non_blocking=True)
        self.graph.replay()
        return self.result


class Forward:
    """A network in evaluation: images (B, 3, S, S) -> outputs, for full batches replayed on a GPU if that is wanted."""

    def __init__(self, model: nn.Module, replays: bool) -> None:
        self.model, self.replays = model, replays
        self.replay: Replay[list[Tensor]] | None = None
        self.warm = False

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Outputs that stay as they are when the next batch is computed."""
        if self.replay is None and self.replays and self.warm:
            self.replay = Replay(self.model, images)
        if self.replay is not None and self.replay.fits(images):
            return [output.clone() for output in self.replay(images)]
        self.warm = True
        outputs: list[Tensor] = self.model(images)
        return outputs
