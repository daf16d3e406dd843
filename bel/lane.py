"""Where a run computes: a device, and on it a stream and random numbers of its own, so that runs can take turns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

FREE: list[
    torch.cuda.Stream
] = []  # streams that runs have left: libraries keep memory for each stream that they have seen


class Lane:
    """What a run has for itself on a device.

    On a GPU its kernels go to a stream of its own, beside those of other runs. Dropout draws from torch's default
    generator, which in a lane's turn has the lane's state: a run draws what it would draw alone.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = (FREE.pop() if FREE else torch.cuda.Stream(device)) if device.type == "cuda" else None
        self.generator = torch.Generator(device)

    def seed(self, number: int) -> None:
        """Begin its random numbers anew."""
        self.generator.manual_seed(number)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Compute in this lane."""
        if self.stream is None:
            before = torch.get_rng_state()
            torch.set_rng_state(self.generator.get_state())
            try:
                yield
            finally:
                self.generator.set_state(torch.get_rng_state())
                torch.set_rng_state(before)
            return
        default = torch.cuda.default_generators[self.device.index or 0]
        others = (
            default.graphsafe_get_state()
        )  # by reference: a captured graph goes on with the state it was captured with
        default.graphsafe_set_state(self.generator)
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:
            default.graphsafe_set_state(others)

    def leave(self) -> None:
        """Wait for what is still being computed, and give back the stream and memory that was held for it."""
        if self.stream is not None:
            self.stream.synchronize()
            FREE.append(self.stream)
            self.stream = None
            torch.cuda.empty_cache()
