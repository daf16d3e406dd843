"""The context in which a run computes: its device, CUDA stream and random state, so that several runs can take turns.

And its CUDA graphs: the kernels of a step, captured once and launched together, without the overhead of Python.
"""

import ctypes
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from bel.errors import UserError

# Streams of ended runs, for reuse: libraries keep memory for each stream that they have seen.
IDLE_STREAMS: list[torch.cuda.Stream] = []

# Parameters of glibc's `mallopt` and their values in bytes: when freed memory goes back to the system, how much more than is
# asked for is taken from it, and from which size on an allocation is a mapping of its own.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = (-1, 2**31 - 1), (-2, 2**28), (-3, 2**30)

# How the state of torch's default generator is read and set, by the type of a device without streams.
RANDOM_STATE: dict[str, tuple[Callable[[], Tensor], Callable[[Tensor], None]]] = {
    "cpu": (torch.get_rng_state, torch.set_rng_state),
    "mps": (torch.mps.get_rng_state, torch.mps.set_rng_state),
}


@cache
def keep_freed_memory() -> None:
    """Let the C library reuse freed memory in place of giving it back, where it is glibc.

    The activations of every step are freed and allocated again; pages that come from the system are zeroed each time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in (TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD):
            mallopt(parameter, value)


class RunContext:
    """A run's stream and random state on a device.

    On a GPU each run has its own stream. Dropout draws from torch's default generator, which has the state of the run while
    the context is active: a run draws the same numbers as alone.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.generator = torch.Generator(device)
        self.stream: torch.cuda.Stream | None = None
        if device.type == "cpu":
            keep_freed_memory()
        if device.type == "cuda":
            self.stream = IDLE_STREAMS.pop() if IDLE_STREAMS else torch.cuda.Stream(device)
            weakref.finalize(self, IDLE_STREAMS.append, self.stream)

    def seed(self, number: int) -> None:
        """Seed the random numbers of the run."""
        self.generator.manual_seed(number)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Compute on the stream of the run, with its random numbers."""
        if self.stream is None:
            get, put = RANDOM_STATE[self.device.type]
            state = get()
            put(self.generator.get_state())
            try:
                yield
            finally:
                self.generator.set_state(get())
                put(state)
            return
        default = torch.cuda.default_generators[self.device.index or 0]
        # By reference, not by value: a captured graph continues the state with which it was captured.
        before = default.graphsafe_get_state()
        default.graphsafe_set_state(self.generator)
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:
            default.graphsafe_set_state(before)

    def close(self) -> None:
        """Wait for the stream, and release the memory that was cached for it."""
        if self.stream is not None:
            self.stream.synchronize()
            torch.cuda.empty_cache()


Result = TypeVar("Result")


class Replay(Generic[Result]):
    """A function of tensors on a GPU as a CUDA graph; every call writes its result to the same memory.

    The function must have run before on this stream, must not synchronise, and may only change memory that stays
    allocated. Raises `UserError` where it cannot be captured, and torch's `OutOfMemoryError`.
    """

    def __init__(self, function: Callable[..., Result], *inputs: Tensor) -> None:
        self.inputs = [value.clone() for value in inputs]
        self.graph = torch.cuda.CUDAGraph()
        try:
            # other threads, which copy the next batch, may allocate memory meanwhile
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
        """Return the result for other inputs of the same shapes."""
        for own, value in zip(self.inputs, inputs, strict=True):
            own.copy_(value, non_blocking=True)
        self.graph.replay()
        return self.result


class Forward:
    """A network in evaluation: images (B, 3, S, S) -> outputs; a CUDA graph for batches of `size` images, none for 0."""

    def __init__(self, model: nn.Module, size: int) -> None:
        self.model, self.size = model, size
        self.replay: Replay[list[Tensor]] | None = None
        self.warm = False

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Return outputs that the next batch does not overwrite."""
        whole = len(images) == self.size
        if whole and self.replay is not None:
            return [output.clone() for output in self.replay(images)]
        outputs: list[Tensor] = self.model(images)
        if whole:
            if self.warm:
                self.capture(images)
            self.warm = True
        return outputs

    def capture(self, images: Tensor) -> None:
        """Capture a graph, without computing it; where memory is too short, continue without one."""
        try:
            self.replay = Replay(self.model, images)
        except torch.OutOfMemoryError:
            self.size = 0
