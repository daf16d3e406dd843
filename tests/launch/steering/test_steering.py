"""What each command does to a sweep whose runs end as the test says, and what lasts in the next driver, without Ray."""

import mlflow
import pytest

from bel.errors import UserError
from bel.run_layout import Outcome
from launch.schedule.stopper import INTERRUPTED
from launch.schedule.suggestions import ListSource
from launch.schedule.workload import Workload
from launch.steering.channel import send
from launch.steering.commands import answers_in, new_command
from launch.steering.steering import Steering
from launch.tracking.parent_run import open_store
from launch.tracking.store import Store
from tests.launch.schedule.test_searcher import LISTS, RATE, Bench, entries


class Steered(Bench):
    """A bench with a driver's steering on a real store; `again` is what the next driver finds."""

    def __init__(self, space=LISTS, search=None, places=1, **more):
        super().__init__(space, search or {}, places=places, **more)
        self.workload = Workload(self.sweep, self.plan, self.sweep_runs)
        held = open_store(self.sweep, "0" * 16, fresh=False, say=print)
        self.parent_id, self.lease, self.refused, self.said = held.parent_id, held.lease, set(), []
        self.steering = Steering(self.workload, held, self.stop, self.admit, self.begun, self.said.append)
        self.steering.end = self.ended
        self.steering.redo()
        source = self.source
        if isinstance(source, ListSource):
            source = ListSource(self.workload.listed(0))
        self.source = self.searcher.source = source
        self.searcher.heed = self.steering.heed
        self.steering.begin_stage(source, 0)
        self.steering.take_stage(self.searcher)

    def admit(self, config):
        if config.code in self.refused:
            raise UserError(f"no file of {config.code}")

    def begun(self, key):
        return bool(self.sweep_runs.by_key[key].history)

    def ended(self, run, outcome):
        self.sweep_runs.end(run, outcome)
        self.searcher.run_ended(run)

    def ask(self, what, trial=None, **arguments):
        """Whether a command is accepted, and what is said."""
        command = new_command(what, self.lease.number, trial, arguments)
        send(mlflow.MlflowClient(), self.parent_id, command)
        self.steering.channel.arrived.put(command)
        self.steering.heed()
        answer = self.steering.channel.unwritten[command.id]
        return answer.accepted, answer.text

    def run_next(self, epochs=0):
        """The run that begins next, with some epochs."""
        run = self.next()
        run.outcome, run.begun, run.history = Outcome.RUNNING, float(self.count), entries(*[5.0] * epochs)
        return run

    def leave(self):
        """Write the answers, as a driver does while it runs."""
        self.steering.channel.write(mlflow.MlflowClient())
        self.lease.__exit__()


def name_of(bench, **values):
    return bench.sweep_runs.label(bench.plan.config(bench.sweep, values))


def test_a_trial_is_prioritised_paused_and_resumed_by_its_name_before_it_begins(store):
    bench = Steered()
    hex16 = name_of(bench, head="bel", code="hex16")
    first = bench.run_next()
    assert first.config.code == "u"
    assert bench.ask("prioritise", {"name": hex16}) == (True, f"{hex16} is the next trial to begin")
    assert bench.stop.control.recall, "what Tune has and did not begin is taken back"
    assert bench.ask("prioritise", {"key": first.key}) == (False, f"{first.name} is running: there is nothing to begin")
    assert bench.ask("pause", {"name": name_of(bench, head="bel", code="j")})[1].endswith("pauses before it begins")
    assert not bench.ask("resume", {"name": hex16})[0]
    assert bench.run_next().name == hex16
    bench.leave()

    again = Steered()
    order = [again.run_next() for _ in range(3)]
    assert [run.config.code for run in order] == ["hex16", "u", None], "rank and pause hold in the next driver"
    for run in order:
        again.ended(run, Outcome.FINISHED)
    assert again.next() == "FINISHED" and [run.config.code for run in again.steering.held] == ["j"]
    assert (
        again.ask("pause", {"name": "nobody"})[1] == "no trial of this sweep is called 'nobody': see `bel-sweep status`"
    )
    assert again.ask("stop", {"key": order[0].key})[1].startswith(f"{order[0].name} has ended as finished")
    again.leave()


def test_a_whole_sweep_pauses_and_fewer_run_at_once(store):
    bench = Steered(places=3)
    runs = [bench.run_next(1), bench.run_next(1), bench.run_next(1)]
    verdict = bench.stop.control.verdict
    assert [verdict(run, runs) for run in runs] == [None, None, None]
    assert bench.ask("set", at_once=1)[1] == "at most 1 run at once; those beyond pause after their present epoch"
    assert [verdict(run, runs) for run in runs] == [None, Outcome.PAUSED, Outcome.PAUSED]
    for run in runs[1:]:
        bench.sweep_runs.halt(run, Outcome.PAUSED)
        bench.searcher.pause(run)
    assert bench.next() is None and [run.outcome for run in runs] == [Outcome.RUNNING, Outcome.PAUSED, Outcome.PAUSED]
    assert bench.ask("set", at_once=None)[0] and bench.next() is runs[2] and bench.next() is runs[1]
    assert bench.ask("pause") == (
        True,
        "no trial begins until it is resumed; 1 running pause after their present epoch",
    )
    assert bench.next() is None and verdict(runs[0], runs) == Outcome.PAUSED
    bench.leave()
    again = Steered()
    assert again.next() is None and again.ask("resume") == (True, "it goes on") and again.next().config.code == "u"
    assert not again.ask("resume")[0]
    again.leave()


def test_a_trial_is_stopped_after_its_epoch_or_where_it_waits_and_never_without_one(store):
    bench = Steered(places=3)
    runs = [bench.run_next(2), bench.run_next(2)]
    assert bench.ask("stop", {"key": runs[0].key}) == (True, f"{runs[0].name} stops after its present epoch")
    assert bench.stop.control.verdict(runs[0], runs) == Outcome.STOPPED
    bench.sweep_runs.halt(runs[1], Outcome.PAUSED)
    bench.searcher.pause(runs[1])
    assert bench.ask("stop", {"key": runs[1].key}) == (True, f"{runs[1].name} is stopped after epoch 2")
    assert (
        runs[1].outcome == Outcome.STOPPED and runs[1].stopped_by["epoch"] == 2 and runs[1] not in bench.searcher.queue
    )
    hex16 = name_of(bench, head="bel", code="hex16")
    assert bench.ask("stop", {"name": hex16})[1].startswith(f"{hex16} has no epoch yet, and so no error to keep")
    assert bench.ask("stop") == (True, "it ends after the present epochs") and bench.stop.reason == INTERRUPTED
    assert bench.ask("stop", now=True)[0]
    with pytest.raises(KeyboardInterrupt):
        bench.steering.heed()
    bench.leave()
    again = Steered()
    assert not again.stop.reason and runs[0].key in again.stop.control.stops, "a sweep's stop is for the driver of then"
    old = new_command("stop", again.lease.number - 1)
    again.steering.channel.arrived.put(old)
    again.steering.heed()
    assert again.steering.channel.unwritten[old.id].text == "the driver that this was for has ended: nothing is done"
    again.leave()


def test_configurations_and_values_are_added_once_and_are_there_in_the_next_driver(store):
    bench = Steered()
    assert bench.workload.total == 4
    bench.refused.add("gray")
    assert bench.ask("add", values={"head": "bel", "code": "gray"}) == (False, "no file of gray")
    assert bench.ask("add", values={"head": "bel", "code": "had", "lr": 1e-4})[1].endswith("is added")
    assert "is a trial of this sweep already" in bench.ask("add", values={"head": "bel", "code": "u"})[1]
    assert bench.ask("add", value={"code": "b1jdj"}) == (True, "1 configurations with code b1jdj are added")
    assert "has the value 'b1jdj' already" in bench.ask("add", value={"code": "b1jdj"})[1]
    assert not bench.ask("set", trials=3)[0] and bench.workload.total == 6
    bench.leave()
    again = Steered(places=9)
    runs = again.all()
    assert [run.config.code for run in runs] == ["u", "j", "hex16", None, "had", "b1jdj"] and again.workload.total == 6
    assert runs[4].config.lr == 1e-4 and not again.ask("add", values={"head": "bel", "code": "had", "lr": 1e-4})[0]
    again.leave()


def test_a_plan_foresees_what_changes_the_number_of_trials_and_speaks_of_nothing_else(store):
    bench = Steered(LISTS, {"method": "random", "trials": 2})
    asked = [("set", {}, {"trials": 3}), ("stop", {}, {}), ("stop", {"key": bench.next().key}, {}), ("pause", {}, {})]
    for what, trial, arguments in (*asked, ("add", {}, {"values": {"head": "bel", "code": "had"}})):
        send(mlflow.MlflowClient(), bench.parent_id, new_command(what, bench.lease.number, trial, arguments))
    tags = mlflow.MlflowClient().get_run(bench.parent_id).data.tags
    plan = Steering(
        bench.workload, Store("", bench.parent_id, {}, {}), bench.stop, bench.admit, bench.begun, bench.said.append
    )
    plan.foresee()
    assert bench.workload.total == 4 and not bench.stop.reason and not bench.stop.control.paused
    said = sorted(line.partition(": ")[2].partition(": ")[2] for line in bench.said)
    assert len(said) == 2 and said[0].startswith("add: had-150") and said[1] == "set: 3 trials"
    assert mlflow.MlflowClient().get_run(bench.parent_id).data.tags == tags
    bench.leave()


def test_random_draws_grow_and_shrink_and_the_file_counts_more_than_a_number_that_was_set(store):
    search = {"method": "random", "trials": 2, "seed": 1}
    bench = Steered(LISTS | RATE, search, places=9)
    first = bench.all()
    assert len(first) == 2 and bench.ask("set", trials=4) == (True, "4 trials") and bench.workload.total == 4
    more = bench.all()
    whole = Bench(LISTS | RATE, search | {"trials": 4}, places=9).all()
    assert [run.key for run in (*first, *more)] == [run.key for run in whole], "the draws of before stay the first ones"
    assert bench.ask("set", trials=5)[0] and bench.ask("set", trials=4)[0] and not bench.all()
    bench.leave()
    again = Steered(LISTS | RATE, search, places=9)
    assert again.workload.total == 4
    again.leave()
    changed = Steered(LISTS | RATE, search | {"trials": 3}, places=9)
    assert changed.workload.total == 3
    changed.leave()


def test_a_search_tries_what_is_added_next_and_learns_from_what_is_in_its_space(store):
    search = {"method": "tpe", "trials": 2, "seed": 1}
    kept = store / "study.journal"
    bench = Steered(LISTS | RATE, search, places=99, kept=kept)
    inside, outside = ({"head": "bel", "code": "j", "lr": 2e-4}, {"head": "bel", "code": "had", "lr": 2e-4})
    assert bench.ask("add", values=inside)[1].endswith("is added")
    assert bench.ask("add", values=outside)[1].endswith("of which the search is not told: it is outside the space")
    assert bench.workload.total == 4
    runs = bench.all()
    assert len(runs) == 4 and {run.config.code for run in runs if run.config.lr == 2e-4} == {"j", "had"}
    for run in runs:
        bench.end(run, *[4.0] * 9)
    assert len(bench.study.trials) == 3 and all(trial.values == [4.0] for trial in bench.study.trials)
    assert bench.next() == "FINISHED"
    bench.leave()

    again = Steered(LISTS | RATE, search, places=99, kept=kept)
    assert sorted(run.key for run in again.all()) == [next(r.key for r in runs if r.config.code == "had")], (
        "no other is asked for"
    )
    assert "among ['u', 'j', 'hex16', 'had'] from now on" in again.ask("add", value={"code": "had"})[1]
    assert again.ask("set", trials=20)[0]
    found = again.all()
    assert len(found) == 18 and "had" in {run.config.code for run in found}
    again.leave()


def test_answers_are_numbered_in_the_order_in_which_commands_are_done(store):
    bench = Steered()
    for at_once in (1, 2, 3):
        bench.ask("set", at_once=at_once)
    bench.leave()
    answers = answers_in(mlflow.MlflowClient().get_run(bench.parent_id).data.tags)
    assert [one.number for one in answers.values()] == [1, 2, 3]
    again = Steered()
    assert again.stop.control.at_once == 3 and again.ask("set", at_once=1)[0]
    again.leave()
    answers = answers_in(mlflow.MlflowClient().get_run(bench.parent_id).data.tags)
    assert [one.number for one in answers.values()] == [1, 2, 3, 4]


def test_a_second_stop_of_a_sweep_and_a_first_interruption_wait_for_the_present_epochs(store):
    bench = Steered(places=3)
    bench.run_next(2)
    for _ in range(2):
        assert bench.ask("stop") == (True, "it ends after the present epochs") and not bench.stop.at_once
    bench.stop.interrupt()
    assert not bench.stop.at_once, "somebody's first Ctrl-C"
    bench.stop.interrupt()
    assert bench.stop.at_once


def test_what_no_driver_knows_and_what_fails_is_refused_and_the_sweep_goes_on(store):
    bench = Steered()
    assert bench.ask("archive")[1].startswith("this driver has no command archive: it has ['stop', 'pause'")
    accepted, text = bench.ask("add", configs=[])
    assert not accepted and text.startswith("it failed: ")
    assert bench.run_next(2).history


def test_a_value_is_tried_where_a_search_had_tried_all(store):
    lists = {"head": {"choice": ["bel", "direct"]}, "code": {"choice": ["u", "j"]}}
    bench = Steered(lists, {"method": "tpe", "trials": 20, "seed": 1}, places=99)
    assert len(bench.all()) == 3
    assert bench.ask("add", value={"code": "had"})[0]
    assert [run.config.code for run in bench.all()] == ["had"]


def test_no_trial_begins_beyond_the_budget_by_its_rank(store):
    bench = Steered(places=1, budget={"trials": 2})
    for _ in range(2):
        bench.run_next(1)
    accepted, text = bench.ask("prioritise", {"name": name_of(bench, head="bel", code="hex16")})
    assert not accepted and text.startswith("the budget of the sweep allows no further trial")
    assert bench.next() in (None, "FINISHED")


TWO = {"protocol": {"grid": ["biwi", "aflw2000"]}, "lr": {"loguniform": [1e-5, 1e-3]}}


def test_a_stage_that_is_over_runs_again_for_what_is_added_or_resumed(store):
    bench = Steered(TWO, {"method": "random", "trials": 2, "scheduler": "asha"}, places=3)
    run = bench.run_next(2)
    assert bench.ask("pause", {"key": run.key})[0]
    bench.sweep_runs.halt(run, Outcome.PAUSED)
    bench.searcher.pause(run)
    assert bench.steering.end_stage() == set() and bench.steering.held == [run]
    bench.steering.begin_stage(ListSource(bench.workload.listed(1)), 1)
    assert bench.ask("resume", {"key": run.key})[0] and bench.steering.end_stage() == {0}
    assert run.outcome == Outcome.WAITING and run.history, "its stage goes on with it"
    bench.steering.begin_stage(ListSource(bench.workload.listed(1)), 1)
    assert bench.ask("add", values={"protocol": "biwi", "lr": "2e-4"})[0]
    assert bench.steering.end_stage() == {0} and len(bench.workload.listed(0)) == 3
    assert bench.ask("add", values={"protocol": "aflw2000", "lr": "2e-4"})[0], "after the last trial of its stage"
    assert bench.steering.end_stage() == {1} and bench.steering.end_stage() == set()


def test_what_is_added_to_a_search_counts_once_and_costs_are_of_the_space(store):
    bench = Steered(LISTS, {"method": "tpe", "trials": 50})
    assert bench.workload.total == 4
    assert bench.ask("add", values={"head": "bel", "code": "j"})[0] and bench.workload.total == 4, "it is in the space"
    assert bench.ask("add", values={"head": "bel", "code": "had"})[0] and bench.workload.total == 5
    assert bench.workload.all_runs == bench.plan.configs
    bench.leave()
