"""What a regulariser is: a number that the features of a batch should make small, given the targets of its images.

A new regulariser is one file with a subclass of `Regulariser`, and one entry of `REGULARISERS`;
`bel.testing.regularisers` checks it.
"""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from bel.angles import Axis


class Regulariser:
    """What a regulariser declares, and the axes of the protocol: those are the same for every head.

    Its arithmetic has no shape that depends on values and reads no value, so that a training step can be captured as a CUDA
    graph; one for which that does not hold says so in `graph`. Nothing in it is random.
    """

    weight: ClassVar[float]  # of its source
    views: ClassVar[int] = 1  # of each image in a batch, each augmented on its own
    uses_predictions: ClassVar[bool] = False
    graph: ClassVar[bool] = True

    def __init__(self, axes: Sequence[Axis]) -> None:
        self.axes = tuple(axes)

    def __call__(
        self, features: Tensor, targets: Tensor, predictions: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Features (n, F), targets (n, axes) and predictions (n, axes) in units, weights (n,) of the images -> ().

        With two views the n rows are the first view of each image, then the second, in the same order. Predictions are
        there where `uses_predictions`, without a gradient.
        """
        raise NotImplementedError
