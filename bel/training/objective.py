"""What a training step minimises: the loss of the head, with images weighted or not, and a regulariser of the features."""

import torch
from torch import Tensor, nn

from bel.config import TrainConfig
from bel.data.balance import Balance
from bel.heads import Head
from bel.model import Model, WithFeatures
from bel.precision import copy_to
from bel.regularisers import NONE, REGULARISERS


class Objective:
    """The loss of a head and the regulariser of a config, for the training targets in units (n, axes) and a device.

    With several views the loss is the mean of the losses of each view, which have as many images as a batch without views.
    """

    def __init__(self, config: TrainConfig, targets: Tensor | None, device: torch.device) -> None:
        axes = config.definition.axes  # not those of the head: distances and weights are the same for every head
        self.views, self.weight = config.views, config.regulariser_weight
        self.regulariser = None if config.regulariser == NONE else REGULARISERS[config.regulariser](axes)
        self.balance = None
        if config.balance != NONE and targets is not None:
            self.balance = Balance(targets, axes).to(device)

    def network(self, model: Model) -> nn.Module:
        """Return the network whose outputs the objective takes: with a regulariser the features are the last of them."""
        return model if self.regulariser is None else WithFeatures(model)

    @property
    def graph(self) -> bool:
        """Whether a CUDA graph can be captured of it."""
        return self.regulariser is None or self.regulariser.graph

    def __call__(self, head: Head, outputs: list[Tensor], targets: Tensor) -> tuple[Tensor, Tensor | None]:
        """Outputs of `network`, targets in units (B, axes) -> what is minimised (), and the regulariser () without weight."""
        weights = None if self.balance is None else self.balance(targets)
        if self.regulariser is None:
            return self.loss(head, outputs, targets, weights), None
        *outputs, features = outputs
        predictions = None
        if self.regulariser.uses_predictions:
            with torch.no_grad():
                predictions = copy_to(next(iter(head.decode(outputs).values())), targets.device)
        each = None if weights is None else weights.mean(-1)
        penalty = self.regulariser(features, targets, predictions, each)
        assert self.weight is not None
        return self.loss(head, outputs, targets, weights) + self.weight * penalty, penalty.detach()

    def loss(self, head: Head, outputs: list[Tensor], targets: Tensor, weights: Tensor | None) -> Tensor:
        """Return the loss () of a head, the mean over views."""
        given = (targets,) if weights is None else (targets, weights)
        if self.views == 1:
            return head.loss(outputs, *given)
        views = zip(*(output.chunk(self.views) for output in outputs), strict=True)
        parts = zip(*(values.chunk(self.views) for values in given), strict=True)
        return torch.stack([head.loss([*view], *part) for view, part in zip(views, parts, strict=True)]).mean()
