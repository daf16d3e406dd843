"""Label encodings in files: a 0/1 matrix (levels, bits) in a .npy or .csv file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bel.data.readers.cells import most_frequent, read_lines
from bel.errors import UserError, absolute

Bits = NDArray[np.uint8]
MOST_COLUMNS = 10_000


def matrix_file(levels: int, path: str) -> Bits:
    """Read a code from a file: N levels -> (N, B). Raises `UserError` where the file has no such code.

    `{levels}` in the path stands for N, for axes with different numbers of levels.
    """
    file = absolute("code file", path.replace("{levels}", str(levels)))
    try:
        matrix = READERS[file.suffix.lower()](file)
    except Exception as error:  # numpy raises many types of errors for broken headers
        raise UserError(f"cannot read the code file {file}: {' '.join(str(error).split())}") from error
    hint = "where axes differ, write {levels} in the path, which stands for that number, and give each a file"
    return checked_matrix(f"code file {file}", matrix, levels, hint)


def checked_matrix(what: str, matrix: NDArray[Any], levels: int, hint: str) -> Bits:
    """Return a 0/1 matrix (levels, bits) as a code; `hint` says what to do about other numbers of levels.

    Raises `UserError` where it has another shape, other entries, or a word twice.
    """
    check_shape(what, matrix.shape, levels, hint)
    check_entries(what, matrix)
    bits = np.array(matrix, dtype=np.uint8, order="C")
    check_unique(what, bits)
    return bits


def read_npy(path: Path) -> NDArray[Any]:
    """Open a .npy file as a memory map, to check its shape before its values are read; never unpickles."""
    return np.lib.format.open_memmap(path, mode="r")


def read_csv(path: Path) -> NDArray[Any]:
    """Read numbers (rows, columns) from a file without a header, with any delimiter of tables. Raises `ValueError`."""
    lines = [line for line in read_lines(path, "the code file")[0] if line.strip()]
    if not lines:
        raise ValueError("it is empty")
    return np.loadtxt(lines, delimiter=most_frequent(lines[0]), comments=None, ndmin=2)


READERS: dict[str, Callable[[Path], NDArray[Any]]] = {".npy": read_npy, ".csv": read_csv}


def check_shape(what: str, shape: tuple[int, ...], levels: int, hint: str) -> None:
    """Raise `UserError` unless a shape is (levels, bits) with 1 to 10,000 bits."""
    if len(shape) != 2:
        raise UserError(f"{what} must have two dimensions, a row a level and a column a bit, got shape {shape}")
    if not 1 <= shape[1] <= MOST_COLUMNS:
        raise UserError(f"{what} must have 1 to {MOST_COLUMNS} columns, a bit each, got {shape[1]}")
    if shape[0] != levels:
        raise UserError(f"{what} must have as many rows as the axis has levels, {levels}, got {shape[0]}: {hint}")


def check_entries(what: str, matrix: NDArray[Any]) -> None:
    """Raise `UserError` unless a matrix (levels, bits) holds numbers, 0 and 1 only."""
    if matrix.dtype.kind not in "buif":
        raise UserError(f"{what} must hold 0 and 1 only, got entries of type {matrix.dtype}")
    wrong = (matrix != 0) & (matrix != 1)
    if wrong.any():
        row, column = np.unravel_index(wrong.argmax(), wrong.shape)
        value = matrix[row, column]
        raise UserError(f"{what} must hold 0 and 1 only, got {value:g} in row {row}, column {column} (from 0)")


def check_unique(what: str, matrix: Bits) -> None:
    """Raise `UserError` naming the first row of a code (levels, bits) that repeats another."""
    seen: dict[bytes, int] = {}
    for level, word in enumerate(matrix):
        first = seen.setdefault(word.tobytes(), level)
        if first != level:
            raise UserError(f"{what} must have different rows, but rows {first} and {level} (from 0) are equal")
