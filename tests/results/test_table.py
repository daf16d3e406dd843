"""The table of a re-test, where the constant to beat has no error, or hardly any."""

import pytest

from bel.evaluate import constant_median
from results.table import print_table
from tests.results.made import evaluation_of


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
