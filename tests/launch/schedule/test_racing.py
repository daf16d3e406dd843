"""Racing: repeats end where all of them would show a configuration as worse; decisions depend on errors alone."""

import json
import os
import random
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from bel.data.command import main as bel_data
from bel.run_layout import RACED, Outcome
from launch import sweep
from launch.schedule.racing import Race, race, repeat_spread
from results.analysis.leaderboard import boards
from results.store.runs import find_sweeps, trials
from results.tables.leaderboard import caption
from tests.benchmarks.racing import SAME, SHARE, read, replay, winners
from tests.conftest import SWEEP, children, working_in
from tests.launch.driver.test_gone import epochs, start, wait
from tests.launch.schedule.test_searcher import Bench

MEANS = [5.0, 5.1, 7.0, 9.0, 12.0, 15.0]
RATES = [n / 1000 for n in range(1, 7)]  # one of each of MEANS
REPEATS, GROUPS = 5, 20


def made(means=MEANS, repeats=REPEATS, groups=GROUPS, spread=0.03, seed=0):
    """Errors (configurations, repeats, groups) with hard groups, and repeats that differ by a share of the error."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(0, spread, (len(means), repeats, 1)) + generator.normal(0, 0.3, groups)
    return np.array(means)[:, None, None] * np.exp(noise + generator.normal(0, 0.05, (len(means), repeats, groups)))


def run_all(errors, failing=()):
    """Run what a race asks for; return which repeats ran and the last decision. `failing` are repeats without an error."""
    ended = np.zeros(errors.shape[:2], bool)
    errors = errors.copy()
    for place in failing:
        errors[place] = np.nan
    while (decision := race(np.where(ended[..., None], errors, np.nan), ended)).due:
        for place in decision.due:
            assert not ended[place], "asked for twice"
            ended[place] = True
    return ended, decision


def test_configurations_with_the_same_errors_say_nothing_of_the_spread():
    lost = races = 0
    for seed in range(60):
        errors = made([5, 5, 4.6, 7, 8, 9], spread=0.15, seed=seed)
        errors[1] = errors[0]
        if errors.mean((1, 2)).argmin() == 2:
            races += 1
            lost += 2 in run_all(errors)[1].lost
    assert races > 30 and lost <= races / 20


def test_what_lost_against_a_configuration_that_breaks_later_is_judged_without_it():
    broke = 0
    for seed in range(10):
        errors = made([5, 5.15, 5.9, 7], spread=0.02, seed=seed)
        ended, decision = run_all(errors, failing=[(0, 3)])
        if ended[0, 3]:
            broke += 1
            assert 0 not in decision.lost and 1 not in decision.lost
            assert all(lost.against > errors[0, :3].mean() for lost in decision.lost.values())
    assert broke > 3


def test_what_is_worse_loses_after_few_repeats_and_what_cannot_be_told_apart_has_all():
    ended, decision = run_all(made())
    assert ended.sum(1).tolist()[:2] == [REPEATS, REPEATS] and set(decision.lost) == {2, 3, 4, 5}
    assert ended[3:].sum(1).tolist() == [1, 1, 1], "far behind: one repeat is enough"
    lost = decision.lost[5]
    assert lost.repeats == 1 and lost.value / lost.against == pytest.approx(3, rel=0.2)
    assert ended.sum() < ended.size / 2


def test_where_repeats_differ_much_nothing_loses_early():
    few, many = (run_all(made([5, 5.6, 6.2], spread=spread))[0].sum() for spread in (0.01, 0.25))
    assert few < many == 3 * REPEATS


@pytest.mark.parametrize("seed", range(8))
def test_the_winners_are_those_of_all_repeats(seed):
    errors = made([5, 5.2, 5.4, 6, 6.5, 7, 8, 9], spread=0.05, seed=seed)
    ended, _ = run_all(errors)
    assert winners(np.where(ended[..., None], errors, np.nan)) == winners(errors)


def test_on_a_recorded_table_a_race_has_the_winners_of_all_repeats_with_half_the_runs():
    _, table = read()
    assert table.shape == (15, 5, 23) and len(winners(table)) == 2
    found = [replay(table, seed) for seed in range(30)]
    assert np.mean([one.same for one in found]) >= SAME and np.mean([one.share for one in found]) <= SHARE


def test_two_seeds_are_enough_for_a_race():
    ended, _ = run_all(made(repeats=2))
    assert ended[0].all() and not ended[5].all()


def test_a_repeat_without_an_error_takes_its_configuration_out_and_one_that_is_left_needs_no_more():
    ended, decision = run_all(made(), failing=[(0, 1)])
    assert ended[0].sum() == 3 and 0 not in decision.lost, "of the best third, which have three repeats together"
    ended, _ = run_all(made([5, 30, 30]), failing=[(1, 0), (2, 0)])
    assert ended.sum(1).tolist() == [1, 1, 1]


def test_too_few_groups_decide_nothing():
    assert run_all(made(groups=5))[0].all(), "the test of the leaderboard says nothing below six groups"


def test_folds_are_compared_on_the_groups_that_both_have():
    errors = made(groups=40)
    for fold in range(REPEATS):
        errors[:, fold, np.arange(40) % REPEATS != fold] = np.nan
    ended, decision = run_all(errors)
    assert ended[0].all() and 5 in decision.lost and ended[5].sum() < REPEATS


def test_the_spread_of_repeats_leaves_out_what_all_have_in_common():
    errors = made([5] * 50, spread=0.04, seed=1)
    errors *= np.array([1, 1.5, 0.7, 2, 1])[None, :, None]
    spread, freedom = repeat_spread(errors)
    assert spread == pytest.approx(0.04, rel=0.15) and freedom == 49 * 4
    assert repeat_spread(errors[:, :1])[1] == 0, "one repeat says nothing"


class Raced(Bench):
    """A bench with a race, on some slots, whose runs end in random order."""

    def __init__(self, slots=2, seed=0, left=(), **search):
        sections = search.pop("sections", {})
        kind = "choice" if search.get("method") == "tpe" else "grid"
        super().__init__({"lr": {kind: RATES}}, {"seeds": REPEATS, "race": True} | search, **sections)
        self.slots, self.random, self.busy = slots, random.Random(seed), []
        self.notes = {}
        self.searcher.race = Race(self.group_errors, self.note)
        for config in self.source.before if left else ():
            runs = self.sweep_runs.repeats(self.searcher.repeats(config))
            for run in runs:
                run.outcome = left.get(run.key, Outcome.WAITING)
            self.searcher.race.add(runs)

    def note(self, runs, found):
        assert runs[0].config.lr not in self.notes
        self.notes[runs[0].config.lr] = len(runs), found["repeats"], found["of"]

    @staticmethod
    def group_errors(run):
        row = made()[round(run.config.lr * 1000) - 1, run.config.seed]
        return {f"g{n}": value for n, value in enumerate(row)}

    def work(self, runs=10**9):
        """Let at most so many runs end; return whether the sweep is over."""
        for _ in range(runs):
            order = None
            while len(self.busy) < self.slots and isinstance(order := self.searcher.suggest("t"), dict):
                run = self.sweep_runs.by_key[order["key"]]
                run.outcome = Outcome.RUNNING
                self.busy.append(run)
            if not self.busy:
                assert order == self.searcher.FINISHED, "the sweep waits for ever"
                return True
            run = self.busy.pop(self.random.randrange(len(self.busy)))
            self.end(run, float(np.mean(list(self.group_errors(run).values()))))
        return False

    @property
    def trained(self):
        """The learning rate and seed of each run that has finished."""
        return {(run.config.lr, run.config.seed) for run in self.sweep_runs.having(Outcome.FINISHED)}


def test_what_an_earlier_call_noted_of_a_configuration_that_is_in_the_race_is_taken_back():
    bench, noted = Raced(), {}
    assert bench.work()
    race_again = Race(bench.group_errors, lambda runs, found: noted.update({runs[0].config.lr: found}))
    for runs in bench.searcher.race.repeats.values():
        runs[0].logged = SimpleNamespace(data=SimpleNamespace(tags={RACED: "{}"}))
        race_again.add(runs)
    assert race_again.next_round() == []
    assert {lr for lr, found in noted.items() if found is None} == {*RATES} - {*bench.notes} != set()


EXPECTED = {((c + 1) / 1000, repeat) for c, repeat in zip(*np.nonzero(run_all(made())[0]), strict=True)}


@pytest.mark.parametrize("slots", [1, 3, 30])
def test_a_sweep_runs_what_the_race_asks_for_whatever_the_slots_and_the_order(slots):
    for seed in range(3):
        bench = Raced(slots, seed)
        assert bench.work() and bench.trained == EXPECTED
        assert set(bench.notes) == {0.003, 0.004, 0.005, 0.006} and bench.notes[0.006] == (1, 1, REPEATS)


def test_a_sweep_that_is_killed_goes_on_to_the_same_decisions_and_trains_nothing_twice():
    for killed_after in (1, 6, 8, 12):
        first = Raced(2, killed_after)
        assert not first.work(killed_after)
        left = {run.key: run.outcome for run in first.sweep_runs.having(Outcome.FINISHED)}
        second = Raced(3, left=left)
        before = second.trained
        assert second.work() and second.trained == EXPECTED and len(before) == len(left) == killed_after


def test_a_search_learns_the_first_repeats_and_then_they_race():
    bench = Raced(2, method="tpe", trials=4, seed=1)
    assert bench.work()
    told = [trial for trial in bench.study.get_trials() if "values" in trial.user_attrs]
    assert len(told) == 4 and all(trial.values for trial in told)
    counts = {}
    for rate, _ in bench.trained:
        counts[rate] = counts.get(rate, 0) + 1
    assert len(counts) == 4 and max(counts.values()) == REPEATS > min(counts.values())


def test_a_budget_of_trials_ends_a_race():
    bench = Raced(2, sections={"budget": {"trials": 8}})
    assert bench.work() and len(bench.trained) == 8


def repeats_of(name):
    """Of each learning rate of a sweep in the store: the errors of its repeats, and its tag of the race."""
    found = {}
    for run in sorted(children(name)[1], key=lambda run: int(run.data.params["seed"])):
        errors, tags = found.setdefault(float(run.data.params["lr"]), ([], set()))
        errors.append(run.data.metrics["val/best_mae_groups"])
        tags.add(run.data.tags.get(RACED))
    return found


@pytest.mark.slow
def test_a_real_sweep_races_and_repeats_to_the_last_digit_when_it_was_killed(ray_here, cache, tmp_path):
    bel_data(
        [
            "synth",
            "--layout",
            "biwi",
            "--out",
            str(tmp_path / "heads"),
            "--subjects",
            "24",
            "--frames",
            "6",
            "--size",
            "32",
        ]
    )
    base = SWEEP["base"] | {"data_root": str(tmp_path / "heads"), "cache_dir": str(cache), "val_fraction": 0.5}
    base = {name: value for name, value in base.items() if name != "lr"} | {"head": "bel", "code": "u"}
    content = {"name": "s", "base": base, "space": {"lr": {"grid": [1e-3, 1.2e-3, 0.5]}}}
    content["search"] = {"seeds": 4, "race": True}
    found = {}
    for how in ("whole", "killed"):
        (folder := tmp_path / how).mkdir()
        path = folder / "s.yaml"
        path.write_text(yaml.safe_dump(content))
        with working_in(folder):
            if how == "killed":
                driver = start(str(path), folder)
                wait(lambda folder=folder: len(epochs(folder)) > 3, seconds=600)
                os.kill(driver.pid, signal.SIGKILL)
                driver.wait()
            assert sweep.main([str(path)]) == 0
            found[how] = repeats_of("s")
            board = boards(trials(find_sweeps(["s"])))[0]
    assert found["whole"] == found["killed"]
    (errors, tags) = found["whole"][0.5]
    assert len(errors) < 4 and len(tags) == 1
    lost = json.loads(tags.pop())
    assert lost["repeats"] == len(errors) and lost["of"] == 4 and lost["value"] > lost["against"]
    assert [len(found["whole"][rate][0]) for rate in (1e-3, 1.2e-3)] == [4, 4]
    assert [one.configuration.lost_race for one in board.standings] == [False, False, True]
    assert board.standings[2].verdict == "worse" and "lost the race" in caption(board)
