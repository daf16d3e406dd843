"""`warm_start`: what a sweep is told of others, on real sweeps in a real store."""

import json
import os
import subprocess
import sys

import mlflow
import pytest
import yaml

from bel.run_layout import OUTCOME, PARENT, SWEEP, TOLD_FILE, TRIAL, WARM_START
from launch import sweep
from launch.spec.sweep_file import make_sweep
from launch.warm_start.record import read
from results.commands import main as command
from tests.chaos.processes import MARK, kill, ours
from tests.conftest import PROJECT, children, study_of
from tests.conftest import SWEEP as FIXTURE

SPACE = {"head": {"choice": ["bel", "direct"]}, "code": {"choice": ["u", "hex16"]}, "lr": {"loguniform": [1e-4, 1e-2]}}


@pytest.fixture
def written(rendered, cache, swept_store):
    """Writes a sweep file beside the finished sweep `fixture`; its path."""

    def write(name="warm", space=SPACE, base=None, trials=3, method="tpe", **more):
        shared = FIXTURE["base"] | {"data_root": str(rendered), "cache_dir": str(cache), "code_bits": 38} | (base or {})
        fields = {key: value for key, value in shared.items() if key not in space}
        search = {"method": method, "trials": trials, "seed": 1}
        content = {"name": name, "base": fields, "space": space, "search": search, "resources": {"cpu": 1}}
        path = swept_store / f"{name}.yaml"
        path.write_text(yaml.safe_dump(content | {"warm_start": ["fixture"]} | more))
        return str(path)

    return write


def parents(name):
    client = mlflow.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    return [run for run in runs if SWEEP in run.data.tags]


def line_of(out):
    (found,) = [line for line in out.splitlines() if line.startswith("warm start from")]
    return found


def test_a_plan_says_how_many_are_told_and_why_others_are_not(written, capsys):
    _, trials = children("fixture")
    other = SPACE | {"code": {"choice": ["j", "had"]}}
    path = written(space=other)
    assert sweep.main([path, "--plan", "--format", "json"]) == 0
    (source,) = json.loads(capsys.readouterr().out)["warm_start"]
    assert source["name"] == "fixture" and source["told"] + sum(source["left_out"].values()) == len(trials)
    assert source["exact"] == 1, "the direct head: this space has default losses alone"
    assert source["partly"], "a code that is no choice here is drawn"
    assert mlflow.MlflowClient().get_experiment_by_name("warm") is None, "a plan leaves nothing"
    rates = {"code": {"choice": ["u", "hex16"]}, "lr": {"loguniform": [1e-5, 1e-4]}}
    assert sweep.main([written(space=rates, base={"head": "bel"}), "--plan"]) == 2
    assert "is told, 11: lr is outside its interval: leave it out" in capsys.readouterr().err


def test_of_several_with_the_same_values_the_one_that_this_sweep_would_train_is_told(written, capsys):
    space = {"head": {"choice": ["bel", "direct"]}, "code": {"choice": ["u", "j"]}, "loss": {"choice": ["ce", "l1"]}}
    assert sweep.main([written(space=space), "--plan", "--format", "json"]) == 0
    (source,) = json.loads(capsys.readouterr().out)["warm_start"]
    assert source["exact"] == 3, "u with ce and with l1 at 38 levels, and direct, though others are of 76 levels"
    same = source["left_out"].pop("another one of the same values is told")
    assert not source["left_out"] and source["told"] + same == 11 and same >= 2


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"warm_start": ["nothing"]}, "warm_start: no sweep 'nothing' in the MLflow store"),
        ({"warm_start": "fixture"}, "warm_start must be a list of names or run ids of sweeps in the same store"),
        ({"warm_start": ["a", "a"]}, "warm_start names a sweep twice"),
        (
            {"method": "random"},
            "warm_start tells a searcher of other trials, and search.method random asks none: use tpe",
        ),
        ({"method": "cmaes"}, "search.method cmaes takes intervals"),
    ],
)
def test_what_cannot_be_learned_from_is_one_line_and_leaves_nothing(written, capsys, more, says):
    assert sweep.main([written(**more)]) == 2
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if "preparing" not in line]
    assert len(lines) == 1 and lines[0].startswith("error: ") and says in lines[0], lines
    assert mlflow.MlflowClient().get_experiment_by_name("warm") is None


def test_the_key_of_a_sweep_has_what_it_learns_from_and_others_keep_theirs(written, capsys):
    from launch.tracking.store import sweep_key

    plain, warm = make_sweep(written(warm_start=None), {}), make_sweep(written(), {})
    assert plain.warm_start == () and warm.warm_start == ("fixture",)
    assert sweep_key(plain, {}, []) != sweep_key(warm, {}, [])


@pytest.mark.slow
def test_a_sweep_learns_from_another_one_and_goes_on_as_it_began(written, swept_store, capsys, ray_here):
    """The sweep is killed after its first epochs and resumed, once the store has a newer sweep of the name it learns from."""
    source, before = children("fixture")
    path = written(trials=4, base={"epochs": 3})
    process = subprocess.Popen(
        [sys.executable, str(PROJECT / "launch" / "sweep.py"), path, "--progress", "json"],
        env=os.environ | {MARK: str(swept_store), "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    next(line for line in process.stderr if '"event": "epoch"' in line)
    for pid in ours(str(swept_store), process.pid):
        kill(pid)
    process.communicate()
    (parent,) = parents("warm")
    told = read(parent)
    newer = mlflow.MlflowClient().create_run(source.info.experiment_id, run_name="newer")
    assert sweep.main([path]) == 0
    out = capsys.readouterr().out
    assert line_of(out).startswith(
        f"warm start from fixture (run {source.info.run_id}): {told.sources[0].told} configurations"
    )
    parent, trials = children("warm")
    assert read(parent) == told and json.loads(parent.data.tags[WARM_START]) == {
        source.info.run_id: ["fixture", told.sources[0].told]
    }
    assert len(trials) == 4 and {run.data.tags[OUTCOME] for run in trials} == {"finished"}
    study = study_of(parent)
    own = [trial for trial in study.get_trials() if "values" in trial.user_attrs]
    assert len(own) == len(study.get_trials()) == 4, "what it was told is no trial of its study"
    assert {run.info.run_id for run in children_of(source)} == {run.info.run_id for run in before}
    assert command.main(["leaderboard", "warm", "--format", "json"]) == 0
    board = json.loads(capsys.readouterr().out)
    ids = {run.info.run_id for run in before}
    assert not any(run_id in json.dumps(board) for run_id in ids)
    mlflow.MlflowClient().delete_run(newer.info.run_id)
    mlflow.MlflowClient().delete_run(source.info.run_id)
    assert sweep.main([path, "--plan"]) == 0, "once it has begun it needs the other sweep no more"
    assert "0 trials to run" in capsys.readouterr().out


def children_of(parent):
    where = f"tags.`{PARENT}` = '{parent.info.run_id}'"
    return mlflow.search_runs([parent.info.experiment_id], where, output_format="list")


@pytest.mark.slow
def test_trials_that_a_sweep_would_train_itself_are_told_as_they_were_measured(written, capsys, ray_here):
    first = written("first", trials=6, warm_start=None)
    assert sweep.main([first, "--quiet"]) == 0
    wider = SPACE | {"code": {"choice": ["u", "hex16", "j"]}, "lr": {"loguniform": [1e-5, 1e-2]}}
    path = written("second", space=wider, trials=2, warm_start=["first"])
    assert sweep.main([path]) == 0
    parent, trials = children("second")
    (stage,), (source,) = read(parent).stages, read(parent).sources
    assert (source.told, source.exact, source.partly, source.left_out) == (6, 6, 0, {})
    measured = {run.info.run_id: run.data.metrics["val/best_mae_groups"] for run in children("first")[1]}
    assert {one.run_ids[0]: one.results[0] for one in stage} == pytest.approx(measured)
    assert len(trials) == 2 and TOLD_FILE in {f.path for f in mlflow.MlflowClient().list_artifacts(parent.info.run_id)}
    assert not {run.data.tags[TRIAL] for run in trials} & {run.data.tags[TRIAL] for run in children("first")[1]}
    assert sweep.main([path, "--quiet", "--set", "search.trials=3"]) == 0
    assert len(children("second")[1]) == 3 and read(children("second")[0]) == read(parent)
