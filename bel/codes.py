"""Label encodings: a code is a 0/1 matrix (levels, bits) whose row k is the code word of level k (BEL, section 3)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hadamard as sylvester

from bel.errors import UserError, one_of

Bits = NDArray[np.uint8]


def johnson_digit(value: NDArray[np.int64], width: int) -> Bits:
    """Values in 0..2*width-1 (n,) -> Johnson words (n, width): 00..0, 0..01, .., 11..1, 1..10, .., 10..0."""
    start = width - 1 - np.arange(width)  # bit i is set for start < value <= start + width
    value = value[:, None]
    return ((start < value) & (value <= start + width)).astype(np.uint8)


def reflected_digit(level: NDArray[np.int64], width: int) -> tuple[Bits, NDArray[np.int64]]:
    """Levels (n,) -> Johnson words (n, width), run backwards in every odd turn, and the turn (n,).

    Neighbouring levels differ in one bit of the word or keep the word and change the turn.
    """
    turn, digit = np.divmod(level, 2 * width)
    return johnson_digit(np.where(turn % 2 == 1, 2 * width - 1 - digit, digit), width), turn


def unary(levels: int) -> Bits:
    """BEL-U: N levels -> (N, N); bit i is set where level > i."""
    level = np.arange(levels)
    return (level[:, None] > level).astype(np.uint8)


def johnson(levels: int) -> Bits:
    """BEL-J: N levels, N even -> (N, N/2); one Johnson digit. Raises `UserError` at odd N, where two rows would be equal."""
    if levels % 2:
        raise UserError(f"code j needs an even number of levels on every axis, got {levels}: use {levels + 1}")
    return johnson_digit(np.arange(levels), levels // 2)


def b1jdj(levels: int) -> Bits:
    """BEL-B1JDJ: N levels -> (N, ceil(N/4) + 1); a reflected Johnson digit, then its turn as 1 bit."""
    word, turn = reflected_digit(np.arange(levels), -(-levels // 4))
    return np.column_stack([word, turn]).astype(np.uint8)


def b2jdj(levels: int) -> Bits:
    """BEL-B2JDJ: N levels -> (N, ceil(N/8) + 2); a reflected Johnson digit, then its turn as a 2-bit Gray word."""
    word, turn = reflected_digit(np.arange(levels), -(-levels // 8))
    return np.column_stack([word, turn >> 1, (turn ^ (turn >> 1)) & 1]).astype(np.uint8)


def hex16(levels: int) -> Bits:
    """BEL-HEXJ: N levels, N <= 256 -> (N, 16); two hexadecimal digits as Johnson words. Raises `UserError` above 256."""
    if levels > 256:
        raise UserError(
            f"code hex16 has words for at most 256 levels, got {levels}: use fewer code_bits or another code"
        )
    low, high = reflected_digit(np.arange(levels), 8)
    return np.column_stack([johnson_digit(high, 8), low])


def hadamard(levels: int) -> Bits:
    """Hadamard: N levels -> (N, B), B the next power of two; rows of the Sylvester matrix with -1 as 0."""
    size = 1 << (levels - 1).bit_length()
    return (sylvester(size)[:levels] > 0).astype(np.uint8)


CODES: dict[str, Callable[[int], Bits]] = {
    "u": unary,
    "j": johnson,
    "b1jdj": b1jdj,
    "b2jdj": b2jdj,
    "hex16": hex16,
    "had": hadamard,
}


def code_matrix(name: str, levels: int) -> Bits:
    """Matrix (levels, bits) of a code by name. Raises `UserError` for an unknown name or an illegal number of levels."""
    one_of("code", name, CODES)
    if levels < 2:
        raise UserError(f"a code needs at least 2 levels, got {levels}")
    return CODES[name](levels)
