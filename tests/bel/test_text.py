"""What is said of labels beyond the range of their axis, and columns of many axes."""

import sys

import pytest
from rich.console import Console
from tqdm import tqdm

from bel.errors import UserError
from bel.output import command
from bel.text import (
    SHOWN,
    axis_cells,
    axis_titles,
    beyond_of,
    beyond_range,
    cell,
    columns,
    harmless,
    in_a_word,
    listed,
    markdown_row,
    markdown_table,
)  # fmt: skip


def test_labels_within_their_ranges_are_not_spoken_of():
    assert beyond_range({"test": {"yaw": 0.0, "pitch": 0.0}}) == ""
    assert beyond_of([{"protocol": "biwi"}, {"clamped_yaw": "0", "val_clamped_yaw": "0.0000"}]) == ""


def test_shares_are_said_by_axis_the_largest_first():
    said = beyond_range({"training": {"a": 0.0, "b": 1 / 3, "c": 1e-6}, "selection": {"a": 0.05, "b": 0.25, "c": 0.0}})
    assert "(% of training, selection images): b 33.3, 25; a 0, 5; c 0.0001, 0; a head of levels" in said
    assert "errors are measured against the labels as they are" in said


def test_of_many_axes_the_worst_are_named():
    said = beyond_range({"test": {f"x{i}": i / 100 for i in range(10)}})
    assert ": x9 9; x8 8; x7 7; and 6 more axes;" in said


def test_of_several_runs_the_largest_share_of_an_axis_is_said():
    facts = [{"clamped_a": "0.1", "val_clamped_a": "0.3"}, {"clamped_a": "0.2", "val_clamped_a": "0", "seed": "0"}]
    assert ": a 20, 30;" in beyond_of(facts)


def test_of_many_axes_a_table_has_the_worst_and_the_best_one():
    few, many = ({f"x{i}": float(i) for i in range(count)} for count in (SHOWN, SHOWN + 1))
    assert axis_titles(list(few)) == list(few) and axis_cells(few, {})[:2] == ["0.000", "1.000"]
    assert axis_titles(list(many)) == ["worst axis", "best axis"] and axis_cells(many, {}) == ["8.000 x8", "0.000 x0"]
    assert axis_titles(list(many), all_axes=True) == list(many) and len(axis_cells(many, {}, all_axes=True)) == 9


def test_axes_of_different_units_are_compared_by_their_scale():
    errors = {f"x{i}": 1.0 for i in range(10)}
    scale = dict.fromkeys(errors, 1.0) | {"x3": 50.0, "x4": 0.5}
    assert axis_cells(errors, scale) == ["50.000 x3", "0.500 x4"]


def test_columns_are_as_wide_as_what_is_in_them():
    lines = columns([["name", "value"], ["a much longer name", "1"], ["b", "123456789"]])
    assert lines == ["name                    value", "a much longer name          1", "b                   123456789"]


def test_long_lists_and_long_values_are_shortened():
    assert listed("abc") == "a, b, c" and listed(map(str, range(10)), most=2) == "0, 1 and 8 more"
    assert in_a_word(0.5) == "0.5" and in_a_word({"name": "csv", "a": 1}) != in_a_word({"name": "csv", "a": 2})
    assert in_a_word("/a" * 40 + "1") != in_a_word("/a" * 40 + "2") and len(in_a_word("x" * 999)) < 40


ODD = [
    ("a\x1b[2K\rtest MAE 0.1", r"a\x1b[2K\rtest MAE 0.1"),
    ("a\ntest MAE 0.1\x00\x7f", r"a\ntest MAE 0.1\x00\x7f"),
    ("a\x9b2J\x85b", r"a\x9b2J\x85b"),
    ("txt.\u202egpj", r"txt.\u202egpj"),
    ("a\u200bb\u2028c\ufeff\u2066", r"a\u200bb\u2028c\ufeff\u2066"),
    ("half \ud83d", r"half \ud83d"),
    ("plain ü 中 é ° 🙂 \\n", "plain ü 中 é ° 🙂 \\n"),
]


@pytest.mark.parametrize(("text", "shown"), ODD)
def test_what_a_terminal_would_obey_is_written_out(text, shown):
    assert harmless(text) == shown


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("+cmd|'/c calc'!A0", "'+cmd|'/c calc'!A0"), ("-x.png", "'-x.png"),
        ("\t=1", "\\t=1"), ("\r=1", "\\r=1"), ("＝1", "'＝1"), ("-1.5", "-1.5"), ("+0.25", "+0.25"), ("-inf", "-inf"),
        (-1.5, -1.5), (None, None), (3, 3), ("a=b", "a=b"), ("a\nb", "a\\nb"), ("", ""),
    ],
)  # fmt: skip
def test_a_cell_is_no_formula(value, written):
    assert cell(value) == written


def test_a_row_of_markdown_has_its_cells():
    assert markdown_row(["a|b", "<b>x", "c\nd"]) == "| a\\|b | &lt;b>x | c\\nd |"
    assert markdown_table([["a", "b"], ["1", "2"]]) == ["| a | b |", "| --- | --: |", "| 1 | 2 |"]


def test_a_command_prints_nothing_that_a_terminal_obeys(capsys):
    @command
    def main(argv):
        print("name:\x1b[31m x\x1b]0;title\x07\x1b[2K\rtest MAE 0.1\tend\n  second")
        print("\r\x1b[Afaked")
        for _ in tqdm([1], desc="bar\x1b[5m", file=sys.stderr):
            tqdm.write("line \x1b[2J")
        raise UserError("no file a\x1b[1A\nerror: b")

    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out.startswith(
        "name: x\\x1b]0;title\\x07\\x1b[2K\\rtest MAE 0.1\tend\n  second\n\\r\\x1b[Afaked\nline \\x1b[2J\n"
    )
    assert err.endswith("error: no file a\\x1b[1A error: b\n") and "\rbar: 100%" in err and "\x1b" not in err


def test_what_draws_in_a_terminal_does_so_under_a_command(capsys):
    @command
    def main(argv):
        stream = getattr(sys.stdout, "obeyed", sys.stdout)
        Console(file=stream, force_terminal=True).print("[bold]live[/bold]")
        return 0

    assert main([]) == 0
    assert capsys.readouterr().out == "\x1b[1mlive\x1b[0m\n"
