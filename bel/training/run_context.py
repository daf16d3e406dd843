"""The context in which a run computes: its device, CUDA stream and random state, so that several runs can take turns."""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Streams of ended runs, for reuse: libraries keep memory for each stream that they have seen.
IDLE_STREAMS: list[torch.cuda.Stream] = []


class RunContext:
    """A run's stream and random state on a device.

    On a GPU each run has its own stream. Dropout draws from torch's default generator, which has the state of the run while
    the context is active: a run draws the same numbers as alone.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.generator = torch.Generator(device)
        self.stream: torch.cuda.Stream | None = None
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
            state = torch.get_rng_state()
            torch.set_rng_state(self.generator.get_state())
            try:
                yield
            finally:
                self.generator.set_state(torch.get_rng_state())
                torch.set_rng_state(state)
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
