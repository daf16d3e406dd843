"""The table of a re-test where the constant to beat has no error, and all tables where there are many axes."""

import numpy as np
import pytest

from bel.angles import Axis
from bel.training.evaluate import constant_median
from results.analysis.configurations import configurations
from results.analysis.leaderboard import boards
from results.analysis.pairwise import comparison
from results.retest.table import print_table
from results.tables.leaderboard import FORMATS
from results.tables.pairwise import text
from tests.results.made import entry_of, evaluation_of


@pytest.mark.parametrize(
    ("targets", "error", "says"),
    [
        ([[7.0]] * 4, 2.0, "no ratio, its error is 0"),  # constant targets
        ([[7.0]] * 4, 0.0, "no ratio, its error is 0"),
        ([[7.0]], 1.0, "no ratio, its error is 0"),  # one image
        ([[6.0], [8.0]], 0.0, "0.000"),
        ([[6.0], [8.0]], 2.0, "2.000"),
    ],
)
def test_a_constant_without_an_error_has_no_ratio(capsys, targets, error, says):
    evaluation = evaluation_of({"expected": [[error]] * len(targets)}, range(len(targets)), targets=targets)
    print_table(evaluation, constant_median(evaluation.targets, evaluation))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"expected over constant median: {says}"
    assert lines[-3].split()[:3] == ["constant", "median", "1.000" if len(set(map(tuple, targets))) > 1 else "0.000"]


MANY = tuple(Axis(f"x{i}", 0, 48 if i else 4800, 24, unit="px" if i else "m") for i in range(12))


def many(shift=0.0):
    """An evaluation of twelve axes, the second the worst of its range, the last one the best."""
    errors = np.tile(np.linspace(12, 1, 12) + shift, (40, 1))
    return evaluation_of({"expected": errors}, [i % 8 for i in range(40)], targets=np.full((40, 12), 9.0), axes=MANY)


def test_a_re_test_of_many_axes_has_the_worst_and_the_best_one(capsys):
    print_table(many(), None)
    title, row = capsys.readouterr().out.splitlines()[2:4]
    assert title.split() == ["decoder", "worst", "axis", "best", "axis", "mean"]
    assert row.split()[:5] == ["expected", f"{100 * 11 / 48:.3f}", "x1", f"{100 * 12 / 4800:.3f}", "x0"]
    print_table(many(), None, all_axes=True)
    title, row = capsys.readouterr().out.splitlines()[2:4]
    assert title.split() == ["decoder", *(axis.name for axis in MANY), "mean"] and row.split()[1] == "12.000"


def test_leaderboards_and_comparisons_of_many_axes_do_so_too_unless_all_are_asked_for(tmp_path):
    runs = [entry_of(tmp_path, code, 0, evaluation=many(shift)) for code, shift in (("j", 0), ("u", 1))]
    for form in ("text", "markdown", "latex"):
        few, all_of_them = (FORMATS[form](boards(runs, all_axes=all_axes)) for all_axes in (False, True))
        assert "worst axis" in few and "22.917 x1" in few and "x7" not in few and "x7" in all_of_them, form
    for form in ("csv", "json"):
        assert "mae_x7" in FORMATS[form](boards(runs))
    result = comparison(configurations(runs), "val")
    few, all_of_them = text(result), text(result, all_axes=True)
    assert "of 12 axes the worst and the best of A are shown: --all-axes shows all" in few
    assert "x1" in few and "x0" in few and "x7" not in few and "x7" in all_of_them
