"""A running sweep of a second process, steered through every command, killed on the way, and taken up again."""

import json
import os
import signal
import time

import mlflow
import pytest
import yaml

from bel.run_layout import OUTCOME, PARENT, STATUS, STOPPED_BY, WATCH
from launch.api import Sweep
from launch.steering import command_line
from launch.steering.commands import answers_in, commands_in, user
from tests.conftest import SWEEP, children
from tests.launch.driver.test_gone import start

EPOCHS = 24
PATIENCE = 900  # seconds until a state is reached, on a machine that is busy with others


@pytest.fixture
def path(rendered, cache, store):
    """A grid of four trials that take a while."""
    base = SWEEP["base"] | {"data_root": str(rendered), "cache_dir": str(cache), "epochs": EPOCHS, "head": "bel"}
    space = {"code": {"grid": ["u", "j", "b1jdj", "hex16"]}}
    content = {"name": "steered", "base": base | {"code_bits": 38}, "space": space, "resources": {"cpu": 1}}
    path = store / "steered.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture
def run(path, store):
    """Begin a driver in another process; what is left of it at the end is killed."""
    drivers = []

    def run(out):
        drivers.append(start(str(path), store, out=out))
        return drivers[-1]

    yield run
    for driver in drivers:
        driver.kill()
        driver.wait()


def until(reached, what, driver=None):
    """Wait until a state of the store is reached, and return it."""
    end = time.monotonic() + PATIENCE
    while not (found := reached()):
        assert time.monotonic() < end, what
        assert driver is None or driver.poll() is None, f"the driver ended before {what}"
        time.sleep(0.3)
    return found


def trials():
    """The trials that have begun, by code."""
    runs = mlflow.search_runs(
        filter_string=f"tags.`{PARENT}` LIKE '%'", search_all_experiments=True, output_format="list"
    )
    return {run.data.params["code"]: run for run in runs if "code" in run.data.params}


def epoch(code):
    """The last epoch in the store of a trial."""
    return trials()[code].data.metrics.get("epoch", 0) if code in trials() else 0


def steer(capsys, *words):
    """Exit code, and what a command prints."""
    capsys.readouterr()
    code = command_line.main(words)
    return code, capsys.readouterr().out


def running():
    """Codes of the trials that run."""
    return {code for code, run in trials().items() if run.info.status == "RUNNING"}


@pytest.mark.slow
def test_every_command_is_done_within_an_epoch_and_outlasts_a_killed_driver(ray_here, path, run, capsys, store):
    driver = run("first")
    until(lambda: epoch("u") and epoch("j"), "two trials run", driver)
    assert "its driver is process" in steer(capsys, "status", "steered")[1]
    # one trial pauses, by its run id, and another takes its place
    code, said = steer(capsys, "pause", trials()["u"].info.run_id[:8])
    assert code == 0 and "u-38 bce lr=1e-3 s0 pauses after its present epoch" in said
    until(lambda: trials()["u"].info.status == "SCHEDULED" and epoch("b1jdj"), "another trial begins", driver)
    stood = epoch("u")
    # a configuration outside the lists and a value of a list are added; the last one is to be the next
    assert "had-38" in steer(capsys, "add", "steered", "code=had", "lr=0.002")[1]
    assert "1 configurations" in steer(capsys, "add", "steered", "--value", "code=gray")[1]
    assert "is the next trial" in steer(capsys, "prioritise", "gray-38 bce lr=1e-3 s0", "--sweep", "steered")[1]
    # one trial is stopped by its name: the prioritised one begins
    name = trials()["j"].info.run_name
    assert "stops after its present epoch" in steer(capsys, "stop", name)[1]
    until(lambda: trials()["j"].data.tags.get(OUTCOME) == "stopped" and epoch("gray"), "the first one begins", driver)
    assert json.loads(trials()["j"].data.tags[STOPPED_BY]) == {"by": user(), "epoch": epoch("j")}
    assert not {"hex16", "had"} & set(trials())
    # one at once: the one that began first goes on
    assert "at most 1 run at once" in steer(capsys, "set", "steered", "at_once=1")[1]
    until(lambda: running() == {"gray"}, "one runs", driver)
    # the whole sweep
    assert "no trial begins" in Sweep(str(path)).pause().text
    until(lambda: not running(), "none runs", driver)
    parent = children("steered")[0]
    noted = lambda: mlflow.MlflowClient().get_run(parent.info.run_id).data.tags  # noqa: E731
    until(lambda: json.loads(noted()[STATUS])["paused"], "the pause is noted", driver)
    assert "the sweep is paused" in noted()[WATCH]
    # killed, it comes back as it was
    before = {code: epoch(code) for code in trials()}
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert "no driver runs" in steer(capsys, "status", "steered")[1]
    assert "this is recorded" in steer(capsys, "add", "steered", "code=b2jdj")[1]
    planned = Sweep(str(path)).plan().values["trials"]
    assert (planned["total"], planned["to_run"], planned["finished_before"]) == (7, 6, 1), "with what was added"
    driver = run("second")
    until(
        lambda: "the sweep is paused: no trial begins" in (store / "second").read_text(), "it is paused again", driver
    )
    assert "\n5 trials to run with what users added and set in earlier calls" in (store / "second").read_text()
    time.sleep(3)
    assert not running() and {code: epoch(code) for code in trials()} == before
    assert "it goes on" in steer(capsys, "resume", "steered")[1]
    until(lambda: len(running()) == 1, "one runs again", driver)
    assert "as many as fit" in steer(capsys, "set", "steered", "at_once=none")[1]
    until(lambda: len(running()) == 2, "two run again", driver)
    assert "u-38 bce lr=1e-3 s0 goes on" in steer(capsys, "resume", trials()["u"].info.run_id)[1]
    until(
        lambda: all(run.data.tags.get(OUTCOME) for run in trials().values()) and len(trials()) == 7,
        "all have ended",
        driver,
    )
    assert driver.wait(PATIENCE) == 0
    assert epoch("u") == EPOCHS > stood and trials()["j"].data.tags[OUTCOME] == "stopped"
    assert trials()["had"].data.params["lr"] == "0.002"
    for run in trials().values():
        steps = [point.step for point in mlflow.MlflowClient().get_metric_history(run.info.run_id, "val/mae")]
        assert steps == list(range(1, len(steps) + 1)), "nothing is lost or twice"
    tags = mlflow.MlflowClient().get_run(parent.info.run_id).data.tags
    assert len(commands_in(tags)) == len(answers_in(tags)) == 11
    assert {one.by for one in commands_in(tags).values()} == {user()}
