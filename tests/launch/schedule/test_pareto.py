"""What the scheduler of several objectives stops."""

from statistics import median

import pytest
from ray.tune.schedulers import TrialScheduler

from launch.schedule.explained import KeyedTrial
from launch.schedule.pareto import Pareto
from launch.spec.search import OBJECTIVES
from tests.benchmarks.pareto import EPOCHS, KEPT, front, hypervolume, read, shares

OURS = {"error": 10.0, "images_per_s": 100.0, "bits": 50.0}


def stops(*others, first=1, epoch=1, own=OURS):
    """Whether a trial stops after an epoch, in which others have what differs from its values; what it says of that."""
    inner = Pareto([OBJECTIVES[name] for name in ("val/mae_groups", "images_per_s", "bits")], first)
    for name, entry in [*((f"other{i}", own | more) for i, more in enumerate(others)), ("own", own)]:
        entry = {"epoch": float(epoch), "val/best_mae_groups": entry["error"]} | entry
        inner.on_trial_add(None, KeyedTrial(name))
        decision = inner.on_trial_result(None, KeyedTrial(name), entry)
    return decision == TrialScheduler.STOP and inner.lost_against(KeyedTrial("own"), epoch)


def test_a_trial_stops_that_another_one_dominates_by_a_margin():
    assert stops({"error": 8.0}) == {"value": 10.0, "against": 8.0}
    assert stops({"error": 8.5}, {"error": 8.0}, {"error": 5.0, "bits": 51.0}) == {"value": 10.0, "against": 8.0}
    assert not stops() and not stops({"error": 9.1}) and not stops({"error": 10.0, "images_per_s": 500.0})


@pytest.mark.parametrize(
    ("more", "stopped"),
    [
        ({"images_per_s": 96.0}, True),  # a speed is measured: within 5 % it is the same
        ({"images_per_s": 94.0}, False),
        ({"images_per_s": 200.0, "bits": 10.0}, True),
        ({"bits": 50.5}, False),  # a width is known
    ],
)
def test_nothing_else_of_the_one_that_dominates_is_worse(more, stopped):
    assert bool(stops({"error": 5.0} | more)) == stopped


def test_no_trial_stops_before_the_first_epoch_that_counts():
    assert not stops({"error": 1.0}, first=3, epoch=2) and stops({"error": 1.0}, first=3, epoch=3)


def test_a_trial_that_is_ahead_is_compared_with_what_others_have_reached_and_with_nothing_later():
    assert stops({"error": 8.0, "epoch": 2}, epoch=3) and not stops({"error": 8.0, "epoch": 4}, epoch=3)


def test_a_front_has_the_area_that_it_dominates():
    ends = [{"val/best_mae_groups": e, "images_per_s": s} for e, s in ((1, 1), (2, 3), (3, 2), (4, 4), (2, 2))]
    assert front(ends) == [(4, 4), (2, 3), (1, 1)]
    assert hypervolume(front(ends), (5, 0)) == 1 * 4 + 2 * 3 + 1 * 1
    assert hypervolume(front(ends), (3, 2)) == 1 * 1, "what is worse than a corner counts nothing"


def test_half_the_epochs_of_a_recorded_grid_keep_its_front():
    kept, spent = zip(*shares(read(), "ours", range(20)), strict=True)
    assert median(kept) >= KEPT and median(spent) <= EPOCHS
