"""Synchronous successive halving: decisions depend on errors alone, whatever the order, the slots and the interruptions."""

import os
import random
import signal

import mlflow
import pytest
import ray
import yaml

from bel.run_layout import DECIDED, OUTCOME, TRIAL, Outcome
from launch import sweep
from launch.schedule.halving import Halving, rungs
from tests.conftest import SWEEP, children, working_in
from tests.launch.driver.test_gone import epochs, start, wait
from tests.launch.schedule.test_searcher import Bench, entries

CODES = ["u", "j", "b1jdj", "b2jdj", "hex16", "had"]
LISTS = {"code": {"grid": CODES}, "lr": {"grid": [1e-4, 2e-4, 5e-4, 1e-3]}}  # 24 combinations
EPOCHS = 14


def errors_of(config):
    """The validation errors of each epoch that a config would have."""
    generator = random.Random(f"{config.code} {config.lr:g} {config.seed}")
    return [10 * generator.random() + 20 / epoch for epoch in range(1, EPOCHS + 1)]


class Halved(Bench):
    """A bench whose runs are halved, on some slots, whose epochs end in random order."""

    def __init__(self, slots=2, seed=0, learns=False, **more):
        search = {"method": "tpe", "trials": 24, "seed": 1} if learns else {}
        space = {name: {"choice": d["grid"]} for name, d in LISTS.items()} if learns else LISTS
        super().__init__(space, {"scheduler": "sha"} | search | more.pop("search", {}), **more)
        objective = self.sweep.search.objectives[0]
        self.halving = Halving(EPOCHS, objective, learns, len(self.source.past))
        self.searcher.halving, self.searcher.end = self.halving, self.stop_run
        self.slots, self.random, self.busy, self.trained = slots, random.Random(seed), [], 0

    def stop_run(self, run, outcome):
        run.outcome = outcome
        self.searcher.run_ended(run)

    def work(self, epochs=10**9):
        """Train at most so many epochs; return whether the sweep is over."""
        for _ in range(epochs):
            while len(self.busy) < self.slots:
                order = self.searcher.suggest("t")
                if not isinstance(order, dict):
                    break
                run = self.sweep_runs.by_key[order["key"]]
                run.outcome = Outcome.RUNNING
                self.busy.append((run, order["until"]))
            if not self.busy:
                assert order == self.searcher.FINISHED, "the sweep waits for ever"
                return True
            place = self.random.randrange(len(self.busy))
            run, until = self.busy[place]
            if run.epoch < (until or EPOCHS):
                self.trained += 1
                run.history = entries(*errors_of(run.config)[: run.epoch + 1])
            if run.epoch == EPOCHS:
                self.busy.pop(place)
                self.end(run, *errors_of(run.config))
            elif until and run.epoch >= until:
                self.busy.pop(place)
                self.searcher.pause(run)
        return False

    @property
    def decisions(self):
        """How each run ended, and after which epoch."""
        return {run.key: (run.outcome, run.epoch, run.stopped_by) for run in self.sweep_runs}


def test_rungs_are_a_quarter_of_the_epochs_and_three_times_as_many_each():
    assert rungs(14) == [3, 9] and rungs(9) == [2, 6] and rungs(2) == [1] and rungs(1) == []
    assert rungs(100) == [25, 75]


def test_the_best_third_of_all_goes_on_at_each_rung_and_the_reason_has_the_value_it_lost_against():
    bench = Halved()
    assert bench.work()
    runs = sorted(bench.sweep_runs, key=lambda run: min(errors_of(run.config)[:3]))
    second = sorted(runs[:8], key=lambda run: min(errors_of(run.config)[:9]))
    assert {r.key for r in bench.sweep_runs if r.epoch == 3} == {r.key for r in runs[8:]}
    assert {r.key for r in bench.sweep_runs if r.outcome == Outcome.FINISHED} == {r.key for r in second[:3]}
    assert bench.trained == 16 * 3 + 5 * 9 + 3 * 14
    lost, least = (min(errors_of(run.config)[:3]) for run in (runs[8], runs[7]))
    assert runs[8].stopped_by == {"by": "sha", "epoch": 3, "value": lost, "against": least}


@pytest.mark.parametrize("closed", [False, True])
def test_a_configuration_that_a_user_adds_is_trained_whole_and_changes_no_decision_whenever_that_is(closed):
    whole, bench = Halved(), Halved()
    assert whole.work()
    added = bench.plan.config(bench.sweep, {"code": "u", "lr": 3e-4})
    bench.halving.beside = lambda run: str(run.config) == str(added)
    bench.work(24 * 3 + 1 if closed else 1)  # all are at the first rung, or one has begun
    assert bench.halving.closed == closed
    bench.source.left.append(added)
    bench.searcher.more()
    assert bench.work()
    (run,) = [run for run in bench.sweep_runs if run.config == added]
    assert (run.outcome, run.epoch) == (Outcome.FINISHED, EPOCHS)
    assert {key: found for key, found in bench.decisions.items() if key != run.key} == whole.decisions


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("slots", [1, 3, 30])
def test_decisions_are_the_same_whatever_the_slots_and_the_order(slots, learns):
    first = Halved(slots=1, learns=learns)
    assert first.work()
    for seed in range(1, 4):
        other = Halved(slots, seed, learns)
        assert other.work()
        assert other.decisions == first.decisions and other.trained == first.trained


@pytest.mark.parametrize("learns", [False, True])
def test_a_sweep_that_is_killed_at_any_epoch_goes_on_to_the_same_decisions_and_trains_nothing_twice(tmp_path, learns):
    whole = Halved(learns=learns)
    assert whole.work()
    for killed_after in (1, 20, 40, 60, 80, 100, 110):
        kept = tmp_path / f"{killed_after}.journal" if learns else None
        first = Halved(2, killed_after, learns, kept=kept)
        first.work(killed_after)
        left = {run.key: run for run in first.sweep_runs}
        second = Halved(3, killed_after, learns, kept=kept)
        original = second.sweep_runs.run

        def run(config, original=original, left=left):  # each run with the epochs in its folder, or as it was decided
            found = original(config)
            if before := left.pop(found.key, None):
                found.history = before.history
                found.outcome = before.outcome if before.outcome in DECIDED else Outcome.WAITING
                found.stopped_by = before.stopped_by
            return found

        second.sweep_runs.run = run
        assert second.work()
        decided = {key: value for key, value in first.decisions.items() if value[0] in DECIDED}
        assert decided | second.decisions == whole.decisions
        assert first.trained + second.trained == whole.trained


def test_a_run_that_diverges_or_fails_counts_as_the_worst_and_nobody_waits_for_it():
    bench = Halved(slots=24)
    bench.work(1)
    for run, _ in bench.busy[:3]:
        bench.searcher.in_tune.discard(run.key)
        bench.end(run, outcome=Outcome.DIVERGED)
    bench.busy = bench.busy[3:]
    assert bench.work()
    assert sum(run.outcome == Outcome.FINISHED for run in bench.sweep_runs) == 3
    assert sum(run.outcome == Outcome.STOPPED for run in bench.sweep_runs) == 18


def test_repeats_follow_the_first_run_that_finished():
    bench = Halved(search={"seeds": 3})
    assert bench.work()
    finished = [run for run in bench.sweep_runs if run.outcome == Outcome.FINISHED]
    assert len(finished) == 9 and sum(run.is_scheduled for run in finished) == 3


def test_the_budget_of_trials_closes_a_cohort():
    bench = Halved(budget={"trials": 7})
    assert bench.work()
    outcomes = [run.outcome for run in bench.sweep_runs]
    assert outcomes.count(Outcome.FINISHED) == 1 and outcomes.count(Outcome.STOPPED) == 6


class Holder:
    """Keeps a CPU."""

    def here(self):
        return True


def trained(name):
    """Of each trial of a sweep in the store: how it ended, why, and all its errors."""
    found = {}
    for run in children(name)[1]:
        history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "val/mae_groups")
        errors = [point.value for point in sorted(history, key=lambda point: point.step)]
        found[run.data.tags[TRIAL]] = run.data.tags[OUTCOME], errors
    return found


@pytest.mark.slow
def test_a_sweep_repeats_to_the_last_digit_on_one_slot_on_two_and_when_it_was_killed(
    ray_here, rendered, cache, tmp_path
):
    base = SWEEP["base"] | {
        "data_root": str(rendered),
        "cache_dir": str(cache),
        "epochs": 5,
        "head": "bel",
        "code": "u",
    }
    del base["lr"]
    space = {"code_bits": {"grid": [38, 76]}, "lr": {"grid": [2e-4, 1e-3, 5e-3]}}
    search = {"method": "grid", "scheduler": "sha"}
    found = {}
    for how in ("two", "one", "killed"):
        (folder := tmp_path / how).mkdir()
        path = folder / "s.yaml"
        path.write_text(yaml.safe_dump({"name": "s", "base": base, "space": space, "search": search}))
        with working_in(folder):
            if how == "killed":
                driver = start(str(path), folder)
                wait(lambda folder=folder: sum(map(len, epochs(folder).values())) > 7)
                os.kill(driver.pid, signal.SIGKILL)
                driver.wait()
            held = ray.remote(num_cpus=1)(Holder).remote() if how == "one" else None
            assert held is None or ray.get(held.here.remote())
            assert sweep.main([str(path)]) == 0
            if held:
                ray.kill(held)
            found[how] = trained("s")
    assert found["two"] == found["one"] == found["killed"]
    lengths = sorted(len(errors) for _, errors in found["two"].values())
    assert lengths == [1, 1, 1, 1, 3, 5]
