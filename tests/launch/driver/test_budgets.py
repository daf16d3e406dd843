"""What ends a sweep early, what it keeps, what it lends, and what it tells at its end: real small sweeps."""

import mlflow
import pytest
import torch

from bel.run_layout import CHECKPOINT, DROPPED, HOURS, REUSED_FROM, SWEEP_FILE, TRIAL
from launch.driver import driver
from launch.driver.callback import SweepCallback
from results.retest import evaluate
from tests.conftest import children, study_of
from tests.launch.schedule.test_searches import history, started  # noqa: F401 - a fixture

FIVE = {"code": {"grid": ["u", "j", "hex16", "b1jdj", "had"]}}


def states(name):
    """Status of the parent, and of the children in order of their names."""
    parent, trials = children(name)
    return parent.info.status, sorted(trial.info.status for trial in trials)


def has_checkpoint(run):
    return CHECKPOINT in {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}


@pytest.mark.slow
def test_budgets_end_a_sweep_well_and_more_of_them_goes_on(started, capsys):  # noqa: F811
    space, base = FIVE, {"epochs": 1}
    assert started("few", space, base=base, budget={"trials": 2}) == 0
    assert states("few") == ("FINISHED", ["FINISHED"] * 2)
    assert "2 trials to run" in capsys.readouterr().out
    assert started("few", space, base=base, budget={"trials": 2}) == 0 and states("few")[1] == ["FINISHED"] * 2
    assert "0 trials to run" in capsys.readouterr().out
    assert started("few", space, "--set", "budget.trials=3", base=base) == 0
    assert states("few") == ("FINISHED", ["FINISHED"] * 3)
    assert "1 trials to run" in capsys.readouterr().out


class Hourly(SweepCallback):
    """A callback for which an epoch takes an hour."""

    def on_trial_result(self, iteration, trials, trial, result, **info):
        super().on_trial_result(iteration, trials, trial, result, **info)
        self.hours_before += 1


@pytest.mark.slow
def test_hours_stop_after_the_present_epochs_and_more_hours_go_on(started, capsys, monkeypatch):  # noqa: F811
    assert started("brief", FIVE, base={"epochs": 4}, budget={"hours": 1e-6}) == 0
    parent, trials = children("brief")
    assert parent.info.status == "FINISHED" and not trials, "it was over before the first"
    said = capsys.readouterr()
    assert "budget.hours 1e-06 are over" in said.err and "the same command goes on" in said.err
    monkeypatch.setattr(driver, "SweepCallback", Hourly)
    assert started("brief", FIVE, base={"epochs": 4}, budget={"hours": 0.9}) == 0
    again, trials = children("brief")
    assert again.info.run_id == parent.info.run_id and again.info.status == "FINISHED"
    assert 1 <= len(trials) <= 2 and {trial.info.status for trial in trials} == {"KILLED"}
    steps = [history(trial)[0] for trial in trials]
    assert all(done in ([1], [1, 2]) for done in steps), "the epoch that is on its way is the last"
    assert 0 < float(again.data.tags[HOURS]) - sum(map(len, steps)) < 0.5
    assert started("brief", FIVE, "--set", "budget.trials=2", base={"epochs": 4}, budget={"hours": 99}) == 0
    again, trials = children("brief")
    assert again.info.run_id == parent.info.run_id and len(trials) == 2
    assert {trial.info.status for trial in (again, *trials)} == {"FINISHED"}
    assert all(history(trial)[0] == [1, 2, 3, 4] for trial in trials)
    assert 0 < float(again.data.tags[HOURS]) - 8 < 0.5, "no epoch twice"


def test_a_gpu_that_is_gone_stops_the_sweep_and_fails_no_trial(started, capsys):  # noqa: F811
    if torch.cuda.is_available():
        pytest.skip("there is a GPU: Ray does not only believe in one")
    assert started("gone", FIVE, base={"device": "auto"}, resources={"cpu": 0.5, "gpu": 0.25, "mps": False}) == 1
    err = capsys.readouterr().err
    assert "no GPU is seen on this machine" in err and "once one is seen again, the same command" in err, err
    parent, trials = states("gone")
    assert parent == "KILLED" and set(trials) <= {"KILLED"}, trials


@pytest.mark.slow
def test_patience_ends_a_sweep_that_finds_nothing_better(started, capsys):  # noqa: F811
    space = {"lr": {"grid": [1e-3, *(n * 1e-9 for n in range(1, 13))]}}
    assert started("patient", space, base={"epochs": 1, "schedule": "constant"}, budget={"patience": 2}) == 0
    parent, trials = children("patient")
    assert parent.info.status == "FINISHED" and {t.info.status for t in trials} == {"FINISHED"}
    ended = sorted(trials, key=lambda trial: trial.info.end_time)
    best = min(ended, key=lambda trial: trial.data.metrics["val/best_mae_groups"])
    after = len(ended) - 1 - ended.index(best)
    assert 2 <= after <= 4 and len(ended) < 13, "two of patience; one that runs and one that waits are not cut"
    capsys.readouterr()
    assert started("patient", space, base={"epochs": 1, "schedule": "constant"}, budget={"patience": 2}) == 0
    assert len(children("patient")[1]) == len(trials), "the same command finds the same end"


@pytest.mark.slow
def test_only_the_best_checkpoints_are_kept_and_the_end_is_told(started, store, capsys):  # noqa: F811
    command = f"env | grep ^BEL_ | sort > {store / 'told'}"
    assert started("keeps", FIVE, base={"epochs": 2}, keep=2, on_end=command) == 0
    parent, trials = children("keeps")
    ranked = sorted(trials, key=lambda run: run.data.metrics["val/best_mae_groups"])
    assert len(trials) == 5 and [has_checkpoint(run) for run in ranked] == [True, True, False, False, False]
    assert [DROPPED in run.data.tags for run in ranked] == [False, False, True, True, True]
    assert all(history(run)[0] == [1, 2] and run.data.metrics["val/best_epoch"] for run in trials)
    told = dict(line.split("=", 1) for line in (store / "told").read_text().splitlines())
    assert told == {
        "BEL_SWEEP": "keeps",
        "BEL_PARENT": parent.info.run_id,
        "BEL_EXIT": "0",
        "BEL_STATUS": "FINISHED",
        "BEL_BEST": f"{ranked[0].data.metrics['val/best_mae_groups']:.6g}",
        "BEL_BEST_RUN": ranked[0].info.run_id,
        "BEL_BEST_NAME": ranked[0].info.run_name,
    }
    assert "on_end" not in mlflow.artifacts.load_dict(f"{parent.info.artifact_uri}/{SWEEP_FILE}"), "it may hold a token"
    capsys.readouterr()
    assert evaluate.main(["--run-id", ranked[4].info.run_id]) == 2
    err = capsys.readouterr().err.strip()
    assert err.startswith("error: ") and f"has no {CHECKPOINT}" in err and "\n" not in err
    assert evaluate.main(["--run-id", parent.info.run_id]) == 0
    capsys.readouterr()
    assert started("keeps", FIVE, base={"epochs": 2}, keep=2, on_end="exit 7") == 0, "which changes nothing"
    assert "on_end ended with exit code 7: exit 7" in capsys.readouterr().err
    assert states("keeps") == ("FINISHED", ["FINISHED"] * 5)
    capsys.readouterr()
    assert started("borrower", FIVE, "--plan", base={"epochs": 2}) == 0
    assert "2 by other sweeps" in capsys.readouterr().out, "what has no checkpoint is not lent"


@pytest.mark.slow
def test_a_fresh_sweep_trains_again_and_is_the_one_that_goes_on(started):  # noqa: F811
    two = {"code": {"grid": ["u", "j"]}}
    assert started("anew", two, base={"epochs": 1}, budget={"trials": 1}) == 0
    parent, _ = children("anew")
    assert started("anew", two, "--fresh", base={"epochs": 1}, budget={"trials": 1}) == 0
    assert started("anew", two, base={"epochs": 1}) == 0
    runs = mlflow.MlflowClient().search_runs([parent.info.experiment_id])
    fresh = next(r for r in runs if "mlflow.parentRunId" not in r.data.tags and r.info.run_id != parent.info.run_id)
    by_parent = {parent.info.run_id: [], fresh.info.run_id: []}
    for run in runs:
        if "mlflow.parentRunId" in run.data.tags:
            by_parent[run.data.tags["mlflow.parentRunId"]].append(run)
    assert [len(found) for found in by_parent.values()] == [1, 2] and len(runs) == 5
    assert all(REUSED_FROM not in run.data.tags for run in runs) and {run.info.status for run in runs} == {"FINISHED"}


@pytest.mark.slow
def test_what_another_sweep_trained_is_lent_with_all_that_it_has(started, capsys):  # noqa: F811
    two = {"code": {"grid": ["u", "j"]}}
    assert started("lender", two, base={"epochs": 2}) == 0
    capsys.readouterr()
    assert started("borrower", two, base={"epochs": 2}, search={"method": "tpe", "trials": 5}) == 0
    parent, borrowed = children("borrower")
    lent = {run.data.tags[TRIAL]: run for run in children("lender")[1]}
    assert len(borrowed) == 2 and {run.info.status for run in (parent, *borrowed)} == {"FINISHED"}
    for run in borrowed:
        source = lent[run.data.tags[TRIAL]]
        assert run.data.tags[REUSED_FROM] == source.info.run_id and run.data.metrics == source.data.metrics
        for name in source.data.metrics:
            assert history(run, name) == history(source, name)
        assert has_checkpoint(run) and run.data.params == source.data.params
    capsys.readouterr()
    assert evaluate.main(["--run-id", borrowed[0].info.run_id]) == 0
    assert "repeats the logged" in capsys.readouterr().out
    assert "test/mae" in mlflow.get_run(borrowed[0].info.run_id).data.metrics
    assert started("grid", two, base={"epochs": 2}) == 0
    said = capsys.readouterr().out
    assert "0 trials to run" in said and "2 by other sweeps" in said
    grid = {run.data.tags[REUSED_FROM] for run in children("grid")[1]}
    assert grid == {run.info.run_id for run in lent.values()}, "of those who trained them, not of another borrower"
    trials = [t for t in study_of(parent).get_trials() if "values" in t.user_attrs]
    assert sorted(t.value for t in trials) == pytest.approx(
        sorted(r.data.metrics["val/best_mae_groups"] for r in borrowed)
    )
