"""Properties of a code, without training: distances between its words, and transitions of its bits."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bel.codes.file import Bits

CHUNK = 1024  # rows of the product in memory at a time


class Spread(NamedTuple):
    """Smallest, mean and largest of some counts."""

    min: int
    mean: float
    max: int


class Distance(NamedTuple):
    """Smallest and mean Hamming distance of some pairs of words."""

    min: int
    mean: float


@dataclass(frozen=True)
class Properties:
    """Properties of one code matrix; a Hamming distance is the number of bits in which two words differ."""

    levels: int
    bits: int
    unique: int  # different words
    flips: Spread  # Hamming distance of neighbouring levels
    transitions: Spread  # changes of a bit from level 0 to the last, over bits
    distances: dict[int, Distance]  # by the distance of two levels
    min_distance: int  # of any two levels
    seam: int  # bits that flip from the last level to the first, which follows it where levels wrap


def properties(matrix: Bits) -> Properties:
    """Return the properties of a code matrix (levels, bits) of at least 2 levels."""
    levels, bits = matrix.shape
    unique = len({word.tobytes() for word in matrix})
    flips = spread(hamming(matrix, 1))
    known = (
        unique < levels or flips.min == 1
    )  # different words differ in at least one bit: not all pairs need be compared
    return Properties(
        levels=levels,
        bits=bits,
        unique=unique,
        flips=flips,
        transitions=spread(np.count_nonzero(matrix[1:] != matrix[:-1], axis=0)),
        distances={apart: distance(hamming(matrix, apart)) for apart in level_distances(levels)},
        min_distance=int(unique == levels) if known else min_distance(matrix),
        seam=int(np.count_nonzero(matrix[-1] != matrix[0])),
    )


def level_distances(levels: int) -> list[int]:
    """1, 2, 3, 4, 8, 16, 32, .. below the number of levels."""
    return [apart for apart in (1, 2, 3, *(1 << i for i in range(2, levels.bit_length()))) if apart < levels]


def hamming(matrix: Bits, apart: int) -> NDArray[np.int64]:
    """Code matrix (levels, bits) -> Hamming distance of each level to the one so many levels on (levels - apart,)."""
    return np.count_nonzero(matrix[apart:] != matrix[:-apart], axis=1)


def min_distance(matrix: Bits) -> int:
    """Return the smallest Hamming distance of any two rows of a matrix (levels, bits), in chunks to save memory.

    The product of two rows of -1 and 1 is bits - 2 * distance, and exact in float32.
    """
    rows = np.where(matrix, np.float32(1), np.float32(-1))
    largest = -np.inf
    for start in range(0, len(rows), CHUNK):
        product = rows[start : start + CHUNK] @ rows[start:].T  # (chunk, levels - start)
        np.fill_diagonal(product, -np.inf)  # each row with itself
        largest = max(largest, product.max())
    return int(matrix.shape[1] - largest) // 2


def spread(counts: NDArray[np.int64]) -> Spread:
    """Smallest, mean and largest of counts (n,)."""
    return Spread(int(counts.min()), float(counts.mean()), int(counts.max()))


def distance(counts: NDArray[np.int64]) -> Distance:
    """Smallest and mean of Hamming distances (n,)."""
    return Distance(int(counts.min()), float(counts.mean()))
