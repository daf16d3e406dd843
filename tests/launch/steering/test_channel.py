"""Commands and answers as tags, a store that is away, which sweep or trial a user means, and a driver that is gone."""

import json
import os
import subprocess
import sys
import threading

import mlflow
import pytest

from bel.errors import UserError
from bel.run_layout import COMMAND, OUTCOME, PARENT, STATUS, SWEEP, TRIAL
from launch.spec.search import Search
from launch.spec.sweep_file import Sweep
from launch.steering import channel, command_line
from launch.steering.channel import Channel, await_answer, send
from launch.steering.commands import Answer, answers_in, commands_in, new_command, user
from launch.steering.status import status
from launch.steering.targets import find_target
from launch.tracking.lease import acquire
from launch.tracking.parent_run import open_store
from launch.tracking.writer import Lost
from tests import documented
from tests.conftest import PROJECT


@pytest.fixture
def parent(store):
    """The parent run of a sweep that a driver left without a word of what it did."""
    held = open_store(Sweep(name="t", search=Search()), "0" * 16, fresh=False, say=print)
    with held.lease:
        pass
    return mlflow.MlflowClient().get_run(held.parent_id)


def tags(parent):
    return mlflow.MlflowClient().get_run(parent.info.run_id).data.tags


def trial(parent, name, key="k1", **more):
    made = {PARENT: parent.info.run_id, TRIAL: key} | more
    return mlflow.MlflowClient().create_run(parent.info.experiment_id, tags=made, run_name=name)


def listen(parent, monkeypatch, guard=lambda: None):
    monkeypatch.setattr(channel, "PERIOD", 0.1)
    monkeypatch.setattr(channel, "POLL", 0.1)
    return Channel(parent.info.run_id, tags(parent), guard)


def test_a_command_arrives_once_and_its_answer_comes_back(parent, monkeypatch):
    client, heard = mlflow.MlflowClient(), listen(parent, monkeypatch)
    heard.start()
    with acquire(client, parent.info.run_id, print):
        first, second = new_command("pause", 1, {"key": "k"}), new_command("set", 1, arguments={"trials": 3})
        for command in (second, first):
            send(client, parent.info.run_id, command)
        arrived = [heard.arrived.get(timeout=20), heard.arrived.get(timeout=20)]
        assert {one.id for one in arrived} == {first.id, second.id} and first.id < second.id and first.by == user()
        heard.reply(first.id, Answer(True, "done", "now", 1, {"key": "k"}))
        assert await_answer(client, parent, first, 20) == Answer(True, "done", "now", 1, {"key": "k"})
        assert await_answer(client, parent, second, 0.5) is None
    heard.close(5)
    assert heard.arrived.empty() and list(commands_in(tags(parent)).values()) == [first, second]
    again = Channel(parent.info.run_id, tags(parent), lambda: None)
    assert again.arrived.get() == second and again.arrived.empty(), "what nobody answered arrives at the next driver"


def test_a_store_that_is_away_is_tried_again_and_a_lost_sweep_is_left_alone(parent, monkeypatch):
    real, away = channel.MlflowClient.get_run, threading.Event()

    def get_run(self, run_id):
        if not away.is_set():
            away.set()
            raise OSError("away")
        return real(self, run_id)

    monkeypatch.setattr(channel.MlflowClient, "get_run", get_run)
    heard = Channel(parent.info.run_id, {}, lambda: None)
    monkeypatch.setattr(channel, "PERIOD", 0.1)
    heard.start()
    command = new_command("stop", 1)
    send(mlflow.MlflowClient(), parent.info.run_id, command)
    assert heard.arrived.get(timeout=20) == command and away.is_set()
    heard.close(5)

    def lost():
        raise Lost("another driver has it")

    other = listen(parent, monkeypatch, lost)
    other.start()
    other.reply(command.id, Answer(True, "done", "now", 1))
    other.thread.join(20)
    assert not other.thread.is_alive() and not answers_in(tags(parent))
    other.close(0.3)


def test_a_damaged_tag_is_no_command(parent):
    assert commands_in({COMMAND + "1": "{", COMMAND + "2": '{"what": "stop"}', "other": "x"}) == {}
    with pytest.raises(UserError, match="a command has 4000 characters at most"):
        new_command("add", 1, arguments={"values": {"code": "x" * 5000}})


def test_a_sweep_and_a_trial_are_found_by_name_and_by_the_beginning_of_their_id(parent):
    one, two = trial(parent, "u-38 s0"), trial(parent, "j's s0", "k2")
    assert (
        find_target("t").parent.info.run_id == find_target(parent.info.run_id).parent.info.run_id == parent.info.run_id
    )
    for word in (one.info.run_id, one.info.run_id[:12], "u-38 s0"):
        found = find_target(word)
        assert found.parent.info.run_id == parent.info.run_id and found.trial == {"key": "k1", "name": "u-38 s0"}
    assert find_target("j's s0").trial["key"] == "k2"
    assert find_target("not begun", "t").trial == {"name": "not begun"} and not find_target("t").trial
    trial(parent, "u-38 s0", "k3")
    with pytest.raises(UserError, match=f"'u-38 s0' is 2 trials, .*{one.info.run_id} .*give one of the run ids"):
        find_target("u-38 s0")
    with pytest.raises(UserError, match="no sweep, and no trial that has begun, is called 'nothing'"):
        find_target("nothing")
    assert two.info.run_id


def test_without_a_driver_what_lasts_is_recorded_and_a_stop_is_refused(parent, capsys):
    trial(parent, "u-38 s0")
    assert command_line.main(["pause", "u-38 s0", "--format", "json"]) == 0
    documented.check("bel-sweep pause", documented.document(capsys))
    assert command_line.main(["resume", "u-38 s0"]) == 0
    assert "no driver runs: this is recorded, and done when the same command" in capsys.readouterr().out
    command, _ = commands_in(tags(parent)).values()
    assert (command.what, command.trial["key"], command.by) == ("pause", "k1", user())
    for words, says in (
        (["stop", "t"], "no driver runs sweep t .grid.: there is nothing to stop"),
        (["prioritise", "t"], "prioritise is of a trial, and sweep t .grid. is a sweep"),
        (["set", "u-38 s0", "at_once=1"], "set is of a sweep, and this is trial u-38 s0 of sweep t"),
        (["stop", "u-38 s0", "--now"], "--now is of a sweep"),
        (["set", "t", "cpu=1"], "unknown setting of a running sweep 'cpu'"),
        (["set", "t", "trials=4"], "a grid runs whole"),
        (["add", "t", "lr"], "FIELD=VALUE is wanted, each field once, got 'lr'"),
        (["add", "t", "--value", "lr=1", "code=u"], "--value adds one value of one list"),
        (["add", "t", "--value", "lr=1"], "unknown list of this sweep 'lr'"),
    ):
        with pytest.raises(UserError, match=says):
            command_line.main(words)
    assert len(commands_in(tags(parent))) == 2, "nothing that is refused is sent"


def test_a_driver_that_does_not_answer_is_said(parent, monkeypatch):
    with (
        acquire(mlflow.MlflowClient(), parent.info.run_id, print),
        pytest.raises(UserError, match=r"no driver answers within 1 s: what you ask of sweep t .* is recorded"),
    ):
        command_line.main(["pause", "t", "--wait", "1"])


@pytest.mark.parametrize("words", [["status", "t"], ["pause", "t"]])
def test_a_command_imports_neither_torch_nor_ray(parent, words):
    code = "import sys; from launch.sweep import main; code = main(sys.argv[1:]); "
    code += "sys.exit(code or len({'torch', 'ray', 'optuna'} & set(sys.modules)))"
    environment = os.environ | {"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri(), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "sweep t" in done.stdout, done.stderr


def test_the_status_of_a_sweep_comes_from_the_store_alone(parent, capsys):
    trial(parent, "a", **{OUTCOME: "finished"})
    assert command_line.main(["status", "t"]) == 0
    said = capsys.readouterr().out
    assert (
        "no driver runs; what follows is as the trials in the store are" in said
        and "1 of 1 trials ended (1 finished)" in said
    )
    values = status(parent).values | {
        "at": "2026-01-01T00:00:00+00:00",
        "paused": True,
        "gpu_hours": 2.0,
        "trial_hours": 4.0,
    }
    values["decisions"] = [
        {"name": "a", "trial": "k", "at": "", "by": "asha", "epoch": 3, "value": 8.1321, "against": 6.31},
        {"name": "e", "trial": "m", "at": "", "by": "race", "repeats": 2, "of": 5, "value": 7.2, "against": 6.31},
    ]
    values["running"] = [{"name": "b", "trial": "l", "epoch": 1, "epochs": 4, "mae_groups": 5.0}]
    values |= {"waiting_for_resume": ["c"], "best": {"name": "a", "mae_groups": 8.1}}
    values["queue"] = {"trials": 1, "next": ["d"]}
    mlflow.MlflowClient().set_tag(parent.info.run_id, STATUS, json.dumps(values))
    assert command_line.main(["status", "t", "--format", "json"]) == 0
    found = documented.document(capsys)
    documented.check("bel-sweep status", found)
    assert found["driver_alive"] is False and found["decisions"] == values["decisions"] and SWEEP in tags(parent)
    command_line.main(["status", "t"])
    said = capsys.readouterr().out
    assert "it was noted at 2026-01-01T00:00:00+00:00" in said and "the sweep is paused" in said
    assert "a by asha after epoch 3: 8.132 against 6.310" in said and "4.00 trial hours, 2.00 GPU hours" in said
    assert "b        1/4  5.000" in said
