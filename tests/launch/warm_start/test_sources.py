"""Which configurations of other sweeps are told, by the runs that a real store has of them, which nobody trained."""

import json
from dataclasses import asdict, replace

import mlflow
import pytest

from bel.errors import UserError
from bel.run_layout import OUTCOME, PARENT, TRIAL, VAL_GROUPS, Outcome
from launch.schedule.guide import Told, shape
from launch.spec.combinations import make_plan
from launch.spec.sampling import plans_by_protocol
from launch.spec.sweep_file import parse
from launch.tracking.parent_run import open_store
from launch.warm_start.record import record, told, warm_start
from results.store.connect import connect

BASE = {"backbone": "resnet10", "weights": "none", "code": "u", "epochs": 9}
RATES = {"lr": {"loguniform": [1e-5, 1e-3]}}


def made(name, space=RATES, **more):
    """A search."""
    search = {"method": "tpe", "trials": 4, "seed": 1}
    return parse({"name": name, "base": BASE | {"schedule": "cosine"}, "space": space, "search": search} | more)


@pytest.fixture
def sweep_of_runs(store):
    """Stores a sweep with trials of some errors and parameters."""

    def make(name, key, *trials):
        connect(write=True)
        client = mlflow.MlflowClient()
        held = open_store(made(name), key * 16, fresh=False, say=print)
        held.lease.__exit__()
        for number, params in enumerate(trials):
            tags = {PARENT: held.parent_id, TRIAL: f"{key}{number}", OUTCOME: "finished"}
            run = client.create_run(held.experiment_id, tags=tags, run_name=f"{number}").info.run_id
            error = params.pop("error")
            for field, value in ({"lr": "0.0002", "seed": 0, "code": "u", VAL_GROUPS: 9} | params).items():
                client.log_param(run, field, value)
            for metric in ("val/best_mae_groups", "epoch"):
                client.log_metric(run, metric, error)
            client.set_terminated(run, "FINISHED")
        return held

    return make


def ask(sweep, key, fresh=False):
    """What a sweep of a key is told."""
    return warm_start(sweep, plans_by_protocol(sweep, make_plan(sweep)), lambda config: "x", key * 16, fresh)


def test_the_folds_of_a_configuration_are_one(sweep_of_runs):
    errors = ({"error": error, "fold": f, "folds": 2, "clamped_yaw": f"0.0{f}"} for f, error in enumerate((3.0, 9.0)))
    sweep_of_runs("folds", "0", *errors)
    found = ask(made("t", warm_start=["folds"]), "1")
    ((one,),) = found.stages
    assert len(one.run_ids) == 2 and one.results == (6.0,) and not found.sources[0].left_out


def test_what_was_selected_on_the_test_split_is_not_told(sweep_of_runs):
    sweep_of_runs("mixed", "0", {"error": 3.0, "selection": "test"}, {"error": 4.0, "selection": "val", "lr": "0.0003"})
    found = ask(made("t", warm_start=["mixed"]), "1")
    assert [one.results for one in found.stages[0]] == [(4.0,)]
    assert found.sources[0].left_out == {"it was selected on the test split": 1}


def test_its_own_name_means_the_sweep_before_it_also_where_it_was_killed_and_with_fresh(sweep_of_runs):
    before, sweep = sweep_of_runs("t", "0", {"error": 3.0}), made("t", warm_start=["t"])
    first = ask(sweep, "1")
    held = sweep_of_runs("t", "1")  # killed before it has written what it was told
    assert [ask(sweep, "1", fresh) for fresh in (False, True)] == [first, first]
    assert first.sources[0].run_id == before.parent_id
    assert record(first, held.parent_id) == first == ask(sweep, "1") == ask(sweep, "1", fresh=True)
    assert record(replace(first, sources=[]), held.parent_id) == first, "another driver had recorded what counts"
    with pytest.raises(UserError, match="warm_start: no other sweep 'new' is in the MLflow store"):
        sweep_of_runs("new", "5")
        ask(made("new", warm_start=["new"]), "5")
    with pytest.raises(UserError, match="warm_start names this sweep itself"):
        ask(made("t", warm_start=[held.parent_id]), "1", fresh=True)


def test_values_that_are_tuples_are_those_that_were_written():
    sweep = made("t", RATES | {"restarts": {"choice": ["2", "3"]}})
    values = {"restarts": sweep.space["restarts"].values[0], "lr": 2e-4}
    one = Told("s", ("r",), values, Outcome.FINISHED, (3.0,), 9, False)
    again = told(json.loads(json.dumps(asdict(one))))
    assert again == one and shape(sweep, make_plan(sweep), again.values).params
