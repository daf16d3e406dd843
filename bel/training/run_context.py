"""Where a run computes: a device, and on it a stream and random numbers of its own, so that runs can take turns."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Streams that runs have left, to be used again: libraries keep memory for each stream that they have seen.
IDLE_STREAMS: list[torch.cuda.Stream] = []


class RunContext:
    """A run's stream and random state on a device.

    On a GPU the run's kernels go to a stream of its own, beside those of other runs. Dropout draws from torch's default
    generator, which has the run's state while the context is active: a run draws what it would draw alone.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.generator = torch.Generator(device)
        self.stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self.stream = IDLE_STREAMS.pop() if IDLE_STREAMS else torch.cuda.Stream(device)
            weakref.finalize(self, IDLE_STREAMS.append, self.stream)

    def seed(self, number: int) -> None:
        """Begin the run's random numbers anew."""
        self.generator.manual_seed(number)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Compute on the run's stream, with its random numbers."""
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
        # By reference, not by value: a captured graph goes on with the state that it was captured with.
        before = default.graphsafe_get_state()
        default.graphsafe_set_state(self.generator)
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:
            default.graphsafe_set_state(before)

    def close(self) -> None:
        """Wait for what is still being computed, and give back memory that was held for the stream."""
        if self.stream is not None:
            self.stream.synchronize()
            torch.cuda.empty_cache()
