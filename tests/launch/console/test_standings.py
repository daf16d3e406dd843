"""The order of configurations while a sweep goes on is that of a leaderboard; what is kept is what may become the best."""

from types import SimpleNamespace

import numpy as np
import pytest

from bel.run_layout import Outcome
from launch.console.standings import RANKS, tables
from launch.driver.callback import SweepCallback
from tests.launch.schedule.test_searcher import LISTS, Bench, entries


def ended(bench, run, error, outcome="finished", groups="2"):
    """A run that came to an error over groups, and to another one over images."""
    run.history = [entries(error)[0] | {"val/best_mae": 100 - error}]
    run.outcome, run.facts = outcome, run.facts | {"val_groups": groups}


def order(bench):
    """The names of the runs that stand for the configurations of the first table."""
    return [one.best.name for one in tables(bench.sweep_runs)[0]]


def test_whole_configurations_first_then_unstopped_ones_then_the_least_mean_over_groups():
    bench = Bench(LISTS, {"seeds": 2})
    runs = bench.all()
    pairs = [runs[i : i + 2] for i in range(0, 8, 2)]
    for (first, second), errors in zip(pairs, ((5, 3), (4.5, 4.5), (1, None), (2, 2)), strict=True):
        ended(bench, first, errors[0])
        if errors[1] is not None:
            ended(bench, second, errors[1])
    pairs[3][0].outcome = Outcome.STOPPED
    assert order(bench) == [pairs[0][1].name, pairs[1][0].name, pairs[3][0].name, pairs[2][0].name]
    assert [one.error for one in tables(bench.sweep_runs)[0]] == [4.0, 4.5, 2.0, 1.0]


def test_folds_count_by_their_groups_and_seeds_without_all_of_them_do_not():
    bench = Bench({"code": {"grid": ["u", "j"]}}, {"seeds": 2, "folds": 2})
    runs = bench.all()
    for run, error in zip(runs[:3], (3, 6, 99), strict=True):
        ended(bench, run, error, groups="1" if run.config.fold else "2")
    (table,) = tables(bench.sweep_runs)
    assert table[0].error == pytest.approx(4.0) and table[0].rest == [runs[2]] and table[0].lacks(1)


def test_seeds_of_the_space_are_repeats_as_a_leaderboard_takes_them():
    bench = Bench({"code": {"grid": ["u", "j"]}, "seed": {"grid": [0, 1]}}, {})
    for run, error in zip(bench.all(), (1, 9, 4, 4), strict=True):
        ended(bench, run, error)
    (table,) = tables(bench.sweep_runs)
    assert [(one.error, one.seeds) for one in table] == [(4.0, 2), (5.0, 2)]


def test_what_is_kept_is_the_best_and_until_the_end_what_may_become_it():
    bench = Bench(LISTS, {"seeds": 2}, keep=1)
    runs = bench.all()
    for run, error in zip(runs[:5], (5, 5, 6, 6, 1), strict=True):
        ended(bench, run, error)
    logger = SimpleNamespace(drop=lambda run: None)
    callback = SweepCallback(bench.sweep, bench.sweep_runs, logger, bench.stop, None, 0.0, SimpleNamespace(), None)
    callback.drop_checkpoints()
    assert [run.kept for run in runs[:5]] == [True, True, False, False, True], "its other seed is on its way"
    callback.drop_checkpoints(over=True)
    assert [run.kept for run in runs[:5]] == [True, True, False, False, False]


def test_what_is_kept_of_configurations_changes_no_table():
    bench, draw, known = Bench(LISTS, {"seeds": 2}), np.random.default_rng(0), {}
    for run in draw.permutation(bench.all()):
        ended(bench, run, float(draw.integers(1, 5)))
        run.outcome = Outcome(draw.choice([Outcome.FINISHED, Outcome.STOPPED, Outcome.DIVERGED]))
        assert tables(bench.sweep_runs, known) == tables(bench.sweep_runs)
    run.history[-1][RANKS.metric] = 0.5  # trained again
    run.outcome = Outcome.FINISHED
    (table,) = tables(bench.sweep_runs, known)
    assert [(one.runs, one.error) for one in table] == [(one.runs, one.error) for one in tables(bench.sweep_runs)[0]]
