"""Which sweep or trial a word means, in a real store."""

import mlflow
import pytest

from bel.config import TrainConfig
from bel.errors import UserError
from bel.run_layout import COMMAND, PARENT
from launch import sweep
from launch.spec.extension import extension
from launch.spec.search import Search
from launch.spec.sweep_file import Sweep
from launch.steering.client import ask
from launch.steering.stored_sweep import stored_sweep
from launch.steering.targets import find_target
from launch.tracking.parent_run import open_store
from results.store.connect import connect


def opened(sweep, number):
    """A sweep whose driver this process is."""
    return open_store(sweep, str(number) * 16, fresh=False, say=print)


@pytest.fixture
def sweeps(store):
    """Opens sweeps and closes them at the end."""
    held = []

    def make(sweep, number):
        held.append(opened(sweep, number))
        return held[-1]

    yield make
    for one in held:
        one.lease.__exit__()


def test_a_name_is_of_the_sweep_that_runs_also_where_it_makes_another_one_longer(sweeps):
    first = sweeps(Sweep(name="t", search=Search()), 0)
    assert find_target("t").parent.info.run_id == first.parent_id
    first.lease.__exit__()
    config = TrainConfig.make({"epochs": 4, "code": "u", "weights": "none", "backbone": "resnet10", "restarts": (2,)})
    longer = sweeps(extension({}, "t", first.parent_id, 4, [config]), 1)
    target = find_target("t")
    assert target.parent.info.run_id == longer.parent_id
    assert stored_sweep(target.parent).name == "t", "it can be steered"
    another = sweeps(Sweep(name="t", search=Search()), 2)
    with pytest.raises(UserError, match=f"'t' is 2 sweeps, .*{another.parent_id}.*: give one of the run ids"):
        find_target("t")
    assert find_target(another.parent_id[:12]).parent.info.run_id == another.parent_id


def test_a_run_of_another_tool_and_one_beside_the_trials_are_no_target_and_get_no_command(sweeps):
    connect(write=True)
    client = mlflow.MlflowClient()
    run = client.create_run(client.create_experiment("other-tool"), run_name="x")
    parent = sweeps(Sweep(name="t", search=Search()), 0)
    beside = client.create_run(parent.experiment_id, tags={PARENT: parent.parent_id}, run_name="test")
    for word in ("other-tool", run.info.run_id, beside.info.run_id):
        with pytest.raises(UserError, match="is a run of MLflow, and no sweep or trial of one"):
            ask(find_target(word), "pause")
    for one in (run, beside):
        assert not any(tag.startswith(COMMAND) for tag in client.get_run(one.info.run_id).data.tags)


def test_a_command_that_is_mistyped_is_answered_with_the_one_that_is_meant(capsys):
    for words in (["statsu", "mini"], ["prioritize", "RUN", "--sweep", "mini"]):
        assert sweep.main(words) == 2
        said = capsys.readouterr().err
        assert f"no command and no sweep file {words[0]}; did you mean" in said and said.count("\n") == 1
    with pytest.raises(SystemExit):
        sweep.main(["--set", "epochs=1"])
    assert "did you mean" not in capsys.readouterr().err, "an option is no mistyped command"
