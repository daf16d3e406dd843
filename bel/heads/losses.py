"""Losses with the reductions of their sources: sums over bits and images in BEL and RLEL, means elsewhere.

Those of one axis take what its head's `loss_inputs` gives; BEL's published `L1` is L1 on yaw only, ours on every axis.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def bce(logits: Tensor, bits: Tensor) -> Tensor:
    """Logits (B, bits) against code words (B, bits): binary cross-entropy, summed (BEL, section 4)."""
    return F.binary_cross_entropy_with_logits(logits, bits, reduction="sum")


def ce(scores: Tensor, index: Tensor) -> Tensor:
    """Scores (B, levels) against int64 levels (B,): cross-entropy, summed (BEL, section 4)."""
    return F.cross_entropy(scores, index, reduction="sum")


def mse(level: Tensor, target: Tensor) -> Tensor:
    """Float levels (B,) against unclamped float levels (B,): squared error, mean."""
    return F.mse_loss(level, target)


def l1(level: Tensor, target: Tensor) -> Tensor:
    """Float levels (B,) against unclamped float levels (B,): absolute error, mean."""
    return F.l1_loss(level, target)


def smooth_l1(level: Tensor, target: Tensor) -> Tensor:
    """Float levels (B,) against unclamped float levels (B,): squared below a level, absolute above, mean."""
    return F.smooth_l1_loss(level, target)


def ce_mse(scores: Tensor, index: Tensor, value: Tensor, target: Tensor, alpha: float) -> Tensor:
    """Cross-entropy of scores (B, bins), and `alpha` times the squared error of values (B,), means (HopeNet, section 3.2)."""
    return F.cross_entropy(scores, index) + alpha * F.mse_loss(value, target)


def ranks(logits: Tensor, above: Tensor) -> Tensor:
    """Rank logits (B, levels - 1) against ranks (B, levels - 1): summed over ranks, mean over images (CORAL, eq. 4)."""
    return F.binary_cross_entropy_with_logits(logits, above, reduction="none").sum(-1).mean()


def kl(scores: Tensor, distribution: Tensor) -> Tensor:
    """Scores (B, levels) against label distributions (B, levels): divergence, mean over images (DLDL, eq. 4)."""
    return F.kl_div(scores.log_softmax(-1), distribution, reduction="batchmean")


def geodesic(rotation: Tensor, true: Tensor) -> Tensor:
    """Angle in radians between rotations (B, 3, 3), mean (6DRepNet, eq. 5); flat within 0.03 degrees of 0 and 180."""
    cosine = ((rotation * true).sum((-2, -1)) - 1) / 2
    return torch.acos(cosine.clamp(-1 + 1e-7, 1 - 1e-7)).mean()


def soft_ce(scores: Tensor, level: Tensor, bits: Tensor, matrix: Tensor, distance: float, difference: float) -> Tensor:
    """Scores (B, levels) against softmax(-|level - k|), summed, and weighted regularisers (RLEL, section 3)."""
    index = torch.arange(scores.shape[-1], dtype=level.dtype, device=level.device)
    soft = (-(level[:, None] - index).abs()).softmax(-1)
    entropy = F.cross_entropy(scores, soft, reduction="sum")
    return entropy + distance * distance_hinge(bits, level) + difference * squared_differences(matrix)


def distance_hinge(bits: Tensor, level: Tensor) -> Tensor:
    """Real-valued bits (B, bits) nearer in L1 than twice their levels (B,) are: summed over one side, mean over the other."""
    apart = torch.cdist(bits, bits, p=1)
    return (2 * (level[:, None] - level).abs() - apart).clamp(min=0).sum(1).mean()


def squared_differences(matrix: Tensor) -> Tensor:
    """First differences of a code matrix (levels, bits) along its levels, zero before and after it: squared, summed."""
    return F.pad(matrix, (0, 0, 1, 1)).diff(dim=0).square().sum()


LOSSES: dict[str, Callable[..., Tensor]] = {
    loss.__name__: loss for loss in (bce, ce, mse, l1, smooth_l1, ce_mse, ranks, kl, geodesic, soft_ce)
}
