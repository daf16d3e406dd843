"""What runs next and what a search is told, without Ray: runs end as the test says."""

import errno
from contextlib import nullcontext
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import mlflow
import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from bel.errors import UserError
from bel.run_layout import OUTCOME, PARENT, SCHEDULED, TRIAL, Outcome
from launch.identity import data_key, identify
from launch.runs import Run, SweepRuns
from launch.schedule.schedulers import ByKey, make_scheduler
from launch.schedule.searcher import MAX_DEATHS, TrialSearcher
from launch.schedule.stopper import FULL, INTERRUPTED, SweepStopper
from launch.schedule.studies import journal, open_study, take_over
from launch.schedule.suggestions import ListSource, StudySource, TunedSource
from launch.schedule.workload import Workload
from launch.spec.combinations import make_config, make_plan
from launch.spec.sampling import draw, points
from launch.tracking.params import label
from launch.tracking.store import Store, scheduled_histories
from tests.launch.spec.test_sweep_file_and_sampling import BASE, sweep

LISTS = {"head": {"grid": ["bel", "direct"]}, "code": {"grid": ["u", "j", "hex16"]}}  # four valid combinations
RATE = {"lr": {"loguniform": [1e-5, 1e-3]}}
CONTINUE, STOP = "CONTINUE", "STOP"


def told(config, **changes):
    """What is known of the images of a config, as if they had been read."""
    counts = {"train_images": "80", "val_images": "20", "val_groups": "2", "selection_split": config.selection}
    return {"protocol": config.protocol_name, "data_digest": "d", "split_hash": data_key(config)} | counts | changes


class Bench:
    """A proposer with its sweep_runs and source; `kept` is the file of the study, `known` is what MLflow has."""

    def __init__(self, space, search, kept=None, known=(), name="t", places=10**6, **sections):
        base = (
            BASE | {"epochs": 9} | {k: v for k, v in (("head", "bel"), ("code", "u")) if not {k, "head"} & space.keys()}
        )
        self.sweep = sweep(space, base, search=search, **sections)
        self.plan = make_plan(self.sweep)
        find = lambda configs: {data_key(config): told(config) for config in configs}  # noqa: E731
        tools = (partial(label, sweep=self.sweep), partial(identify, self.sweep))
        self.sweep_runs = SweepRuns({}, find, *tools, dict(known))
        self.stop, self.adopted = SweepStopper(self.sweep_runs), []
        workload = Workload(self.sweep, self.plan, self.sweep_runs)
        if self.sweep.search.tune:
            source = TunedSource(workload.contenders(0), workload.best_on_folds)
        elif self.sweep.method.suggests:
            storage = journal(kept) if kept else InMemoryStorage()
            self.study, at_once = open_study(self.sweep, name, storage), storage.at_once if kept else nullcontext
            source = StudySource(self.sweep, self.plan, self.study, self.sweep.search.trials or 0, (), at_once)
        else:
            source = ListSource(make_config(self.sweep, values) for values in draw(self.sweep, self.plan))
        self.source, self.count = source, 0
        self.searcher = TrialSearcher(
            self.sweep,
            source,
            workload.repeats,
            self.sweep_runs,
            self.stop,
            self.adopted.append,
            lambda run: {"key": run.key},
            lambda: places,
        )

    def next(self):
        """The run that Tune would begin now; None to wait, "FINISHED" at the end."""
        self.count += 1
        order = self.searcher.suggest(f"tune{self.count}")
        return self.sweep_runs.by_key[order["key"]] if isinstance(order, dict) else order

    def all(self):
        """Runs until Tune has to wait or it is over."""
        runs = []
        while not isinstance(run := self.next(), str | None):
            runs.append(run)
        return runs

    def end(self, run, *errors, outcome=Outcome.FINISHED, bits=8.0):
        """Let a run end after epochs of these validation errors."""
        run.history = entries(*errors, bits=bits)
        run.outcome = outcome
        self.searcher.run_ended(run)


def entries(*errors, bits=8.0):
    """A history of epochs with these validation errors."""
    return [
        {
            "epoch": float(n),
            **dict.fromkeys(("val/mae", "val/mae_groups"), error),
            **dict.fromkeys(("val/best_mae", "val/best_mae_groups"), min(errors[:n])),
            "bits": bits,
            "images_per_s": 9.0,
            "time": 0,
        }
        for n, error in enumerate(errors, 1)
    ]


def test_a_configuration_is_repeated_over_seeds_and_folds_before_the_next_one():
    bench = Bench(LISTS, {"seeds": 2, "folds": 3})
    runs = bench.all()
    assert len(runs) == 4 * 6 == len({run.key for run in runs})
    for start in range(0, 24, 6):
        group = runs[start : start + 6]
        assert [(r.config.seed, r.config.fold) for r in group] == [(s, f) for s in (0, 1) for f in (0, 1, 2)]
        assert {r.group for r in group} == {group[0].key} and {r.config.folds for r in group} == {3}
        assert [r.is_scheduled for r in group] == [True] + [False] * 5
        assert len({(r.config.head, r.config.code) for r in group}) == 1
    assert bench.next() is None, "runs are out"
    for run in runs[:-1]:
        bench.end(run, 5)
    assert bench.next() is None
    bench.end(runs[-1], 5)
    assert bench.next() == TrialSearcher.FINISHED


def test_as_many_runs_as_fit_at_once_begin_together_and_one_more_waits():
    bench = Bench({"lr": {"grid": [n / 1000 for n in range(1, 10)]}}, {}, places=3)
    runs = bench.all()
    assert len(runs) == 4 and bench.next() is None, "three places, and one to take over the first worker that is free"
    for run in runs[:3]:
        run.outcome = Outcome.RUNNING
    assert bench.next() is None
    bench.end(runs[0], 5)
    assert [bench.next() is None, bench.next() is None] == [False, True], "one for the one that ended"


def test_where_more_runs_fit_than_were_counted_one_waits_at_a_time():
    bench = Bench({"lr": {"grid": [n / 1000 for n in range(1, 10)]}}, {}, places=1)
    for _ in range(4):
        for run in bench.all():
            run.outcome = Outcome.RUNNING
    assert len(bench.searcher.in_tune) == 5, "two, then one whenever none waits"


@pytest.mark.parametrize(
    ("late", "turn"), [(0, 2), (1, 3), (2, 6)]
)  # runs of others that end while its last value runs
def test_a_contender_whose_values_have_ended_is_on_all_folds_before_what_is_left(late, turn):
    space = {"head": {"grid": ["direct", "rotation6d", "rlel"]}, "lr": {"grid": [1e-4, 3e-3]}}
    bench = Bench(space, {"tune": "lr", "folds": 3}, places=1)
    in_tune = bench.all()
    last, begun = in_tune.pop(), [*in_tune]
    for _ in range(late + 1):
        bench.end(in_tune.pop(), 5)
        in_tune += bench.all()
        begun += in_tune
    bench.end(last, 4)
    while runs := bench.all() or in_tune:
        begun += [run for run in runs if run not in begun]
        in_tune += [run for run in runs if run not in in_tune]
        bench.end(in_tune.pop(0), 6)
    order = [f"{run.config.head} {run.config.fold}" for run in begun]
    assert len(order) == 6 - 1 + 3 * 3
    assert order.index("direct 0") == turn, (
        "after what Tune has by then, and the folds of one that was decided before it"
    )
    folds = [run.config for run in begun if run.config.head == "direct" and run.config.folds]
    assert [(config.lr, config.fold) for config in folds] == [(3e-3, 0), (3e-3, 1), (3e-3, 2)], "with the better value"
    assert order.index("direct 2") < order.index("rlel None"), order


def test_with_early_stopping_the_first_repeat_decides_for_all():
    bench = Bench(LISTS, {"seeds": 3, "scheduler": "asha"})
    firsts = bench.all()
    assert len(firsts) == 4 and {run.config.seed for run in firsts} == {0} and bench.next() is None
    bench.end(firsts[0], 5, 4, outcome=Outcome.STOPPED)
    bench.end(firsts[1], 5, outcome=Outcome.DIVERGED)
    bench.end(firsts[2], outcome=Outcome.FAILED)
    assert bench.next() is None, "what was stopped, diverged or failed is not repeated"
    bench.end(firsts[3], 5, 4, 3)
    others = bench.all()
    assert [run.config.seed for run in others] == [1, 2] and {run.group for run in others} == {firsts[3].key}
    for run in others:
        bench.end(run, 5)
    assert bench.next() == TrialSearcher.FINISHED


def test_the_study_is_told_the_mean_and_never_the_luckiest_repeat(tmp_path):
    kept = tmp_path / "optuna.journal"
    bench = Bench(RATE, {"method": "tpe", "trials": 2, "seeds": 3, "scheduler": "asha"}, kept)
    first, second = bench.all()
    bench.end(first, 9, 2)  # the luckiest
    later = bench.all()
    assert [t.state for t in bench.study.get_trials()] == [TrialState.RUNNING] * 2, "nothing is told before all repeats"
    bench.end(later[0], 6, 4)
    bench.end(later[1], 7)
    bench.end(second, 5, outcome=Outcome.STOPPED)
    trials = optuna.load_study(study_name="t", storage=journal(kept)).get_trials()
    assert trials[0].value == pytest.approx((2 + 4 + 7) / 3) and trials[0].state == TrialState.COMPLETE
    assert trials[1].state == TrialState.PRUNED
    assert trials[0].params == {"lr": first.config.lr}


def test_a_stopped_run_is_pruned_with_its_reports_and_a_diverged_one_without():
    bench = Bench(RATE, {"method": "tpe", "trials": 4, "scheduler": "asha"})
    runs = bench.all()
    bench.end(runs[0], 5, 6, 4, outcome=Outcome.STOPPED)
    bench.end(runs[1], 5, 4, outcome=Outcome.DIVERGED)
    bench.end(runs[2], 5, 4, 3)
    trials = bench.study.get_trials()
    assert [t.state.name for t in trials] == ["PRUNED", "PRUNED", "COMPLETE", "RUNNING"]
    assert trials[0].intermediate_values == {1: 5, 2: 5, 3: 4}, "the best so far, as it is compared"
    assert trials[1].intermediate_values == {} and trials[2].value == 3


def test_a_repeat_that_diverges_spoils_its_configuration():
    bench = Bench(RATE, {"method": "tpe", "trials": 1, "seeds": 2})
    runs = bench.all()
    bench.end(runs[0], 5, 4)
    bench.end(runs[1], 6, outcome=Outcome.DIVERGED)
    (trial,) = bench.study.get_trials()
    assert trial.state == TrialState.PRUNED and trial.intermediate_values == {}


def test_what_failed_says_nothing_and_is_tried_again_by_the_next_call(tmp_path):
    kept, search = tmp_path / "optuna.journal", {"method": "tpe", "trials": 2, "seeds": 2}
    bench = Bench(RATE, search, kept)
    runs = bench.all()
    for run in runs:
        bench.end(run, 5, outcome=Outcome.FAILED if run is runs[1] else Outcome.FINISHED)
    assert bench.next() == TrialSearcher.FINISHED, "but not by this one"
    again = Bench(RATE, search, kept)
    assert [run.key for run in again.all()] == [run.key for run in runs[:2]]
    for run in runs[:2]:
        again.end(again.sweep_runs.by_key[run.key], 5)
    assert [t.state for t in again.study.get_trials()] == [TrialState.COMPLETE] * 2


def test_all_objectives_are_told_each_as_a_mean():
    search = {"method": "tpe", "trials": 1, "seeds": 2, "objective": ["val/mae", "bits", "images_per_s"]}
    bench = Bench(RATE, search)
    for run, error, bits in zip(bench.all(), (4, 6), (20, 22), strict=True):
        bench.end(run, error, bits=bits)
    (trial,) = bench.study.get_trials()
    assert trial.values == [5, 21, 9] and [d.name for d in bench.study.directions] == [
        "MINIMIZE",
        "MINIMIZE",
        "MAXIMIZE",
    ]


@pytest.mark.parametrize("method", ["tpe", "gp"])
def test_a_search_of_lists_suggests_none_twice_and_ends_with_them(method):
    bench = Bench(LISTS, {"method": method, "trials": 50})
    seen = []
    while isinstance(run := bench.next(), object) and run != TrialSearcher.FINISHED:
        seen.append(run)
        bench.end(run, float(len(seen)))
    assert len(seen) == 4 == len({run.key for run in seen})
    states = [trial.state for trial in bench.study.get_trials() if "values" in trial.user_attrs]
    assert states == [TrialState.COMPLETE] * 4


def test_a_search_gives_no_more_than_its_trials():
    bench = Bench(RATE, {"method": "tpe", "trials": 3})
    runs = bench.all()
    assert len(runs) == 3 and bench.next() is None
    for run in runs:
        bench.end(run, 1)
    assert bench.next() == TrialSearcher.FINISHED


def test_what_a_dead_driver_left_open_comes_first_and_is_the_same(tmp_path):
    kept, search = tmp_path / "optuna.journal", {"method": "tpe", "trials": 4}
    dead = Bench(RATE | LISTS, search, kept)
    first, second, third = dead.next(), dead.next(), dead.next()
    dead.end(second, 5)
    heir = Bench(RATE | LISTS, search, kept)
    assert heir.source.past == [5]
    assert [c.lr for c in heir.source.before] == [run.config.lr for run in (first, second, third)]
    runs = heir.all()
    assert [run.key for run in runs[:2]] == [first.key, third.key] and runs[0].config == first.config
    assert len(runs) == 3 and runs[2].key not in {run.key for run in (first, second, third)}
    for run in runs:
        heir.end(run, 4)
    assert [t.state for t in heir.study.get_trials()] == [TrialState.COMPLETE] * 4
    assert heir.next() == TrialSearcher.FINISHED and Bench(RATE | LISTS, search, kept).next() == TrialSearcher.FINISHED


def test_more_trials_of_a_study_are_new_ones(tmp_path):
    kept, known, space = tmp_path / "optuna.journal", [], RATE
    for trials in (2, 4):
        bench = Bench(space, {"method": "tpe", "trials": trials}, kept)
        runs = bench.all()
        known += [run.key for run in runs]
        for run in runs:
            bench.end(run, 4)
    assert len(known) == len(set(known)) == 4


def test_a_run_whose_worker_died_is_next_and_fails_after_many_deaths():
    bench = Bench(LISTS, {})
    run, other = bench.next(), bench.next()
    for number in range(1, MAX_DEATHS + 1):
        run.outcome = Outcome.RUNNING
        assert bench.searcher.resubmit(run) and run.deaths == number
        assert bench.next() is run, "before those that have not begun"
    assert bench.searcher.resubmit(run) and bench.next() is run and run.deaths == MAX_DEATHS, "it had not begun"
    run.outcome = Outcome.RUNNING
    assert not bench.searcher.resubmit(run)
    bench.end(run, outcome=Outcome.FAILED)
    assert run not in bench.all() and other not in bench.searcher.queue
    other.outcome = Outcome.RUNNING
    bench.searcher.resubmit(other)
    assert other.deaths == 1
    for _ in range(2):
        bench.sweep_runs.enter(other.key, {"past": entries(5), "host": "h", "device": "d"})
        assert other.deaths == 0, "an epoch since then forgives"
        assert len(other.history) == 1, "an epoch counts once, whoever tells it"


def test_nothing_is_suggested_once_the_sweep_stops():
    bench = Bench(LISTS, {})
    run = bench.next()
    bench.stop.request(INTERRUPTED, "x")
    assert bench.next() == TrialSearcher.FINISHED
    run.outcome = Outcome.CUT


def test_a_budget_of_trials_ends_after_whole_configurations():
    for budget, runs in ((1, 2), (2, 2), (3, 4), (100, 8)):
        bench = Bench(LISTS, {"seeds": 2}, budget={"trials": budget})
        out = bench.all()
        assert len(out) == runs
        for run in out:
            bench.end(run, 5)
        assert bench.next() == TrialSearcher.FINISHED


def test_patience_counts_configurations_without_a_better_one():
    space = {"head_lr_factor": {"grid": [float(n) for n in range(1, 12)]}}
    bench = Bench(space, {"seeds": 2}, budget={"patience": 3})
    seen = 0
    for mean in (9, 9, 8, 8.5, 8, 9, 7):
        group = [bench.next(), bench.next()]
        if TrialSearcher.FINISHED in group:
            break
        bench.end(group[0], mean - 2), bench.end(group[1], mean + 2)
        seen += 1
    assert seen == 6, "8 was not beaten three times"


def test_patience_goes_on_where_an_earlier_call_of_a_search_ended(tmp_path):
    kept, search = tmp_path / "optuna.journal", {"method": "tpe", "trials": 9}
    first = Bench(RATE, search, kept, budget={"patience": 5})
    for error in (3, 4, 5):
        first.end(first.next(), error)
    second = Bench(RATE, search, kept, budget={"patience": 3})
    assert second.searcher.without_better == 2 and second.searcher.best == 3
    second.end(second.next(), 6)
    assert second.next() == TrialSearcher.FINISHED


@pytest.mark.parametrize("method", ["tpe", "gp", "random", "grid"])
def test_points_are_tried_first(method):
    wanted = [{"code": "hex16", "head": "bel"}, {"head": "direct"}]
    search = {"method": method} | ({} if method == "grid" else {"trials": 4})
    bench = Bench(LISTS, search, points=wanted)
    runs = bench.all()
    assert [(r.config.head, r.config.code) for r in runs[:2]] == [("bel", "hex16"), ("direct", None)]
    assert len(points(bench.sweep, bench.plan)) == 2 and len(runs) == 4


def test_what_another_sweep_trained_is_entered_and_told_and_not_run():
    one = Bench(LISTS, {"method": "tpe", "trials": 4})
    runs = one.all()
    lender = SimpleNamespace(data=SimpleNamespace(metrics=entries(3)[-1]), info=SimpleNamespace(run_id="lender"))
    known = {run.key: (lender, Outcome.FINISHED, True) for run in runs[:3]}
    two = Bench(LISTS, {"method": "tpe", "trials": 4}, known=known)
    left = two.all()
    assert [run.key for run in left] == [runs[3].key] and {r.key for r in two.adopted} == set(known)
    assert sorted(t.state.name for t in two.study.get_trials() if "values" in t.user_attrs) == ["COMPLETE"] * 3 + [
        "RUNNING"
    ]
    own = {run.key: (lender, Outcome.DIVERGED, False) for run in runs[:3]}
    three = Bench(LISTS, {"method": "tpe", "trials": 4}, known=own)
    assert len(three.all()) == 1 and not three.adopted, "a run of its own needs no entering"


# ------------------------------------------------------------------------------------------------- early stopping


def judge(bench, before=()):
    """The scheduler of a bench's sweep: of nine epochs, rungs after the second and the sixth."""
    return make_scheduler(bench.sweep, 9, bench.sweep_runs, dict(before), bench.stop)


def tells(schedule, run, trial_id, *errors, since=0):
    """What the scheduler says when the Tune trial of an id reports the last of these epochs, and those after `since`."""
    trial = SimpleNamespace(trial_id=trial_id, config={"key": run.key})
    past = entries(*errors)[since:]
    return schedule.on_trial_result(None, trial, past[-1] | {"past": past, "host": "h", "device": "d"})


def rungs(schedule):
    """Runs by rung that asha has on record."""
    return {milestone: dict(recorded) for milestone, recorded in schedule.inner._brackets[0]._rungs}


def test_a_run_that_goes_on_as_another_tune_trial_is_judged_once_a_rung():
    bench = Bench(LISTS, {"scheduler": "asha"})
    run = bench.next()
    schedule = judge(bench)
    assert isinstance(schedule, ByKey)
    assert tells(schedule, run, "a", 5) == CONTINUE and tells(schedule, run, "a", 5, 4, since=1) == CONTINUE
    assert rungs(schedule)[2] == {run.key: -4}
    assert tells(schedule, run, "b", 5, 4, 3) == CONTINUE, "its new worker tells all that it knows"
    assert rungs(schedule) == {2: {run.key: -4}, 6: {}}
    tells(schedule, run, "c", 5, 4, 3, 3, 3, 2, 2)
    assert rungs(schedule) == {2: {run.key: -4}, 6: {run.key: -2}}, "a rung that was passed while nobody asked"


def test_the_worst_of_three_is_stopped_and_only_first_repeats_are():
    bench = Bench(LISTS, {"scheduler": "asha", "seeds": 2})
    first, second, third, _ = bench.all()
    schedule = judge(bench)
    assert [tells(schedule, run, run.key, error, error) for run, error in ((first, 3), (second, 2))] == [CONTINUE] * 2
    bench.end(first, *[3] * 9)
    (repeat,) = bench.all()
    assert tells(schedule, repeat, "x", 90, 90) == CONTINUE and repeat.key not in rungs(schedule)[2]
    assert tells(schedule, third, "y", 9, 9) == STOP


def test_the_last_epoch_of_a_run_counts_for_the_others():
    bench = Bench(LISTS, {"scheduler": "asha"})
    run = bench.next()
    schedule = judge(bench)
    run.history = entries(5, 4)
    schedule.on_trial_complete(None, SimpleNamespace(trial_id="a", config={"key": run.key}), {})
    assert rungs(schedule)[2] == {run.key: -4}


def test_median_stops_what_is_worse_than_the_others_and_may_hear_of_it_again():
    bench = Bench({"head_lr_factor": {"grid": [float(n) for n in range(1, 7)]}}, {"scheduler": "median"})
    *others, last = bench.all()
    schedule = judge(bench)
    for run in others:
        for trial_id, done in (("a", 2), ("b", 4)):
            assert tells(schedule, run, trial_id, *[3 - run.config.head_lr_factor / 10] * done) in (CONTINUE, STOP)
    words = [tells(schedule, last, "z", *[50.0] * n) for n in range(1, 4)]
    assert words == [CONTINUE, STOP, STOP], "the first epoch is its grace"
    again = judge(bench, {run.key: run.history for run in bench.sweep_runs})
    assert again.reported == {run.key: run.epoch for run in bench.sweep_runs}, "a later call hears all of it at once"


def test_hyperband_draws_one_of_three_brackets_for_a_run_and_leaves_it_there():
    bench = Bench({"head_lr_factor": {"grid": [float(n) for n in range(1, 13)]}}, {"scheduler": "hyperband"})
    schedule = judge(bench)
    for run in bench.all():
        tells(schedule, run, "a", 5)
        bracket = schedule.inner._trial_info[run.key]
        tells(schedule, run, "b", 5, *[4.0] * 8)
        assert schedule.inner._trial_info[run.key] is bracket
    firsts = [bracket._rungs[-1][0] for bracket in schedule.inner._brackets]
    assert firsts == [1, 3, 9]
    assert sum(len(bracket._rungs[-1][1]) for bracket in schedule.inner._brackets) == 12


def test_scheduled_histories_are_what_mlflow_knows(store):
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("t")
    bench = Bench(LISTS, {"scheduler": "asha", "seeds": 2})
    first, second, third, _ = bench.all()
    repeat = bench.sweep_runs.repeats(bench.searcher.repeats(first.config))[1]
    children = {}
    for run, error in ((first, 3.0), (second, 2.0), (repeat, 1.0)):
        made = client.create_run(
            experiment, tags={TRIAL: run.key, PARENT: "p", SCHEDULED: str(run.is_scheduled), OUTCOME: Outcome.FINISHED}
        )
        client.log_param(made.info.run_id, "protocol", run.facts["protocol"])
        for step in (2, 1, 3):
            client.log_metric(made.info.run_id, "val/best_mae_groups", error / step, step=step)
        children[run.key] = client.get_run(made.info.run_id)
    known = {key: (run, Outcome.FINISHED, False) for key, run in children.items()}
    known["lent"] = (children[first.key], Outcome.FINISHED, True)
    there = Store(experiment, "p", children, known)
    assert not scheduled_histories(there, {"aflw2000"}, ["val/best_mae_groups"]), "protocols are judged each by itself"
    before = scheduled_histories(there, {"biwi", "csv"}, ["val/best_mae_groups"])
    assert set(before) == {first.key, second.key}, "neither later repeats nor what is lent was judged here"
    assert before[first.key] == [{"epoch": n, "val/best_mae_groups": 3 / n} for n in (1, 2, 3)]
    schedule = judge(bench, before)
    assert rungs(schedule)[2] == {first.key: -1.5, second.key: -1.0}
    assert tells(schedule, third, "x", 9, 9) == STOP
    assert all(a <= b for a, b in pairwise(e["epoch"] for e in before[first.key]))


def test_a_half_written_line_of_the_journal_is_cut_off(tmp_path):
    kept, search = tmp_path / "optuna.journal", {"method": "tpe", "trials": 3}
    first = Bench(RATE, search, kept)
    asked = [first.next().key, first.next().key]
    whole = kept.read_bytes()
    kept.write_bytes(whole + whole.splitlines()[-1][:-9])
    again = Bench(RATE, search, kept)
    assert kept.read_bytes().startswith(whole) and [again.next().key, again.next().key] == asked
    again.next()
    assert len(optuna.load_study(study_name="t", storage=journal(kept)).trials) == 3


def test_a_study_of_an_earlier_version_goes_on_in_a_journal(tmp_path):
    database, kept = tmp_path / "{optuna} %20.db", tmp_path / "optuna.journal"
    old = optuna.create_study(storage=f"sqlite:///{tmp_path / 'optuna.db'}", study_name="t")
    search = {"method": "tpe", "trials": 3}
    first = Bench(RATE, search, tmp_path / "first.journal", name="other")
    asked = [first.next(), first.next()]
    first.end(asked[0], 5)
    old.add_trials(first.study.trials)
    (tmp_path / "optuna.db").rename(database)
    kept.with_suffix(".part").write_bytes((tmp_path / "first.journal").read_bytes()[:-9])  # cut by a kill
    take_over("absent", database, kept)
    assert not kept.exists(), "it has no such study"
    take_over("t", database, kept)
    again = Bench(RATE, search, kept)
    assert again.source.past == [5] and again.next().key == asked[1].key and len(again.all()) == 1
    whole = kept.read_bytes()
    database.write_bytes(b"no database any more")
    take_over("t", database, kept)
    assert kept.read_bytes() == whole, "what was copied is not copied again"
    with pytest.raises(
        UserError, match=r"\{optuna\} %20.db, in which .* cannot be read .*not a database.*: move it away"
    ):
        take_over("t", database, tmp_path / "other.journal")


def test_a_damaged_journal_is_named(tmp_path):
    kept, search = tmp_path / "optuna.journal", {"method": "tpe", "trials": 3}
    Bench(RATE, search, kept).next()
    whole = kept.read_bytes()
    for line in ("garbage", "[1]", "{}", '{"op_code":99,"worker_id":"a"}', '{"op_code":4,"worker_id":"a"}', '"a"'):
        kept.write_bytes(whole + f"{line}\n".encode())
        with pytest.raises(
            UserError, match=r"optuna.journal is no journal of Optuna, or is damaged \(.*: move it away"
        ):
            journal(kept)


LEARNING = {  # by name: method, space, points
    "tpe": (
        "tpe",
        RATE | {"code": {"grid": ["u", "j", "hex16"]}},
        [{"lr": 2e-4, "code": "j"}, {"lr": 3e-4, "code": "u"}],
    ),
    "gp": ("gp", RATE | {"code": {"grid": ["u", "j", "hex16"]}}, [{"lr": 2e-4, "code": "j"}]),
    "cmaes": ("cmaes", RATE | {"flip": {"uniform": [0, 0.5]}}, []),
    "whole": (
        "cmaes",
        {"rotate": {"quniform": [0, 10, 5]}, "batch_size": {"int": [3, 4]}},
        [{"rotate": 5, "batch_size": 4}],
    ),
    "lists": ("tpe", LISTS, []),
}


@pytest.mark.parametrize("name", LEARNING)
def test_a_kill_before_any_write_of_the_study_changes_no_suggestion(tmp_path, monkeypatch, name):
    kept, errors, sizes, real = tmp_path / "optuna.journal", {}, [], JournalFileBackend.append_logs
    method, space, given = LEARNING[name]
    search = {"method": method, "trials": 12, "seed": 3}  # the first ten of tpe and gp are random

    def go_on():
        """Keys of the configurations, in the order in which they were suggested."""
        bench = Bench(space, search, kept, points=given)
        before = [bench.sweep_runs.run(config).key for config in bench.source.before]
        asked = before[: len(before) - len(bench.source.left_open)]
        while isinstance(run := bench.next(), Run):
            asked.append(run.key)
            bench.end(run, errors.setdefault(run.key, 3 + len(errors) % 4))
        return asked

    def noted(self, logs):
        """Write, and note where a kill before it would leave the file."""
        sizes.append(kept.stat().st_size)
        real(self, logs)

    with monkeypatch.context() as patch:
        patch.setattr(JournalFileBackend, "append_logs", noted)
        whole = go_on()
    content = kept.read_bytes()
    assert len(set(whole)) == len(whole) >= 4 and len(sizes) > 2 * len(whole)
    for size in sizes[:: 3 if method == "gp" else 1]:
        kept.write_bytes(content[:size])
        assert go_on() == whole, f"killed after {content[:size].splitlines()[-1:]}"
    for line in range(0, content.count(b"\n"), 7):  # a power cut
        kept.write_bytes(b"".join(content.splitlines(keepends=True)[:line]) + b'{"op_code":4,"wor')
        found = go_on()
        all_tried = name == "whole" or len(found) == len(whole)  # whole numbers end after many duplicates in a row
        assert len(set(found)) == len(found) and all_tried


def no_room(*arguments):
    """What a full disk does."""
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_result_that_could_not_be_written_is_told_in_the_next_call(tmp_path, monkeypatch):
    kept, search = tmp_path / "optuna.journal", {"method": "tpe", "trials": 2}
    bench = Bench(RATE, search, kept)
    run = bench.next()
    with monkeypatch.context() as patch, bench.stop.on_full_disk():
        patch.setattr(JournalFileBackend, "append_logs", no_room)
        bench.end(run, 5)
    assert bench.stop.reason == FULL and "the disk is full (OSError: [Errno 28]" in bench.stop.text
    again = Bench(RATE, search, kept)
    same = again.next()
    assert again.source.past == [] and same.key == run.key
    again.end(same, 5)
    assert Bench(RATE, search, kept).source.past == [5]


@pytest.mark.parametrize("more", [{}, {"scheduler": "sha"}])
def test_a_full_disk_stops_a_sweep_within_a_suggestion(tmp_path, monkeypatch, more):
    bench = Bench(RATE, {"method": "tpe", "trials": 4} | more, tmp_path / "optuna.journal")
    first = bench.next()
    with monkeypatch.context() as patch:
        patch.setattr(JournalFileBackend, "append_logs", no_room)
        assert bench.next() == TrialSearcher.FINISHED and bench.stop.reason == FULL
    bench.end(first, 5)
    again = Bench(RATE, {"method": "tpe", "trials": 4} | more, tmp_path / "optuna.journal")
    assert again.source.past == [5] and len(again.all()) == 3
