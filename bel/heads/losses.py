"""Losses with the reductions of their sources: sums over bits and images in BEL and RLEL, means elsewhere.

Those of one axis take what its head's `loss_inputs` gives; BEL's published `L1` is L1 on yaw only, ours on every axis.
With `weights` (B,) the part of each image counts so often, in the same sum or mean.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bel.angles import circular


def average(each: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean over images of their losses (B,) or (B, n), each times its weight (B,) where there are weights."""
    if weights is not None and each.ndim == 2:
        each = each.mean(-1)
    return (each if weights is None else weights * each).mean()


def bce(logits: Tensor, bits: Tensor, weights: Tensor | None = None) -> Tensor:
    """Logits (B, bits) against code words (B, bits): binary cross-entropy, summed (BEL, section 4)."""
    column = None if weights is None else weights[:, None]
    return F.binary_cross_entropy_with_logits(logits, bits, column, reduction="sum")


def ce(scores: Tensor, index: Tensor, weights: Tensor | None = None) -> Tensor:
    """Scores (B, levels) against int64 levels (B,): cross-entropy, summed (BEL, section 4)."""
    if weights is None:
        return F.cross_entropy(scores, index, reduction="sum")
    return (weights * F.cross_entropy(scores, index, reduction="none")).sum()


def mse(level: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Float levels (B,) against unclamped float levels (B,): squared error, mean."""
    if weights is None:
        return F.mse_loss(level, target)
    return average(F.mse_loss(level, target, reduction="none"), weights)


def l1(level: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Float levels (B,) against unclamped float levels (B,): absolute error, mean."""
    if weights is None:
        return F.l1_loss(level, target)
    return average(F.l1_loss(level, target, reduction="none"), weights)


def smooth_l1(level: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
    """Float levels (B,) against unclamped float levels (B,): squared below a level, absolute above, mean."""
    if weights is None:
        return F.smooth_l1_loss(level, target)
    return average(F.smooth_l1_loss(level, target, reduction="none"), weights)


def ce_mse(
    scores: Tensor, index: Tensor, value: Tensor, target: Tensor, alpha: float, weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy of scores (B, bins), and `alpha` times the squared error of values (B,), means (HopeNet, section 3.2)."""
    if weights is None:
        return F.cross_entropy(scores, index) + alpha * F.mse_loss(value, target)
    return average(F.cross_entropy(scores, index, reduction="none"), weights) + alpha * mse(value, target, weights)


def ranks(logits: Tensor, above: Tensor, weights: Tensor | None = None) -> Tensor:
    """Rank logits (B, levels - 1) against ranks (B, levels - 1): summed over ranks, mean over images (CORAL, eq. 4)."""
    return average(F.binary_cross_entropy_with_logits(logits, above, reduction="none").sum(-1), weights)


def kl(scores: Tensor, distribution: Tensor, weights: Tensor | None = None) -> Tensor:
    """Scores (B, levels) against label distributions (B, levels): divergence, mean over images (DLDL, eq. 4)."""
    if weights is None:
        return F.kl_div(scores.log_softmax(-1), distribution, reduction="batchmean")
    return average(F.kl_div(scores.log_softmax(-1), distribution, reduction="none").sum(-1), weights)


def geodesic(rotation: Tensor, true: Tensor, weights: Tensor | None = None) -> Tensor:
    """Angle in radians between rotations (B, 3, 3), mean (6DRepNet, eq. 5); flat within 0.03 degrees of 0 and 180."""
    cosine = ((rotation * true).sum((-2, -1)) - 1) / 2
    return average(torch.acos(cosine.clamp(-1 + 1e-7, 1 - 1e-7)), weights)


def soft_ce(
    scores: Tensor,
    level: Tensor,
    bits: Tensor,
    matrix: Tensor,
    distance: float,
    difference: float,
    turn: int | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Scores (B, levels) against softmax(-|level - k|), summed, and weighted regularisers (RLEL, section 3).

    With a `turn`, the number of levels of a circle, distances are round it, and the first level follows the last. The
    regulariser of the matrix is of no image, and has no weight of one.
    """
    index = torch.arange(scores.shape[-1], dtype=level.dtype, device=level.device)
    soft = (-distances(level, index, turn)).softmax(-1)
    entropy = ce(scores, soft, weights)
    hinge = distance_hinge(bits, level, turn, weights)
    return entropy + distance * hinge + difference * squared_differences(matrix, turn)


def distances(level: Tensor, other: Tensor, turn: int | None) -> Tensor:
    """Float levels (B,) and others (n,) -> how far they are apart (B, n), on a circle of `turn` levels the shorter way."""
    apart = level[:, None] - other
    return (circular(apart, turn) if turn else apart).abs()


def distance_hinge(bits: Tensor, level: Tensor, turn: int | None = None, weights: Tensor | None = None) -> Tensor:
    """Real-valued bits (B, bits) nearer in L1 than twice their levels (B,) are: summed over one side, mean over the other."""
    apart = torch.cdist(bits, bits, p=1)
    return average((2 * distances(level, level, turn) - apart).clamp(min=0).sum(1), weights)


def squared_differences(matrix: Tensor, turn: int | None = None) -> Tensor:
    """First differences of a code matrix (levels, bits) along its levels, zero before and after it: squared, summed.

    With a `turn` nothing is before or after it: the last level is followed by the first.
    """
    if turn:
        return (matrix.roll(-1, 0) - matrix).square().sum()
    return F.pad(matrix, (0, 0, 1, 1)).diff(dim=0).square().sum()


def ranks_clamped(logits: Tensor, above: Tensor, weights: Tensor | None = None) -> Tensor:
    """As `ranks`, but from probabilities, of which logarithms are clamped at -100 (public code of OR-CNN)."""
    each = F.binary_cross_entropy(logits.sigmoid(), above, reduction="none").sum(-1)
    return average(each, weights)


def conditional_ranks(logits: Tensor, above: Tensor, weights: Tensor | None = None) -> Tensor:
    """Rank logits against ranks (B, levels - 1), each of the images above the rank before it: mean over pairs (CORN, eq. 6)."""
    asked = F.pad(above, (1, 0), value=1.0)[:, :-1]
    each = (asked * F.binary_cross_entropy_with_logits(logits, above, reduction="none")).sum(-1)
    return average(each * (len(each) / asked.sum()), weights)


def ce_distribution(scores: Tensor, distribution: Tensor, weights: Tensor | None = None) -> Tensor:
    """Scores against label distributions (B, levels): cross-entropy, mean over images (SORD, HL-Gauss, section 3)."""
    return average(F.cross_entropy(scores, distribution, reduction="none"), weights)


def moments(scores: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and distances of the levels to the label (B, levels) -> signed error of the mean, and variance (B,)."""
    p = scores.softmax(-1)
    error = (p * distance).sum(-1)
    return error, (p * (distance - error[:, None]) ** 2).sum(-1)


def ce_l1(
    scores: Tensor, distribution: Tensor, distance: Tensor, expectation_weight: float, weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy with label distributions, and the weighted absolute error of the mean (DLDL-v2, section 3).

    The paper's divergence has the same gradient.
    """
    error, _ = moments(scores, distance)
    each = F.cross_entropy(scores, distribution, reduction="none") + expectation_weight * error.abs()
    return average(each, weights)


def mean_variance(
    scores: Tensor,
    index: Tensor,
    distance: Tensor,
    mean_weight: float,
    variance_weight: float,
    weights: Tensor | None = None,
) -> Tensor:
    """Cross-entropy with levels, half the squared error of the mean, and the variance: weighted (Pan et al., section 3)."""
    error, variance = moments(scores, distance)
    each = F.cross_entropy(scores, index, reduction="none") + mean_weight * error**2 / 2 + variance_weight * variance
    return average(each, weights)


def unimodal(
    scores: Tensor, distance: Tensor, unimodal_weight: float, wraps: bool = False, weights: Tensor | None = None
) -> Tensor:
    """Concentration on the label, and weighted steps of the distribution away from it that go up (Li et al., section 3).

    Where levels wrap there is a step from the last to the first, and the one opposite to the label goes towards it on the
    shorter way.
    """
    error, variance = moments(scores, distance)
    concentration = (variance + 1e-10).log() / 2 + error**2 / (2 * variance + 1e-10)
    p = scores.softmax(-1)
    step = p.diff(dim=-1, append=p[:, :1] if wraps else None)
    middle = distance[:, : step.shape[-1]] + 0.5  # of each step
    if wraps:
        middle = circular(middle, p.shape[-1])
    wrong = torch.where(middle < 0, -step, step).relu().sum(-1)
    return average(concentration + unimodal_weight * wrong, weights)


def beta_nll(mean: Tensor, variance: Tensor, target: Tensor, beta: float, weights: Tensor | None = None) -> Tensor:
    """Means, variances and targets (B,): normal likelihood, each times its variance to `beta` (Seitzer et al., section 4)."""
    each = variance.detach() ** beta * 0.5 * ((target - mean) ** 2 / variance + variance.log())
    return average(each, weights)


LOSSES: dict[str, Callable[..., Tensor]] = {
    loss.__name__: loss
    for loss in (
        bce, ce, mse, l1, smooth_l1, ce_mse, ranks, kl, geodesic, soft_ce,
        ranks_clamped, conditional_ranks, ce_distribution, ce_l1, mean_variance, unimodal, beta_nll,
    )
}  # fmt: skip
