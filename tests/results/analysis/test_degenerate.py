"""Constant targets, constant predictions, no error at all, one image, one group, one run: through every table and page."""

import json
import re
from itertools import cycle

import numpy as np
import pytest

from bel.run_layout import PREDICTIONS
from results.analysis.leaderboard import boards
from results.commands.main import main
from results.report.overview import importance
from results.report.report_data import ReportData
from results.tables.leaderboard import FORMATS
from tests.conftest import working_in
from tests.results.made import entry_of, evaluation_of, stored_sweep

NOISE = np.random.default_rng(3).normal(0, 5, (2, 40, 3))
GROUPS = [i % 8 for i in range(40)]
SAME, ZERO = np.full((40, 3), 7.0), np.zeros((40, 3))
CASES = {  # errors of the first and of the second run, targets, groups
    "constant targets": (NOISE[0], NOISE[1], SAME, GROUPS),
    "constant predictions": (SAME - NOISE[0], SAME - NOISE[0], NOISE[0], GROUPS),
    "no error": (ZERO, ZERO, NOISE[0], GROUPS),
    "no error of constant targets": (ZERO, ZERO, SAME, GROUPS),
    "no error of one": (ZERO, NOISE[0], NOISE[1], GROUPS),
    "equal errors": (SAME, SAME, NOISE[0], GROUPS),
    "one image": (NOISE[0][:1], NOISE[1][:1], SAME[:1], [0]),
    "one image without an error": (ZERO[:1], ZERO[:1], ZERO[:1], [0]),
    "one group": (NOISE[0], NOISE[1], SAME, [0] * 40),
}


def evaluations(case, axes):
    """Two evaluations of a case over the first axes."""
    first, second, targets, groups = CASES[case]
    made = [
        evaluation_of({"expected": error[:, :axes]}, groups, targets=targets[:, :axes].tolist())
        for error in (first, second)
    ]
    return dict(zip(("j", "u"), made, strict=True))


@pytest.fixture(scope="module")
def ids(tmp_path_factory):
    """A store with two sweeps of each case and number of axes, of two runs and of one; the ids of the former by name."""
    with working_in(tmp_path_factory.mktemp("degenerate")):
        found = {}
        for case, axes in zip(CASES, cycle((1, 3)), strict=False):
            made = evaluations(case, axes)
            found[case] = stored_sweep(case, made)
            stored_sweep(f"{case} alone", {"j": made["j"]})
        yield found


@pytest.mark.filterwarnings("error:::results", "error::RuntimeWarning")
@pytest.mark.parametrize("case", CASES)
def test_every_table_and_page_of_a_degenerate_sweep(ids, tmp_path, capsys, case):
    for name in (case, f"{case} alone"):
        for form in FORMATS:
            assert main(["leaderboard", name, "--format", form]) == 0, (name, form)
        assert main(["best", name]) == 0
        path = tmp_path / "page.html"
        assert main(["report", name, "-o", str(path)]) == 0
        flat = re.findall(r'"range":\[(-?[\d.]+),(-?[\d.]+)\]', path.read_text())
        assert flat and all(float(low) != float(high) for low, high in flat)
    for split in PREDICTIONS:
        assert main(["compare", *ids[case], "--split", split]) == 0
    said = capsys.readouterr().out
    assert not re.search(r"\b(nan|inf)\b", said.lower())
    assert main(["compare", *ids[case], "--format", "json"]) == 0
    json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_what_matters_is_not_said_of_equal_errors(tmp_path):
    equal = [entry_of(tmp_path, code, 0, evaluation=evaluations("no error", 3)["j"]) for code in "abcdefghijkl"]
    assert importance(ReportData(boards(equal), {})) == "all configurations have the same error"
