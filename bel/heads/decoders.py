"""From outputs of a head to float levels: the decoders of one training (BEL, section 3.3).

`scores` (B, levels) are unnormalised log-probabilities of the levels. Because a code matrix is 0/1, logits @ matrix.T
is the exact Bernoulli log-likelihood of each code word up to a constant per image.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bel.angles import circular, wrap


def scores(logits: Tensor, matrix: Tensor) -> Tensor:
    """Logits (B, bits) and code matrix (levels, bits) -> scores (B, levels)."""
    return logits @ matrix.T


def expected(scores: Tensor) -> Tensor:
    """Posterior mean level (B,), continuous (BEL: GEN-EX)."""
    level = torch.arange(scores.shape[-1], dtype=scores.dtype, device=scores.device)
    return scores.softmax(-1) @ level


def circular_mean(weights: Tensor, places: Tensor, turn: float) -> Tensor:
    """Weights (B, n) of places (n,) of a circle of length `turn` -> their mean (B,), the direction of their sum, in 0..turn.

    (Mardia, Jupp: Directional Statistics, section 2.2.) Where they cancel each other it is 0, with a finite gradient.
    """
    angles = places.to(weights.dtype) * (2 * math.pi / turn)
    return direction(weights @ angles.sin(), weights @ angles.cos(), turn)


def direction(sine: Tensor, cosine: Tensor, turn: float) -> Tensor:
    """Sine and cosine (B,), of any length -> the place (B,) on a circle of length `turn`, in 0..turn."""
    nowhere = (sine == 0) & (cosine == 0)  # where atan2 has no gradient
    angle = torch.atan2(sine, cosine + nowhere.to(cosine.dtype))
    return wrap(angle * (turn / (2 * math.pi)), 0.0, turn)


def circular_expected(scores: Tensor) -> Tensor:
    """Circular posterior mean level (B,), continuous, where the level after the last is the first."""
    levels = scores.shape[-1]
    return circular_mean(scores.softmax(-1), torch.arange(levels, device=scores.device), levels)


def argmax(scores: Tensor) -> Tensor:
    """Most probable level (B,) (BEL: GEN)."""
    return scores.argmax(-1).to(scores.dtype)


def median(scores: Tensor) -> Tensor:
    """Median level (B,): the first up to which half of the probability lies, which has the least expected distance."""
    return (scores.softmax(-1).cumsum(-1) < 0.5).sum(-1).to(scores.dtype)


def circular_median(scores: Tensor) -> Tensor:
    """Level (B,) with the least expected distance round a circle; of equal ones the first."""
    level = torch.arange(scores.shape[-1], dtype=scores.dtype, device=scores.device)
    apart = circular(level[:, None] - level, scores.shape[-1]).abs()
    return (scores.softmax(-1) @ apart).argmin(-1).to(scores.dtype)


def native_unary(logits: Tensor) -> Tensor:
    """Native decoder of the unary code: number of positive logits (B,)."""
    return (logits > 0).sum(-1).to(logits.dtype)


def native_johnson(logits: Tensor) -> Tensor:
    """Native decoder of the Johnson code (B,): position of the run of ones; level 0 for no ones (published: level w)."""
    bit = (logits.sign() + 1) / 2
    width = logits.shape[-1]
    from_right = torch.arange(width, 0, -1, dtype=logits.dtype, device=logits.device)
    from_left = torch.arange(1, width + 1, dtype=logits.dtype, device=logits.device)
    level = (bit * from_right).amax(-1) + width - (bit * from_left).amax(-1)
    return torch.where(bit.any(-1), level, torch.zeros_like(level))


def native_ring(logits: Tensor) -> Tensor:
    """Native decoder of the Johnson code on a circle (B,): the middle of the run of ones, as a whole level.

    The bits and their complements are a ring of as many places as levels, on which every word is one run of ones over half
    of it; the middle is the circular mean of the ones, so that no level is read otherwise than the others.
    """
    width = logits.shape[-1]
    place = torch.arange(width, dtype=logits.dtype, device=logits.device)
    middle = -(place - (3 * width - 1) / 2)  # of the levels that set a bit; a number less a tensor is nothing for ONNX
    level = circular_mean(logits.sign(), middle, 2 * width).round()
    return torch.where(level < 2 * width, level, torch.zeros_like(level))


NATIVE: dict[str, Callable[[Tensor], Tensor]] = {"u": native_unary, "j": native_johnson}


def native(logits: Tensor, scores: Tensor, code: str) -> Tensor:
    """The code's native decoder (B,): a count for u, a run for j, `argmax` for codes that have none."""
    return NATIVE[code](logits) if code in NATIVE else argmax(scores)


DECODERS: dict[str, Callable[[Tensor, Tensor, str], Tensor]] = {
    "expected": lambda logits, scores, code: expected(scores),
    "argmax": lambda logits, scores, code: argmax(scores),
    "native": native,
}

CIRCULAR: dict[str, Callable[[Tensor, Tensor, str], Tensor]] = {  # the same where levels wrap
    "expected": lambda logits, scores, code: circular_expected(scores),
    "argmax": lambda logits, scores, code: argmax(scores),
    "native": lambda logits, scores, code: native_ring(logits) if code == "j" else native(logits, scores, code),
}

STEPPED = ("argmax", "native", "rank", "median")  # decoders that give whole levels
