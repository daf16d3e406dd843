"""Ordinal entropy (Zhang, Yang, Mi, Zheng, Yao: Improving Deep Regression with Ordinal Entropy, ICLR 2023)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bel.regularisers.base import Regulariser
from bel.regularisers.labels import EXACT, at_levels, label_distances, levels_of, same_levels

LEAST = 1e-6  # distance of unit features below which there is no gradient


def diversity(centres: Tensor, distances: Tensor, pairs: Tensor) -> Tensor:
    """Unit features (n, F), distances of their labels (n, n), and which pairs (n, n) count -> mean weighted distance.

    As published the weight of a pair is its label distance less the smallest one, over the largest one: the nearest pair
    has weight 0.
    """
    inf = torch.full_like(distances, torch.inf)
    nearest, farthest = torch.where(pairs, distances, inf).amin(), torch.where(pairs, distances, -inf).amax()
    weight = torch.where(pairs, (distances - nearest) / farthest, 0).to(centres.dtype)
    apart = torch.cdist(centres, centres, compute_mode=EXACT).clamp(min=LEAST)
    return (weight * apart).sum() / pairs.sum().clamp(min=1)


def tightness(unit: Tensor, centres: Tensor, counts: Tensor) -> Tensor:
    """Unit features and the centres of their labels (n, F), images of each label (n,) -> mean distance of the two.

    Over images whose label another one shares and that are not at its centre; 0 where there is none, where the published
    mean of nothing is not a number.
    """
    squared = (unit - centres).square().sum(-1)
    counted = (counts > 1) & (squared > 0)
    apart = torch.where(counted, squared, 1).clamp(min=LEAST**2).sqrt()
    return (apart * counted).sum() / counted.sum().clamp(min=1)


def ordinal_entropy(features: Tensor, distances: Tensor, same: Tensor) -> Tensor:
    """Features (n, F), distances (n, n) of their labels and which are the same (n, n) -> tightness less diversity (eq. 7).

    The centre of a label is the mean of its features, then of unit length.
    """
    centres = F.normalize(same.to(features.dtype) @ features / same.sum(1, keepdim=True))
    first = same.int().argmax(1) == torch.arange(len(features), device=features.device)  # of each label one row
    pairs = (first[:, None] & first).triu(1)
    return tightness(F.normalize(features), centres, same.sum(1)) - diversity(centres, distances, pairs)


class OrdinalEntropy(Regulariser):
    """Features of one label near each other, those of different labels far apart in proportion to their distance.

    Labels are rounded to levels: those of one level have one centre.
    """

    weight = 1.0

    def __call__(
        self, features: Tensor, targets: Tensor, predictions: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Features (n, F) and targets in units (n, axes) -> ()."""
        distances = label_distances(at_levels(targets, self.axes), self.axes)
        return ordinal_entropy(features, distances, same_levels(levels_of(targets, self.axes)))
