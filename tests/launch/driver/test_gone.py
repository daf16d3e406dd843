"""What a sweep does when its folder, its artifacts or its store are deleted, or its driver stands still."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress

import mlflow
import pytest
import yaml

from bel.run_layout import CHECKPOINT
from launch import sweep
from launch.driver import driver
from launch.driver.callback import SweepCallback
from launch.tracking.lease import latest_driver
from launch.tracking.store import FILES
from results.retest import evaluate
from tests.conftest import PROJECT, SWEEP, children, working_in
from tests.launch.tracking.test_lease import OTHER_HOST

pytestmark = pytest.mark.slow


@pytest.fixture
def write(rendered, cache, store):
    """Write the file of a small sweep over two seeds."""

    def write(name, epochs=2, trials=2, **base):
        base = SWEEP["base"] | {"data_root": str(rendered), "cache_dir": str(cache), "epochs": epochs} | base
        content = {"name": name, "base": base | {"head": "bel", "code": "u"}, "resources": {"cpu": 1}}
        path = store / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content | {"space": {"seed": {"grid": list(range(trials))}}}))
        return str(path)

    return write


def stored(run):
    """Names of a run's artifacts."""
    return {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}


def test_runs_deleted_in_the_middle_are_trained_again_and_stored(ray_here, write, store, monkeypatch, capsys):
    removed = []

    class Removing(SweepCallback):
        """A callback that removes the folder of all states once an epoch is left, when the first files are in it."""

        def on_trial_result(self, iteration, trials, trial, result, **info):
            super().on_trial_result(iteration, trials, trial, result, **info)
            if result["epoch"] == 2 and len(removed) < 2:
                removed.append(trial)
                shutil.rmtree(store / "runs", ignore_errors=True)

    monkeypatch.setattr(driver, "SweepCallback", Removing)
    assert sweep.main([write("removed", epochs=3)]) == 0
    assert removed and "gone from its folder: it is trained again" in capsys.readouterr().out
    parent, trials = children("removed")
    assert len(trials) == 2 and {run.info.status for run in (parent, *trials)} == {"FINISHED"}
    assert all({*FILES, CHECKPOINT} <= stored(run) for run in trials)
    for run in trials:
        steps = [m.step for m in mlflow.MlflowClient().get_metric_history(run.info.run_id, "val/mae")]
        assert steps == [1, 2, 3]
    assert evaluate.main(["--run-id", parent.info.run_id]) == 0


def test_trials_whose_artifacts_are_gone_are_trained_again_and_lent_to_nobody(ray_here, write, store, capsys):
    path, other = write("gone", epochs=1), write("other", epochs=1)
    assert sweep.main([path]) == 0
    capsys.readouterr()
    assert sweep.main([other, "--plan"]) == 0 and "2 by other sweeps" in capsys.readouterr().out
    _, (first, second) = children("gone")
    (store / "mlruns" / "gone" / first.info.run_id / "artifacts" / CHECKPOINT).unlink()
    assert sweep.main([other, "--plan"]) == 0 and "1 by other sweeps" in capsys.readouterr().out
    assert sweep.main([path, "--plan"]) == 0 and "1 trials to run" in capsys.readouterr().out
    shutil.rmtree(store / "mlruns")
    assert sweep.main([other, "--plan"]) == 0 and "0 by other sweeps" in capsys.readouterr().out
    assert sweep.main([path]) == 0
    parent, trials = children("gone")
    assert {run.info.run_id for run in trials} == {first.info.run_id, second.info.run_id}
    assert all({*FILES, CHECKPOINT} <= stored(run) for run in trials)
    assert evaluate.main(["--run-id", parent.info.run_id]) == 0


def start(path, store, *before, out="out"):
    """A driver of its own, whose words go to a file."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{store / 'mlflow.db'}", "PYTHONPATH": str(PROJECT)}
    environment.pop("RAY_ADDRESS", None)
    command = [*before, sys.executable, str(PROJECT / "launch" / "sweep.py"), path]
    with (store / out).open("w") as words:
        return subprocess.Popen(command, cwd=store, env=environment, stdout=words, stderr=words)


def wait(until, seconds=240):
    """Until something is so."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, "it does not come to that"
        time.sleep(0.2)


def epochs(store):
    """Epochs of each trial that the store has, by run; read without MLflow, which would keep a deleted file open."""
    found = {}
    with suppress(sqlite3.Error), closing(sqlite3.connect(store / "mlflow.db", timeout=60)) as database:
        for run, step in database.execute("SELECT run_uuid, step FROM metrics WHERE key = 'epoch' ORDER BY step"):
            found.setdefault(run, []).append(step)
    return found


@pytest.mark.parametrize("how", ["deleted", "emptied"])
def test_a_store_that_is_deleted_in_the_middle_is_said_and_what_was_trained_is_taken_up(write, store, how):
    path = write("lost", epochs=40)
    driver = start(path, store)
    wait(lambda: sum(map(len, epochs(store).values())) > 6)
    known = max(map(len, epochs(store).values()))
    (store / "mlflow.db").unlink()
    if how == "emptied":
        (store / "mlflow.db").touch()
    began = time.monotonic()
    assert driver.wait(timeout=600) == 1 and time.monotonic() - began < 60
    said = (store / "out").read_text()
    assert "mlflow.db is gone, or another one is in its place" in said and "Traceback" not in said, said
    again = start(path, store, out="again")
    assert again.wait(timeout=600) == 0, (store / "again").read_text()
    said = (store / "again").read_text()
    assert "taking up what was trained for a store that is gone" in said
    assert set(map(tuple, epochs(store).values())) == {tuple(range(1, 41))} and known > 3
    with closing(sqlite3.connect(store / "mlflow.db")) as database:
        (first,) = database.execute("SELECT min(timestamp) FROM metrics WHERE key = 'epoch'").fetchone()
        (begun,) = database.execute("SELECT min(start_time) FROM runs").fetchone()
    assert first < begun, "the first epochs are those that the first call trained"


def test_two_hosts_on_one_sweep_and_a_driver_that_stood_still(write, store):
    if subprocess.run([*OTHER_HOST, "true"], capture_output=True).returncode:
        pytest.skip("two hosts: this user may not unshare the name of the host")
    path = write("hosts", epochs=400, trials=1)
    first = start(path, store)
    wait(lambda: sum(map(len, epochs(store).values())) > 2)
    second = start(path, store, *OTHER_HOST, out="refused")
    assert second.wait(timeout=600) == 2
    assert f"process {first.pid} on " in (store / "refused").read_text()
    workers = subprocess.run(["ps", "--ppid", str(first.pid), "-o", "pid="], capture_output=True, text=True).stdout
    assert workers.split(), "its Ray"
    first.send_signal(signal.SIGSTOP)
    third = start(path, store, *OTHER_HOST, out="takes over")
    try:
        with working_in(store):
            parent = children("hosts")[0].info.run_id
            wait(lambda: latest_driver(mlflow.MlflowClient().get_run(parent))[0] == 2)
        done = sum(map(len, epochs(store).values()))
        wait(lambda: sum(map(len, epochs(store).values())) > done + 3)
        first.send_signal(signal.SIGCONT)
        assert first.wait(timeout=600) == 1
        assert f"process {third.pid} on elsewhere has taken this sweep over" in (store / "out").read_text()
        done = sum(map(len, epochs(store).values()))
        wait(lambda: sum(map(len, epochs(store).values())) > done + 3)
        assert all(steps == sorted(set(steps)) for steps in epochs(store).values()), "an epoch twice"
        assert len(epochs(store)) == 1
    finally:
        for each in (first, third):
            with suppress(ProcessLookupError):
                each.send_signal(signal.SIGCONT)
                each.send_signal(signal.SIGINT)
        assert third.wait(timeout=600) in (0, 130)
        first.wait(timeout=600)
