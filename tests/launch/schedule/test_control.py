"""Why a trial ends after an epoch: a scheduler with the value it lost against, a user, or the number of places."""

import numpy as np
import pytest

from bel.run_layout import Outcome
from tests.launch.schedule.test_searcher import CONTINUE, LISTS, STOP, Bench, judge, tells


def running(bench):
    """All runs, begun one after the other."""
    for place, run in enumerate(runs := bench.all()):
        run.outcome, run.begun = Outcome.RUNNING, float(place)
    return runs


def test_asha_says_the_cutoff_of_the_rung_at_which_a_trial_was_stopped():
    bench = Bench(LISTS, {"scheduler": "asha"})
    schedule, (first, second, third, _) = judge(bench), running(bench)
    for run, error in ((first, 3.0), (second, 2.0)):
        assert tells(schedule, run, run.key, error, error) == CONTINUE and not run.stopped_by
    assert tells(schedule, third, "x", 9.0, 8.0) == STOP
    cutoff = pytest.approx(np.percentile([3.0, 2.0], 100 / 3))
    assert third.stopped_by == {"by": "asha", "epoch": 2, "value": 8.0, "against": cutoff} and third.halted is None


def test_the_median_rule_says_the_median_of_the_others():
    bench = Bench(LISTS, {"scheduler": "median"})
    schedule, runs = judge(bench), running(bench)
    for run, error in zip(runs, (3.0, 2.0, 5.0), strict=False):
        assert tells(schedule, run, run.key, error, error) == CONTINUE
    assert tells(schedule, runs[3], "x", 9.0, 8.0) == STOP
    assert runs[3].stopped_by == {"by": "median", "epoch": 2, "value": 8.0, "against": 3.0}


def test_a_user_s_word_counts_where_the_scheduler_lets_a_trial_go_on():
    for scheduler in ("none", "asha"):
        bench = Bench(LISTS, {"scheduler": scheduler})
        schedule, runs, control = judge(bench), running(bench), bench.stop.control
        control.stops[runs[0].key], control.at_once = "alice@host", 2
        control.held.add(runs[1].key)
        assert [tells(schedule, run, run.key, 3.0) for run in runs] == [STOP, STOP, STOP, STOP]
        assert [run.halted for run in runs] == [Outcome.STOPPED, Outcome.PAUSED, Outcome.PAUSED, Outcome.PAUSED]
        assert runs[0].stopped_by == {"by": "alice@host", "epoch": 1} and not runs[1].stopped_by
        control.at_once, control.held = None, set()
        assert [tells(schedule, run, run.key, 3.0, 3.0, since=1) for run in runs[1:]] == [CONTINUE] * 3
        control.paused = True
        assert tells(schedule, runs[3], "y", 3.0, 3.0, 3.0, since=2) == STOP


def test_a_trial_of_first_rank_begins_and_stays_before_the_others():
    bench = Bench(LISTS, {}, places=1)
    first, control = bench.next(), bench.stop.control
    bench.searcher.fill_queue()
    bench.searcher.enter(bench.source.ask())
    last = bench.searcher.queue[-1]
    control.prioritise(last.key)
    assert bench.next() is last and first is not last
    first.outcome = last.outcome = Outcome.RUNNING
    first.begun, last.begun, control.at_once = 1.0, 2.0, 1
    assert control.verdict(first, [first, last]) == Outcome.PAUSED and control.verdict(last, [first, last]) is None
