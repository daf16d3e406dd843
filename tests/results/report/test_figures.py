"""What the figures of errors show."""

import numpy as np
import pytest

from results.analysis.leaderboard import boards
from results.report.figures import coverage, highlights


def test_coverage_of_a_uniform_pit_is_nominal(swept_runs):
    class Seed:
        values = {"pit": np.linspace(0, 1, 10_001).reshape(-1, 1)}  # noqa: RUF012

    class One:
        seeds = (Seed, Seed)

    nominal = np.array([0.1, 0.5, 0.95])
    assert coverage(One, nominal) == pytest.approx(nominal, abs=1e-3)


def test_the_best_have_colours_of_their_own(swept_runs):
    best = highlights(boards(swept_runs[1])[0])
    assert len(best) == 5 == len({one.color for one in best}) == len({one.dash for one in best})
    assert [one.label[:1] for one in best] == list("12345")
