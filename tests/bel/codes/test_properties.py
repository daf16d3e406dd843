from itertools import combinations, pairwise

import numpy as np
import pytest

from bel.codes import properties as code_properties
from bel.codes.library import CODES, code_matrix
from bel.codes.properties import Properties, level_distances, properties


def test_unary_by_hand():
    """000., 100., 110., 111.: bit 3 never changes."""
    assert properties(code_matrix("u", 4)) == Properties(
        levels=4,
        bits=4,
        unique=4,
        flips=(1, 1.0, 1),
        transitions=(0, 0.75, 1),
        distances={1: (1, 1.0), 2: (2, 2.0), 3: (3, 3.0)},
        min_distance=1,
        seam=3,
    )


def test_johnson_by_hand():
    """0000, 0001, 0011, 0111, 1111, 1110, 1100, 1000: bit 0 changes once, the others twice."""
    assert properties(code_matrix("j", 8)) == Properties(
        levels=8,
        bits=4,
        unique=8,
        flips=(1, 1.0, 1),
        transitions=(1, 1.75, 2),
        distances={1: (1, 1.0), 2: (2, 2.0), 3: (3, 3.0), 4: (4, 4.0)},
        min_distance=1,
        seam=1,
    )


def test_gray_by_hand():
    """000, 001, 011, 010, 110, 111, 101, 100: distances at 3 apart are 1, 3, 1, 3, 1; the last differs from the first by 1."""
    matrix = code_matrix("gray", 8)
    assert properties(matrix) == Properties(
        levels=8,
        bits=3,
        unique=8,
        flips=(1, 1.0, 1),
        transitions=(1, 7 / 3, 4),
        distances={1: (1, 1.0), 2: (2, 2.0), 3: (1, 9 / 5), 4: (2, 2.0)},
        min_distance=1,
        seam=1,
    )
    assert properties(np.vstack([matrix, matrix[:1]])).flips == (1, 1.0, 1)


def test_hadamard_by_hand():
    p = properties(code_matrix("had", 8))
    assert (p.flips, p.min_distance, set(p.distances.values())) == ((4, 4.0, 4), 4, {(4, 4.0)})
    assert p.transitions == (0, 3.5, 7)  # column 0 is constant, column 1 alternates


def by_hand(matrix):
    """The same, pair by pair and bit by bit."""
    rows = [[int(bit) for bit in row] for row in matrix]
    levels = len(rows)
    between = {
        (a, b): sum(x != y for x, y in zip(rows[a], rows[b], strict=True)) for a, b in combinations(range(levels), 2)
    }
    changes = [sum(a[i] != b[i] for a, b in pairwise(rows)) for i in range(len(rows[0]))]
    flips = [between[k, k + 1] for k in range(levels - 1)]
    distances = {}
    for apart in (1, 2, 3, 4, 8, 16, 32, 64, 128):
        some = [between[k, k + apart] for k in range(levels - apart)]
        if some:
            distances[apart] = (min(some), pytest.approx(sum(some) / len(some)))
    return Properties(
        levels=levels,
        bits=len(rows[0]),
        unique=len(set(map(tuple, rows))),
        flips=(min(flips), pytest.approx(sum(flips) / len(flips)), max(flips)),
        transitions=(min(changes), pytest.approx(sum(changes) / len(changes)), max(changes)),
        distances=distances,
        min_distance=min(between.values()),
        seam=between[0, levels - 1],
    )


@pytest.mark.parametrize("chunk", [7, 1024])
@pytest.mark.parametrize("levels", [2, 3, 26, 33, 64, 65])
@pytest.mark.parametrize("name", [*CODES, "random:7"])
def test_every_code_equals_brute_force(monkeypatch, name, levels, chunk):
    monkeypatch.setattr(code_properties, "CHUNK", chunk)
    if name != "j" or levels % 2 == 0:
        matrix = code_matrix(name, levels)
        assert properties(matrix) == by_hand(matrix)


@pytest.mark.parametrize("chunk", [1, 7, 8, 1024])
@pytest.mark.parametrize("seed", range(5))
def test_the_nearest_two_are_found_across_chunks(monkeypatch, seed, chunk):
    """Rows are far apart, but for one pair anywhere."""
    monkeypatch.setattr(code_properties, "CHUNK", chunk)
    draw = np.random.default_rng(seed)
    matrix = code_matrix(f"random:{seed}", 40)[:, np.repeat(np.arange(24), 2)]  # all distances are doubled
    a, b = sorted(draw.choice(40, 2, replace=False))
    matrix[b] = matrix[a]
    matrix[b, draw.choice(48, 3, replace=False)] ^= 1
    p = properties(matrix)
    assert p.min_distance == 3 and p == by_hand(matrix)


def test_equal_rows_are_counted():
    p = properties(np.array([[0, 1], [1, 0], [0, 1], [0, 1], [1, 1]], np.uint8))
    assert (p.unique, p.min_distance, p.flips) == (3, 0, (0, 1.25, 2))


def test_level_distances_stop_below_the_number_of_levels():
    expected = {2: [1], 3: [1, 2], 4: [1, 2, 3], 5: [1, 2, 3, 4], 8: [1, 2, 3, 4], 9: [1, 2, 3, 4, 8]}
    assert {levels: level_distances(levels) for levels in expected} == expected


@pytest.mark.parametrize(
    ("name", "seam"), [("u", 71), ("j", 1), ("b1jdj", 1), ("b2jdj", 1), ("gray", 3), ("hex16", 11)]
)
def test_the_seam_is_the_bits_that_flip_from_the_last_level_to_the_first(name, seam):
    assert properties(code_matrix(name, 72)).seam == seam


@pytest.mark.slow
def test_ten_thousand_levels_fit():
    p = properties(code_matrix("random", 10_000))
    assert (p.levels, p.bits, p.unique) == (10_000, 56, 10_000) and p.min_distance >= 14
