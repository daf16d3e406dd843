import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bel.codes.library import CODES, code_digest, code_matrix, normal_code
from bel.errors import UserError

PUBLISHED = json.loads((Path(__file__).parents[2] / "golden" / "codes.json").read_text())


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
VALID = [(name, levels) for name in CODES for levels in LEVELS if name != "j" or levels % 2 == 0]


@pytest.mark.parametrize(("name", "levels"), VALID)
def test_every_valid_number_of_levels_gives_unique_binary_rows(name, levels):
    matrix = code_matrix(name, levels)
    assert matrix.dtype == np.uint8 and set(np.unique(matrix)) <= {0, 1}
    assert len(np.unique(matrix, axis=0)) == levels == len(matrix)


@pytest.mark.parametrize("name", ["u", "j", "b1jdj", "b2jdj", "hex16", "gray"])
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
    [
        ("j", 105, "even"),
        ("hex16", 257, "256"),
        ("u", 1, "at least 2"),
        ("random:3", 1, "at least 2"),
        ("z", 10, "code must be one of .* got 'z'"),
    ],
)
def test_invalid_codes_are_refused_in_a_sentence(name, levels, says):
    with pytest.raises(UserError, match=says):
        code_matrix(name, levels)


def hamming(matrix):
    """Distances (levels, levels), by hand."""
    return (matrix[:, None] != matrix).sum(-1)


def test_gray_is_the_binary_reflected_code():
    words = ["".join(map(str, word)) for word in code_matrix("gray", 8)]
    assert words == ["000", "001", "011", "010", "110", "111", "101", "100"]
    assert [code_matrix("gray", levels).shape[1] for levels in (2, 3, 4, 5, 128, 129)] == [1, 2, 2, 3, 7, 8]


@pytest.mark.parametrize("seed", [0, 7, 2**31])
@pytest.mark.parametrize("levels", [2, 3, 5, 26, 150, 200, 1000])
def test_random_words_keep_their_distance(levels, seed):
    matrix = code_matrix(f"random:{seed}", levels)
    assert matrix.shape == (levels, 4 * int(np.ceil(np.log2(levels))))
    distance = hamming(matrix)[~np.eye(levels, dtype=bool)]
    assert distance.min() >= max(1, matrix.shape[1] // 4)


def test_random_rejects_what_is_too_near():
    """Words drawn without a look at the others come nearer than a quarter of the bits at this size."""
    drawn = torch.randint(2, (1000, 40), generator=torch.Generator().manual_seed(0)).numpy()
    assert hamming(drawn)[~np.eye(1000, dtype=bool)].min() < 10
    assert hamming(code_matrix("random", 1000))[~np.eye(1000, dtype=bool)].min() == 10


def test_random_is_its_seed():
    state = torch.random.get_rng_state()
    first = code_matrix("random", 150)
    torch.rand(3)
    assert np.array_equal(first, code_matrix("random:0", 150)) and np.array_equal(first, code_matrix("random", 150))
    assert not np.array_equal(first, code_matrix("random:1", 150))
    assert not np.array_equal(code_matrix("random:1", 150), code_matrix("random:7", 150))
    torch.random.set_rng_state(state)
    code_matrix("random", 150)
    assert torch.equal(torch.random.get_rng_state(), state)  # weights do not depend on the code's draw


def test_random_is_the_same_in_another_version():
    """A checkpoint holds the code's name only."""
    assert (code_digest("random", 150), code_digest("random:7", 26)) == ("b16af0244c80", "e9588e1a0eed")


def test_ten_thousand_random_words():
    matrix = code_matrix("random", 10_000)
    assert matrix.shape == (10_000, 56) and len(np.unique(matrix, axis=0)) == 10_000


def test_digest_is_that_of_the_published_matrix():
    assert code_digest("u", 150) == PUBLISHED["u_150"]["sha256"][:12]
    assert code_digest("u", 150) != code_digest("u", 100)


SQUARE = np.array([[0, 0], [0, 1], [1, 1], [1, 0]], np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, bool])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_matrix_in_an_npy_file_is_a_code(tmp_path, dtype, order):
    np.save(tmp_path / "c.npy", np.array(SQUARE, dtype, order=order))
    matrix = code_matrix(f"file:{tmp_path}/c.npy", 4)
    assert matrix.dtype == np.uint8 and np.array_equal(matrix, SQUARE)
    assert matrix.flags.writeable and matrix.flags.c_contiguous  # torch.from_numpy wants that
    np.save(tmp_path / "c.npy", 1 - SQUARE)
    assert np.array_equal(matrix, SQUARE)  # it does not hang on the file


@pytest.mark.parametrize(
    "text",
    [
        "0,0\n0,1\n1,1\n1,0\n",
        "sep=;\n0;0\n0;1\n1;1\n1;0",
        "\ufeff0, 0\r\n0, 1\r\n1, 1\r\n1, 0",
        "0,0\n0,1.0\n\n1,1\n1,0\n",
    ],
)
def test_a_matrix_in_a_csv_file_is_a_code(tmp_path, text):
    (tmp_path / "c.CSV").write_text(text, encoding="utf-8")
    assert np.array_equal(code_matrix(f"file:{tmp_path}/c.CSV", 4), SQUARE)


def test_a_csv_file_of_one_column_is_a_code(tmp_path):
    (tmp_path / "c.csv").write_text("1\n0\n")
    assert code_matrix(f"file:{tmp_path}/c.csv", 2).tolist() == [[1], [0]]


def test_levels_in_the_path_choose_the_file(tmp_path):
    for levels in (4, 8):
        np.save(tmp_path / f"c-{levels}.npy", code_matrix("j", levels))
    for levels in (4, 8):
        assert np.array_equal(code_matrix(f"file:{tmp_path}/c-{{levels}}.npy", levels), code_matrix("j", levels))
    with pytest.raises(UserError, match=r"cannot read the code file .*c-6\.npy"):
        code_matrix(f"file:{tmp_path}/c-{{levels}}.npy", 6)


def test_the_digest_of_a_file_follows_its_matrix(tmp_path):
    name = f"file:{tmp_path}/c.npy"
    np.save(tmp_path / "c.npy", code_matrix("j", 6))
    assert code_digest(name, 6) == code_digest("j", 6)
    np.save(tmp_path / "c.npy", code_matrix("gray", 6))
    assert code_digest(name, 6) == code_digest("gray", 6) != code_digest("j", 6)


def zipped(path):
    np.savez(path.with_suffix(".npz"), SQUARE)
    path.with_suffix(".npz").rename(path)


def cut_off(path):
    np.save(path, code_matrix("u", 100))
    path.write_bytes(path.read_bytes()[:1000])


def claims(shape, dtype="|u1"):
    """A writer of a .npy file of eight bytes that claims a shape."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    return lambda path: path.write_bytes(start + bytes(8))


def npy(value):
    return lambda path: np.save(path, value)


def csv(text):
    return lambda path: path.write_text(text)


BAD_FILES = {
    "missing": ("c.npy", lambda path: None, "cannot read the code file .*No such file"),
    "folder": ("c.csv", lambda path: path.mkdir(), "cannot read the code file"),
    "no npy": ("c.npy", lambda path: path.write_text("0,1"), "cannot read the code file"),
    "empty npy": ("c.npy", lambda path: path.write_bytes(b""), "cannot read the code file"),
    "zip": ("c.npy", zipped, "cannot read the code file"),
    "cut off": ("c.npy", cut_off, "cannot read the code file"),
    "pickle": ("c.npy", npy(np.array([[None, 1]] * 4)), "cannot read the code file .*bject"),
    "empty csv": ("c.csv", csv("\n \n"), "cannot read the code file .*it is empty"),
    "header": ("c.csv", csv("a,b\n0,0\n0,1\n1,1\n1,0\n"), "cannot read the code file .*'a'"),
    "ragged": ("c.csv", csv("0,0\n0,1\n1\n1,0\n"), "cannot read the code file .*columns changed"),
    "no text": ("c.csv", lambda path: path.write_bytes(b"\xff\xfe\x00"), "cannot read the code file"),
    "no memory has it": ("c.npy", claims((4, 10**18)), "cannot read the code file"),
    "no integer has it": ("c.npy", claims((4, 10**30)), "cannot read the code file"),
    "a gigabyte": ("c.npy", claims((4, 250_000_000)), "cannot read the code file"),
    "below nothing": ("c.npy", claims((4, -2)), "cannot read the code file"),
    "no shape": ("c.npy", claims("x"), "cannot read the code file"),
    "nested": ("c.npy", claims("(" * 3000), "cannot read the code file"),
    "gigabytes of text": ("c.npy", claims((4, 2), "|S2000000000"), "cannot read the code file"),
    "1-d": ("c.npy", npy(np.arange(4)), r"two dimensions.*got shape \(4,\)"),
    "3-d": ("c.npy", npy(SQUARE[None]), r"two dimensions.*got shape \(1, 4, 2\)"),
    "no columns": ("c.npy", npy(np.zeros((4, 0), np.uint8)), "1 to 10000 columns, a bit each, got 0"),
    "many columns": ("c.npy", npy(np.zeros((4, 10_001), np.uint8)), "1 to 10000 columns, a bit each, got 10001"),
    "too few rows": ("c.npy", npy(SQUARE[:3]), r"4, got 3: .*\{levels\}"),
    "too many rows": ("c.csv", csv("0,0\n0,1\n1,1\n1,0\n0,0\n"), r"4, got 5: .*\{levels\}"),
    "a two": ("c.csv", csv("0,0\n0,1\n1,2\n1,0\n"), "0 and 1 only, got 2 in row 2, column 1"),
    "a half": ("c.npy", npy(SQUARE * 0.5), "0 and 1 only, got 0.5 in row 1, column 1"),
    "minus one": ("c.npy", npy(SQUARE.astype(int) * 2 - 1), "0 and 1 only, got -1 in row 0, column 0"),
    "nan": ("c.csv", csv("0,0\n0,1\n1,1\n1,nan\n"), "0 and 1 only, got nan in row 3, column 1"),
    "words": ("c.npy", npy(SQUARE.astype(str)), "0 and 1 only, got entries of type"),
    "complex": ("c.npy", npy(SQUARE.astype(complex)), "0 and 1 only, got entries of type complex"),
    "equal rows": ("c.npy", npy(SQUARE[[0, 1, 2, 1]]), "rows 1 and 3 .* are equal"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_is_no_code_is_refused_in_a_line_that_names_it(tmp_path, kind):
    name, write, says = BAD_FILES[kind]
    write(tmp_path / name)
    with pytest.raises(UserError, match=says) as error:
        code_matrix(f"file:{tmp_path / name}", 4)
    assert str(tmp_path / name) in str(error.value) and "\n" not in str(error.value)


def test_the_largest_matrix_is_read(tmp_path):
    np.save(tmp_path / "c.npy", np.eye(4, 10_000))
    assert code_matrix(f"file:{tmp_path}/c.npy", 4).shape == (4, 10_000)


def test_a_file_is_found_from_home_and_from_here(tmp_path, monkeypatch):
    np.save(tmp_path / "c.npy", SQUARE)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for path in ("~/c.npy", "c.npy", "./c.npy"):
        assert np.array_equal(code_matrix(f"file:{path}", 4), SQUARE)
        assert normal_code(f"file:{path}") == f"file:{tmp_path}/c.npy"


def test_normal_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (*CODES, "random:7"):
        assert normal_code(name) == name
    assert normal_code("file:a:b/c-{levels}.csv") == f"file:{tmp_path}/a:b/c-{{levels}}.csv"
    assert normal_code(normal_code("file:c.npy")) == normal_code("file:c.npy")
    with pytest.raises(UserError, match="cannot find the code file ~nobody-of-this-name"):
        normal_code("file:~nobody-of-this-name/c.npy")


@pytest.mark.parametrize("name", [*CODES, "random:0", "random:2147483648", "file:none.npy", "file:a-{levels}.csv"])
def test_a_name_is_checked_without_levels(name):
    assert normal_code(name).split(":")[0] == name.split(":")[0]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (None, r"code of x must be one of \['u', .*'random:SEED', 'file:PATH'\], got None"),
        ("z", "code of x must be one of .* got 'z'"),
        ("", "code of x must be one of .* got ''"),
        ("z:1", "code of x must be one of .* got 'z:1'"),
        ("u:1", "code of x must be one of .* got 'u:1': u takes no argument"),
        ("u:", "code of x must be one of .* got 'u:': u takes no argument"),
        ("file", "code of x must be one of .*'file:PATH'.* got 'file'"),
        ("file:", "must end in one of .*npy.*csv.* got ''"),
        ("file:c.txt", "must end in one of .*npy.*csv.* got 'c.txt'"),
        ("random:", "seed of code random must be a whole number, got ''"),
        ("random:x", "seed of code random must be a whole number, got 'x'"),
        ("random:1.5", "seed of code random must be a whole number, got '1.5'"),
        ("random:-1", "seed of code random must be from 0 to 2147483648, got -1"),
        ("random:2147483649", "seed of code random must be from 0 to 2147483648, got 2147483649"),
    ],
)
def test_a_name_that_is_none_is_refused_in_a_sentence(name, says):
    with pytest.raises(UserError, match=says):
        normal_code(name, "code of x")
    if name is not None:
        with pytest.raises(UserError):
            code_matrix(name, 8)
