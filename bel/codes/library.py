"""Label encodings: a code is a 0/1 matrix (levels, bits) whose row k is the code word of level k (BEL, section 3).

A name is a key of `CODES` (`u`, `random`), or a key of `ARGUMENTS` with its argument (`random:7`, `file:mine.npy`). A new
code is one function and one entry of `CODES`.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hadamard as sylvester

from bel.codes.file import READERS, Bits, matrix_file
from bel.errors import UserError, absolute, convert_to, within

LAST_SEED = 2**31
Code = Callable[[int], Bits]  # from a number of levels to a 0/1 matrix (levels, bits)


def johnson_digit(value: NDArray[np.int64], width: int) -> Bits:
    """Values in 0..2*width-1 (n,) -> Johnson words (n, width): 00..0, 0..01, .., 11..1, 1..10, .., 10..0."""
    start = width - 1 - np.arange(width)  # bit i is set for start < value <= start + width
    value = value[:, None]
    return ((start < value) & (value <= start + width)).astype(np.uint8)


def reflected_digit(level: NDArray[np.int64], width: int) -> tuple[Bits, NDArray[np.int64]]:
    """Levels (n,) -> Johnson words (n, width), reversed in every odd turn, and the turn (n,).

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
    return (sylvester(size, dtype=np.int8)[:levels] > 0).astype(np.uint8)


def gray(levels: int) -> Bits:
    """Binary reflected Gray code: N levels -> (N, ceil(log2 N)), most significant bit first."""
    level = np.arange(levels)[:, None]
    shift = np.arange((levels - 1).bit_length())[::-1]
    return ((level ^ (level >> 1)) >> shift & 1).astype(np.uint8)


def random(levels: int, seed: int = 0) -> Bits:
    """Random code: N levels -> (N, 4 ceil(log2 N)); any two rows differ in a quarter of the bits or more.

    Rows are drawn one by one and rejected where they are too near to an earlier one. Up to 10,000 levels there always is
    another one: fewer words are too near to N rows than there are (Gilbert-Varshamov).
    """
    import torch  # imported here, because it is slow, and no other code needs it

    bits = 4 * (levels - 1).bit_length()
    generator = torch.Generator().manual_seed(seed)
    rows = np.empty((levels, bits), np.float32)  # of -1 and 1: the product of two is bits - 2 * their distance
    count = 0
    while count < levels:
        row = 2 * torch.randint(2, (bits,), generator=generator).float().numpy() - 1
        if (rows[:count] @ row <= bits - 2 * (bits // 4)).all():
            rows[count] = row
            count += 1
    return (rows > 0).astype(np.uint8)


CODES: dict[str, Code] = {
    "u": unary,
    "j": johnson,
    "b1jdj": b1jdj,
    "b2jdj": b2jdj,
    "hex16": hex16,
    "had": hadamard,
    "gray": gray,
    "random": random,
}


def seeded(argument: str) -> Code:
    """Return code `random` of a seed. Raises `UserError` for no valid seed."""
    seed = convert_to(int, "seed of code random", argument)
    within("seed of code random", seed, 0, LAST_SEED)
    return partial(random, seed=seed)


def in_file(argument: str) -> Code:
    """Return the code of a file, which is read when it is called. Raises `UserError` for a path of another format."""
    if Path(argument).suffix.lower() not in READERS:
        raise UserError(f"path of code file must end in one of {list(READERS)}, got {argument!r}")
    return partial(matrix_file, path=argument)


ARGUMENTS: dict[str, Callable[[str], Code]] = {"random": seeded, "file": in_file}


def names() -> list[str]:
    """Return the names of codes, in words where they take an argument."""
    return [*CODES, "random:SEED", "file:PATH"]


def find_code(name: str | None, what: str = "code") -> Code:
    """Return the function of a code, from levels to its matrix. Raises `UserError` for an unknown name or argument."""
    kind, colon, argument = (name or "").partition(":")
    if colon and kind in ARGUMENTS:
        return ARGUMENTS[kind](argument)
    if not colon and kind in CODES:
        return CODES[kind]
    hint = f": {kind} takes no argument" if kind in CODES else ""
    raise UserError(f"{what} must be one of {names()}, got {name!r}{hint}")


def normal_code(name: str | None, what: str = "code") -> str:
    """Return the name of a code, the path of a file made absolute. Raises `UserError` where `name` is that of no code."""
    find_code(name, what)
    kind, _, argument = str(name).partition(":")
    return f"file:{absolute('code file', argument)}" if kind == "file" else str(name)


def short_name(name: str, levels: int) -> str:
    """Return a code's name for a title: of a code in a file the name of the file."""
    kind, _, path = name.partition(":")
    return Path(path.replace("{levels}", str(levels))).stem if kind == "file" else name


def code_matrix(code: str | Code, levels: int) -> Bits:
    """Return the matrix (levels, bits) of a code, by its name or its function.

    Raises `UserError` for an unknown name or an invalid number of levels.
    """
    code = find_code(code) if isinstance(code, str) else code
    if levels < 2:
        raise UserError(f"a code needs at least 2 levels, got {levels}")
    return code(levels)


def code_digest(name: str, levels: int) -> str:
    """Return twelve hex digits of a matrix (levels, bits), which change with its file."""
    return hashlib.sha256(code_matrix(name, levels).tobytes()).hexdigest()[:12]
