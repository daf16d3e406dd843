"""Rank-N-Contrast (Zha, Cao, Son, Yang, Katabi: Learning Continuous Representations for Regression, NeurIPS 2023)."""

import torch
from torch import Tensor

from bel.regularisers.base import Regulariser
from bel.regularisers.labels import EXACT, label_distances

TEMPERATURE = 2.0


def rank_n_contrast(features: Tensor, distances: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Features (n, F) and distances of their labels (n, n) -> () (Rank-N-Contrast, eq. 2).

    For each image each other one is contrasted with all whose labels are at least as far, itself included. It takes
    memory of n^3 numbers.
    """
    n = len(features)
    similarity = -torch.cdist(features, features, compute_mode=EXACT) / temperature
    others = ~torch.eye(n, dtype=torch.bool, device=features.device)
    beyond = (distances[:, None] >= distances[:, :, None]) & others[:, None]  # (image, other, contrasted)
    total = similarity[:, None].masked_fill(~beyond, -torch.inf).logsumexp(-1)
    return ((total - similarity) * others).sum() / (n * (n - 1))


class RankNContrast(Regulariser):
    """Features in the order of their labels, seen from each image.

    The source trains the trunk on it alone, and a linear layer afterwards; here it is added to the loss, with weight 1.
    """

    weight = 1.0
    views = 2

    def __call__(
        self, features: Tensor, targets: Tensor, predictions: Tensor | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Features (n, F) and targets in units (n, axes) -> ()."""
        return rank_n_contrast(features, label_distances(targets, self.axes))
