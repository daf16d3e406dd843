import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from bel.codes import CODES, code_matrix
from bel.errors import UserError

PUBLISHED = json.loads((Path(__file__).parents[1] / "golden" / "codes.json").read_text())


def test_all_published_matrices_are_there():
    assert len(PUBLISHED) == 49


@pytest.mark.parametrize("key", PUBLISHED)
def test_matrix_equals_the_published_one(key):
    name, levels = key.rsplit("_", 1)
    matrix = code_matrix(name, int(levels))
    digest = hashlib.sha256(np.ascontiguousarray(matrix, dtype=np.uint8).tobytes()).hexdigest()
    published = PUBLISHED[key]
    assert (*matrix.shape, int(matrix.sum()), digest) == (
        published["levels"],
        published["bits"],
        published["ones"],
        published["sha256"],
    )


LEVELS = [2, 3, 4, 7, 8, 9, 26, 33, 100, 105, 150, 200, 255, 256]
LEGAL = [(name, levels) for name in CODES for levels in LEVELS if name != "j" or levels % 2 == 0]


@pytest.mark.parametrize(("name", "levels"), LEGAL)
def test_every_legal_number_of_levels_gives_unique_binary_rows(name, levels):
    matrix = code_matrix(name, levels)
    assert matrix.dtype == np.uint8 and set(np.unique(matrix)) <= {0, 1}
    assert len(np.unique(matrix, axis=0)) == levels == len(matrix)


@pytest.mark.parametrize("name", ["u", "j", "b1jdj", "b2jdj", "hex16"])
@pytest.mark.parametrize("levels", [8, 26, 64, 150, 256])
def test_neighbouring_levels_differ_in_one_bit(name, levels):
    flips = np.abs(np.diff(code_matrix(name, levels).astype(int), axis=0)).sum(1)
    assert (flips == 1).all()


def test_hadamard_rows_are_equidistant():
    matrix = code_matrix("had", 100).astype(int)
    assert matrix.shape == (100, 128)
    distance = np.abs(matrix[:, None] - matrix).sum(-1)
    assert (distance[~np.eye(100, dtype=bool)] == 64).all()


@pytest.mark.parametrize(
    ("name", "levels", "says"),
    [("j", 105, "even"), ("hex16", 257, "256"), ("u", 1, "at least 2"), ("z", 10, "must be one of")],
)
def test_illegal_codes_are_refused_in_a_sentence(name, levels, says):
    with pytest.raises(UserError, match=says):
        code_matrix(name, levels)
