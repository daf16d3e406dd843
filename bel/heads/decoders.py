"""From outputs of a head to float levels: the decoders of one training (BEL, section 3.3).

`scores` (B, levels) are unnormalised log-probabilities of the levels. Because a code matrix is 0/1, logits @ matrix.T
is the exact Bernoulli log-likelihood of each code word up to a constant per image.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def scores(logits: Tensor, matrix: Tensor) -> Tensor:
    """Logits (B, bits) and code matrix (levels, bits) -> scores (B, levels)."""
    return logits @ matrix.T


def expected(scores: Tensor) -> Tensor:
    """Posterior mean level (B,), continuous (BEL: GEN-EX)."""
    level = torch.arange(scores.shape[-1], dtype=scores.dtype, device=scores.device)
    return scores.softmax(-1) @ level


def argmax(scores: Tensor) -> Tensor:
    """Most probable level (B,) (BEL: GEN)."""
    return scores.argmax(-1).to(scores.dtype)


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


NATIVE: dict[str, Callable[[Tensor], Tensor]] = {"u": native_unary, "j": native_johnson}


def native(logits: Tensor, scores: Tensor, code: str) -> Tensor:
    """The code's native decoder (B,): a count for u, a run for j, `argmax` for codes that have none."""
    return NATIVE[code](logits) if code in NATIVE else argmax(scores)


DECODERS: dict[str, Callable[[Tensor, Tensor, str], Tensor]] = {
    "expected": lambda logits, scores, code: expected(scores),
    "argmax": lambda logits, scores, code: argmax(scores),
    "native": native,
}

STEPPED = ("argmax", "native", "rank")  # decoders that give whole levels
