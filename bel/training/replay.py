"""CUDA graphs: what a step launches, captured once and launched as a whole, so that Python is no longer in the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from bel.errors import UserError

Result = TypeVar("Result")


class Replay(Generic[Result]):
    """A function of tensors on a GPU as a CUDA graph; its result lies in the same memory after every call.

    The function must have run before on this stream, waits for nothing, and changes only memory that stays where it is.
    Raises `UserError` where it does otherwise, and torch's `OutOfMemoryError`.
    """

    def __init__(self, function: Callable[..., Result], *inputs: Tensor) -> None:
        self.inputs = [value.clone() for value in inputs]
        self.graph = torch.cuda.CUDAGraph()
        try:
            # other threads, which copy the next batch, may go on to allocate memory
            with torch.cuda.graph(self.graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"):
                self.result = function(*self.inputs)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            torch.cuda.synchronize()  # raises where it is the GPU that failed
            reason = str(error).partition("\n")[0]
            raise UserError(
                f"this network cannot be captured as a CUDA graph ({reason}): set cuda_graph to false"
            ) from error

    def __call__(self, *inputs: Tensor) -> Result:
        """The function's result for other inputs of the same shapes."""
        for own, value in zip(self.inputs, inputs, strict=True):
            own.copy_(value, non_blocking=True)
        self.graph.replay()
        return self.result


class Forward:
    """A network in evaluation: images (B, 3, S, S) -> outputs, on a GPU replayed for batches of `size`; 0: never."""

    def __init__(self, model: nn.Module, size: int) -> None:
        self.model, self.size = model, size
        self.replay: Replay[list[Tensor]] | None = None
        self.warm = False

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Outputs that stay as they are when the next batch is computed."""
        if len(images) != self.size:
            return self.plain(images)
        if self.replay is None:
            outputs = self.plain(images)
            if self.warm:
                self.capture(images)
            self.warm = True
            return outputs
        return [output.clone() for output in self.replay(images)]

    def plain(self, images: Tensor) -> list[Tensor]:
        """Outputs, kernel by kernel."""
        outputs: list[Tensor] = self.model(images)
        return outputs

    def capture(self, images: Tensor) -> None:
        """Make a graph, which computes nothing yet; where it finds no memory, go on without one."""
        try:
            self.replay = Replay(self.model, images)
        except torch.OutOfMemoryError:
            self.size = 0
