"""RankSim (Gong, Mori, Tung: Ranking Similarity Regularization for Deep Imbalanced Regression, ICML 2022)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from bel.regularisers.base import Regulariser
from bel.regularisers.labels import label_distances, levels_of, sorted_by_level

STRENGTH = 2.0  # interpolation of the blackbox gradient


def ranks(scores: Tensor, count: Tensor) -> Tensor:
    """Scores (n, n) -> the place of each in its row over `count`, the largest 1 / count; of equal ones the later is before."""
    order = scores.argsort(dim=-1, stable=True).flip(-1)
    return (order.argsort(dim=-1) + 1).to(scores.dtype) / count


class BlackboxRanks(Function):
    """`ranks` with the gradient of a blackbox solver (Vlastelica et al., ICLR 2020; RankSim, eq. 6)."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, count: Tensor, strength: float) -> Tensor:
        """Return `ranks`."""
        found = ranks(scores, count)
        ctx.save_for_backward(scores, found, count)
        ctx.strength = strength
        return found

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        """Return by how much the ranks move where the scores move along the gradient."""
        scores, found, count = ctx.saved_tensors
        moved = ranks(scores + ctx.strength * upstream[0], count)
        return (moved - found) / (ctx.strength + 1e-8), None, None


def ranksim(features: Tensor, distances: Tensor, kept: Tensor, strength: float = STRENGTH) -> Tensor:
    """Features (n, F), distances of their labels (n, n), and which images count (n,) -> () (RankSim, eq. 3).

    For each image the others are ranked by cosine similarity and by label; the squared differences of the two ranks are
    averaged over the others and, as published, summed over images.
    """
    unit, count = F.normalize(features), kept.sum()
    wanted = ranks((-distances).masked_fill(~kept, -torch.inf), count).to(features.dtype)
    found = BlackboxRanks.apply((unit @ unit.T).masked_fill(~kept, -torch.inf), count, strength)
    squared: Tensor = (found - wanted).square() * (kept[:, None] & kept)
    return squared.sum() / count


class RankSim(Regulariser):
    """Neighbours in feature space ranked as in label space.

    Labels are distinct by level. Of the images of a level the first of the batch counts, where the source draws one: batches
    are in random order.
    """

    weight = 100.0

    def __call__(
        self, features: Tensor, targets: Tensor, predictions: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Features (n, F) and targets in units (n, axes) -> ()."""
        levels = levels_of(targets, self.axes)
        order = sorted_by_level(levels)  # as in the source, where it decides between equal distances
        new = (levels[order].diff(dim=0) != 0).any(-1)
        kept = F.pad(new, (1, 0), value=True)
        return ranksim(features[order], label_distances(targets[order], self.axes), kept)
