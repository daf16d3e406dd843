import re

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from bel.codes.library import code_matrix
from launch import codes
from launch.tracking.figures import draw_matrix


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def numbers(out, label):
    """The numbers in a row of the table."""
    (line,) = [line for line in out.splitlines() if line.startswith(label)]
    return [float(value) for value in line.removeprefix(label).split()]


def test_the_table_says_the_properties(tmp_path, capsys):
    assert codes.main(["j", "8"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("code j: 8 words of 4 bits, all different\n")
    assert numbers(out, "bits that flip to the next level") == [1, 1, 1]
    assert numbers(out, "changes of a bit over all levels") == [1, 1.75, 2]
    assert numbers(out, "of neighbouring levels") == [1, 1]
    assert numbers(out, "of levels 4 apart") == [4, 4]
    assert numbers(out, "of any two levels") == [1]
    assert "8 apart" not in out and not re.search(r" $", out, re.MULTILINE)
    table = [line for line in out.splitlines() if re.search(r"(min|\d)$", line) and "code" not in line]
    assert len({len(line) for line in table if line.startswith("of levels")}) == 1


def test_the_picture_shows_the_matrix(monkeypatch, tmp_path, capsys):
    shown = []
    draw = Axes.imshow
    monkeypatch.setattr(
        Axes, "imshow", lambda ax, matrix, **options: shown.append(matrix) or draw(ax, matrix, **options)
    )
    assert codes.main(["gray", "26"]) == 0
    assert np.array_equal(shown[0], code_matrix("gray", 26)) and len(shown) == 1
    assert capsys.readouterr().out.endswith("\npicture: runs/codes/gray-26.png\n")
    with Image.open(tmp_path / "runs/codes/gray-26.png") as picture:
        assert picture.format == "PNG" and min(picture.size) > 300


def test_files_and_seeds_have_pictures_of_their_own(tmp_path, capsys):
    np.save(tmp_path / "mine.npy", code_matrix("u", 6))
    np.save(tmp_path / "mine-8.npy", code_matrix("u", 8))
    for arguments in (
        ["random", "9"], ["random:7", "9"], ["file:mine.npy", "6"], ["file:mine-{levels}.npy", "8"],
        ["u", "9", "--out", "deep/er/u.svg"],
    ):  # fmt: skip
        assert codes.main(arguments) == 0, arguments
    assert "code file:mine.npy: 6 words of 6 bits" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "runs" / "codes").iterdir()} == {
        "random-9.png", "random-7-9.png", "mine-6.png", "mine-8-8.png",
    }  # fmt: skip
    assert "<svg" in (tmp_path / "deep" / "er" / "u.svg").read_text()


def test_a_picture_is_drawn_anew(tmp_path):
    np.save(tmp_path / "c.npy", code_matrix("u", 6))
    assert codes.main(["file:c.npy", "6"]) == 0
    before = (tmp_path / "runs/codes/c-6.png").read_bytes()
    np.save(tmp_path / "c.npy", code_matrix("random", 6))
    assert codes.main(["file:c.npy", "6"]) == 0
    assert (tmp_path / "runs/codes/c-6.png").read_bytes() != before


def test_a_large_matrix_is_thinned_and_keeps_its_scale():
    ax = Figure().subplots()
    draw_matrix(ax, np.zeros((5001, 12), np.uint8), "large")
    (image,) = ax.images
    assert image.get_array().shape == (1667, 12)
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 11.5), (5000.5, -0.5))
    assert ax.get_title() == "large: 5001 levels x 12 bits"


@pytest.mark.parametrize("levels", ["2", "256", "1e2"])
def test_both_edges_of_hex16(levels):
    assert codes.main(["hex16", levels]) == 0


def test_ten_thousand_levels(capsys):
    assert codes.main(["gray", "10000"]) == 0
    assert numbers(capsys.readouterr().out, "of levels 8192 apart") == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["z", "8"], "code must be one of ['u', 'j',"),
        (["u:2", "8"], "u takes no argument"),
        (["random:x", "8"], "seed of code random must be a whole number, got 'x'"),
        (["file:none.npy", "8"], "cannot read the code file"),
        (["file:none.txt", "8"], "must end in one of"),
        (["u", "x"], "LEVELS must be a whole number, got 'x'"),
        (["u", "8.5"], "LEVELS must be a whole number, got '8.5'"),
        (["u", "1"], "LEVELS must be from 2 to 10000, got 1"),
        (["u", "-8"], "LEVELS must be from 2 to 10000, got -8"),
        (["u", "10001"], "LEVELS must be from 2 to 10000, got 10001"),
        (["j", "7"], "even number of levels on every axis, got 7"),
        (["hex16", "257"], "at most 256 levels, got 257"),
        (["u", "8", "--out", "c.doc"], "--out must end in a format of pictures"),
        (["u", "8", "--out", "c"], "--out must end in a format of pictures"),
        (["u", "8", "--out", "taken/c.png"], "taken"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(tmp_path, capsys, arguments, says):
    (tmp_path / "taken").write_text("")
    assert codes.main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and says in lines[0], lines
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
