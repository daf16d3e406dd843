"""A training step: forward, loss, backward and Adam on a batch; in chunks where memory is short, a CUDA graph on a GPU."""

import torch
from torch import Tensor

from bel.config import TrainConfig
from bel.model import Model
from bel.precision import autocasts
from bel.training.accumulate import Chunks
from bel.training.optimiser import Optimiser
from bel.training.replay import Replay

WARM_UP = 3  # steps before one is captured: they load libraries, which a capture cannot


class Step:
    """The step of one run: images (B, 3, S, S) and targets in units (B, axes) on the device -> loss ()."""

    def __init__(
        self, model: Model, optimiser: Optimiser, config: TrainConfig, chunks: Chunks, bf16: bool | None = None
    ) -> None:
        self.model, self.optimiser, self.config, self.chunks = model, optimiser, config, chunks
        self.device = next(model.parameters()).device
        self.bf16 = autocasts(config, self.device) if bf16 is None else bf16
        self.replays = config.cuda_graph and self.device.type == "cuda"
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
            outputs = self.chunks.outputs(self.model, images)
        loss = self.model.head.loss(outputs, targets)
        loss.backward()
        return loss.detach()

    def facts(self) -> dict[str, float]:
        """Return metrics on how the steps were computed."""
        facts = {"bf16": float(self.bf16)}
        if self.chunks.count > 1:
            facts["accumulation"] = float(self.chunks.count)
        if self.device.type == "cuda":
            facts["cuda_graph"] = float(self.replay is not None)
        return facts
