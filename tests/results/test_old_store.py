"""A sweep that an older version began is read by every command of this one."""

import math
import re

import pytest

from bel.run_layout import OBJECTIVE
from results.commands import main as bel_results
from results.retest import evaluate
from tests import old_store
from tests.conftest import children, working_in


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The folder of a store of the last version before the rooms were redrawn."""
    if not old_store.is_known():
        pytest.skip(f"needs git's history: commit {old_store.COMMIT[:7]} makes the store")
    folder = tmp_path_factory.mktemp("old")
    old_store.make(folder)
    return folder


@pytest.mark.slow
def test_a_sweep_of_an_older_version_is_read(old, capsys):
    with working_in(old):
        parent, trials = children("old")
        assert len(trials) == 3
        best = min(trials, key=lambda trial: trial.data.metrics[OBJECTIVE])
        assert bel_results.main(["leaderboard", "old"]) == 0
        table = capsys.readouterr().out
        rows = [line for line in table.splitlines() if re.match(r"\??\s*\d+  ", line)]
        assert len(rows) == 3 and f"{best.data.metrics[OBJECTIVE]:.3f}" in rows[0], table
        assert bel_results.main(["report", "old", "-o", "old.html"]) == 0
        page = (old / "old.html").read_text()
        assert all(trial.info.run_name.removesuffix(" s0") in page for trial in trials)
        assert bel_results.main(["best", "old"]) == 0
        assert best.info.run_id in capsys.readouterr().out
        for run_id in (parent.info.run_id, best.info.run_id):
            assert evaluate.main(["--run-id", run_id]) == 0
            assert "repeats the logged" in capsys.readouterr().out
        assert math.isfinite(children("old")[1][0].data.metrics[OBJECTIVE])
        assert bel_results.main(["compare", *(trial.info.run_id for trial in trials[:2])]) == 0
