"""The contract of a code: a 0/1 matrix with a different word for each level, the same in every call."""

import numpy as np

from bel.codes.library import code_matrix
from bel.errors import UserError
from bel.plugins.registry import UnfitCodeError

LEVELS = (2, 3, 8, 33, 100, 150, 256)


def check_code(name: str) -> None:
    """Check a code by name at each of `LEVELS` that it takes; it refuses the others with a `UserError`."""
    taken = 0
    for levels in LEVELS:
        try:
            matrix = code_matrix(name, levels)
        except UnfitCodeError as error:
            raise AssertionError(str(error)) from error
        except UserError:
            continue
        taken += 1
        assert isinstance(matrix, np.ndarray) and matrix.dtype == np.uint8, (
            f"{name} must give uint8, got {matrix!r:.80}"
        )
        assert matrix.ndim == 2 and len(matrix) == levels, f"{name} must give ({levels}, bits), got {matrix.shape}"
        assert set(np.unique(matrix)) <= {0, 1}, f"{name} must be of 0 and 1 at {levels} levels"
        assert len(np.unique(matrix, axis=0)) == levels, f"{name} gives two of {levels} levels the same word"
        assert (code_matrix(name, levels) == matrix).all(), f"{name} must be the same matrix in every call"
    assert taken, f"{name} takes none of {LEVELS} levels"
