"""`from launch import Sweep`: the sweep of a mapping is that of its file, its events come live, and leaving it is clean."""

import os
import signal
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from bel.errors import UserError
from bel.run_layout import CHECKPOINT, TRIAL
from launch import Sweep
from launch.driver import driver
from launch.driver.callback import SweepCallback
from launch.runs import SweepRuns
from launch.schedule.stopper import INTERRUPTED, SweepStopper
from launch.spec.sweep_file import read_sweep
from results import Results
from tests.conftest import PROJECT, SWEEP, children

IMPORTS = """
import sys
import launch, results
assert not {"ray", "mlflow", "torch", "pandas", "optuna"} & set(sys.modules)
from results import Results
assert not {"ray", "torch", "launch.api"} & set(sys.modules)
"""


@pytest.fixture
def content(rendered, cache):
    """The content of a sweep file of two trials of three epochs."""
    base = SWEEP["base"] | {"data_root": rendered, "cache_dir": str(cache), "epochs": 3, "head": "bel", "code_bits": 38}
    return {"name": "live", "base": base, "space": {"code": {"grid": ("u", "j")}}, "resources": {"cpu": 1}}


def test_the_packages_import_nothing_until_it_is_asked_for():
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, env=os.environ | {"PYTHONPATH": str(PROJECT)})
    for name in ("launch", "results"):
        with pytest.raises(ImportError, match="cannot import name 'Sweeps'"):
            exec(f"from {name} import Sweeps")


def test_a_mapping_is_the_same_sweep_as_its_file(swept_store, swept, capfd):
    parent, trials = children("fixture")
    content = yaml.safe_load(swept[1].read_text())
    content["base"] |= {"lr": np.float64(content["base"]["lr"]), "data_root": Path(content["base"]["data_root"])}
    before = repr(content)
    sweep = Sweep(content)
    plan = sweep.plan()
    assert plan.values["trials"] == {"total": 11, "to_run": 0, "finished_before": 11, "reused": 0}
    assert "sweep fixture: 0 trials to run" in str(plan) == repr(plan) == plan.text
    events = list(sweep.iterate())
    assert [event["event"] for event in events if event["event"] != "note"] == ["sweep_started", "sweep_ended"]
    assert sweep.sweep_id == events[-1]["run_id"] == parent.info.run_id and sweep.ended.values["exit_code"] == 0
    assert "re-test the best on the test split:" in sweep.ended.text
    assert {run.info.run_id for run in children("fixture")[1]} == {run.info.run_id for run in trials}
    assert repr(content) == before and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("source", ["demo", Path(PROJECT / "sweeps/demo.yaml")])
def test_overrides_are_those_of_the_command(source):
    overrides = {"epochs": 1, "base.lr": "1e-4", "search.trials": 4, "search.method": "random", "code_bits": None}
    settings = ["epochs=1", "base.lr=1e-4", "search.trials=4", "search.method=random", "code_bits=null"]
    assert Sweep(source, overrides).spec == read_sweep(Path("demo"), settings)
    lists = {"space.code": {"grid": ["u", "j"]}, "lr": np.float32(0.5)}
    assert Sweep(source, lists).spec == read_sweep(Path("demo"), ["space.code={grid: [u, j]}", "lr=0.5"])


@pytest.mark.parametrize(
    ("source", "overrides", "says"),
    [
        ("nothing", None, "no sweep file nothing; with the project come, by name, aflw2000"),
        (5, None, "a sweep is a file, the name of a shipped one or a mapping of its keys, got 5"),
        ({"name": "x", "epochs": 2}, None, "unknown key of a sweep 'epochs'"),
        ({"name": "x", "base": {"lr": object()}}, None, "must hold numbers, texts, lists and mappings alone"),
        ({"name": "x", 5: 2}, None, "must be a mapping of names to values"),
        ("demo", {"search.trails": 2}, "unknown key in search 'trails'"),
        ("demo", {"epochs": "two"}, "epochs must be a whole number, got 'two'"),
    ],
)
def test_what_is_no_sweep_is_said(source, overrides, says):
    with pytest.raises(UserError, match=says):
        Sweep(source, overrides)


def test_what_a_sweep_cannot_do_is_said(store):
    sweep = Sweep("demo")
    with pytest.raises(UserError, match=r"a kind of event must be one of .*, got 'epochs'"):
        sweep.iterate("epochs")
    with pytest.raises(UserError, match=r"sweep demo was not run by this object: run it, or use Results\('demo'\)"):
        _ = sweep.results
    with pytest.raises(UserError, match="bel-data synth --layout biwi"):
        sweep.run()


def test_epochs_come_live_and_a_sweep_that_is_left_goes_on(ray_here, store, content, capfd):
    sweep = Sweep(content)
    for event in sweep.iterate("epoch"):
        assert event["event"] == "epoch" and event["epoch"] == 1 and event["metrics"]["val/mae_groups"] > 0
        assert len(sweep.results.runs()) and sweep.ended is None, "it still runs"
        break
    assert sweep.ended.values["status"] == "KILLED" and sweep.ended.values["stopped"] == INTERRUPTED
    with pytest.raises(KeyboardInterrupt):
        for _ in sweep.iterate("trial_started"):
            os.kill(os.getpid(), signal.SIGINT)
    assert sweep.ended.values["status"] == "KILLED"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = sweep.run()
    assert isinstance(found, Results) and list(found.runs()["outcome"]) == ["finished"] * 2
    parent, trials = children("live")
    assert parent.info.run_id == sweep.sweep_id and parent.info.status == "FINISHED" and len(trials) == 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["asha", "median", "sha"])
def test_every_epoch_comes_once_where_a_scheduler_compares_trials(ray_here, store, content, scheduler):
    search = {"method": "grid", "scheduler": scheduler}
    sweep = Sweep(content | {"search": search}, {"epochs": 3})
    came = Counter((event["trial"], event["epoch"]) for event in sweep.iterate("epoch"))
    ended = {run.data.tags[TRIAL]: int(run.data.metrics["epoch"]) for run in children("live")[1]}
    assert came == {(key, epoch): 1 for key, last in ended.items() for epoch in range(1, last + 1)}


@pytest.mark.slow
def test_a_trial_that_fails_is_a_warning(ray_here, store, content, monkeypatch):
    class Spoiling(SweepCallback):
        """A callback that puts a folder where the worker of code j would write its best state."""

        def on_trial_start(self, iteration, trials, trial, **info):
            super().on_trial_start(iteration, trials, trial, **info)
            if self.sweep_runs.by_key[trial.config["key"]].config.code == "j":
                (Path(trial.config["folder"]) / CHECKPOINT).mkdir(parents=True)

    monkeypatch.setattr(driver, "SweepCallback", Spoiling)
    sweep = Sweep(content, {"epochs": 1})
    with pytest.warns(UserWarning, match=r"sweep live: j-38 bce .* failed: IsADirectoryError"):
        found = sweep.run()
    assert sorted(found.runs()["outcome"]) == ["failed", "finished"] and len(found.leaderboard()) == 1


def test_an_error_of_the_driver_is_raised(ray_here, store, content, monkeypatch):
    def broken(self, plan, source, number):
        raise ZeroDivisionError

    monkeypatch.setattr(driver.Driver, "run_stage", broken)
    sweep = Sweep(content)
    with pytest.raises(ZeroDivisionError):
        sweep.run()
    assert children("live")[0].info.status == "KILLED"


def test_a_second_interruption_does_not_wait():
    stopper = SweepStopper(SweepRuns({}, dict, str, lambda *_: "", {}))
    stopper.interrupt()
    stopper.check()
    assert stopper.reason == INTERRUPTED
    stopper.interrupt()
    with pytest.raises(KeyboardInterrupt):
        stopper.check()
