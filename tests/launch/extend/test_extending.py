"""`bel-sweep extend`: the best trials of a finished sweep go on, and are what a sweep of that many epochs trains."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import mlflow
import pytest
import torch
import yaml

from bel.config import TrainConfig
from bel.config_fields import FIELDS
from bel.data.loading import load
from bel.run_layout import (
    CHECKPOINT,
    CODE_VERSION,
    DROPPED,
    EXTENDS,
    LAST,
    OUTCOME,
    PARENT,
    SPLIT_HASH,
    SWEEP,
    TRIAL,
    VAL_GROUPS,
    VAL_IMAGES,
)
from bel.training import checkpoint
from bel.training.loop import fit
from launch import sweep
from launch.api import Sweep
from launch.extend.candidates import Source, best_trials
from launch.spec import sweep_file
from launch.spec.search import Search
from launch.tracking.parent_run import open_store
from results.commands import main as command
from tests.chaos.processes import MARK, kill, ours
from tests.conftest import PROJECT, children, working_in
from tests.conftest import SWEEP as FIXTURE

SPACE = {"code": {"grid": ["u", "j", "hex16"]}, "schedule": {"grid": ["constant", "cosine"]}}


@pytest.fixture(scope="module")
def short(ray_here, rendered, cache, tmp_path_factory):
    """The folder of a finished sweep of six trials of two epochs that keeps the states of three, and its file."""
    folder = tmp_path_factory.mktemp("short")
    base = FIXTURE["base"] | {"data_root": str(rendered), "cache_dir": str(cache), "head": "bel", "code_bits": 38}
    content = {"name": "short", "base": base, "space": SPACE, "keep": 3, "keep_state": True, "resources": {"cpu": 1}}
    (folder / "short.yaml").write_text(yaml.safe_dump(content))
    with working_in(folder):
        assert sweep.main([str(folder / "short.yaml"), "--quiet"]) == 0
    return folder


@pytest.fixture
def copied(short, tmp_path):
    """A copy of it with its store, to write into."""
    from results.store.sqlite_file import relocate

    shutil.copytree(short, tmp_path / "store")
    relocate(tmp_path / "store" / "mlflow.db")
    with working_in(tmp_path / "store"):
        yield tmp_path / "store"


def parents_and_trials():
    """Parent runs of the experiment, the oldest first, and the trials of each by name."""
    client = mlflow.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("short").experiment_id], order_by=["start_time ASC"])
    parents = [run for run in runs if SWEEP in run.data.tags]
    return parents, [
        {run.info.run_name: run for run in runs if run.data.tags.get(PARENT) == parent.info.run_id}
        for parent in parents
    ]


def errors(run, name="val/mae_groups"):
    return [
        m.value for m in sorted(mlflow.MlflowClient().get_metric_history(run.info.run_id, name), key=lambda m: m.step)
    ]


def files(run):
    return {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}


def config_of(run):
    return TrainConfig.make({name: run.data.params[name] for name in FIELDS if name in run.data.params})


def state_of(run, name, folder):
    return torch.load(mlflow.MlflowClient().download_artifacts(run.info.run_id, name, str(folder)), weights_only=True)


def same_weights(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.slow
def test_the_best_trials_keep_their_last_state_and_the_others_none(short):
    with working_in(short):
        _, (trials,) = parents_and_trials()
        kept = [run for run in trials.values() if DROPPED not in run.data.tags]
        assert len(trials) == 6 and len(kept) == 3
        for run in trials.values():
            assert files(run) & {CHECKPOINT, LAST} == ({CHECKPOINT, LAST} if run in kept else set())


@pytest.mark.slow
def test_the_best_go_on_and_equal_runs_of_that_length_and_tables_show_both(copied, capsys, tmp_path):
    assert sweep.main(["extend", "short", "--top", "3", "--epochs", "4", "--plan"]) == 0
    assert "6 epochs and 360 training images" in capsys.readouterr().out
    assert len(parents_and_trials()[0]) == 1, "a plan leaves nothing"
    assert sweep.main(["extend", "short", "--top", "3", "--epochs", "4"]) == 0
    out = capsys.readouterr().out
    (before, after), (old, new) = parents_and_trials()
    assert after.data.tags[EXTENDS] == before.info.run_id and after.info.status == "FINISHED" and len(new) == 3
    for run in new.values():
        (source,) = (one for one in old.values() if one.info.run_id == run.data.tags[EXTENDS])
        config = config_of(run)
        assert config == replace(config_of(source).longer(4), cache_dir=config.cache_dir)  # a path that decides nothing
        assert run.info.run_name.startswith(source.info.run_name)
        assert config.restarts == ((2,) if config.schedule == "cosine" else None)
        assert errors(run)[:2] == errors(source) and len(errors(run)) == 4
        whole = list(fit(config, load(config, "train")))
        assert errors(run) == [epoch.metrics["val/mae_groups"] for epoch in whole]
        assert errors(run, "train/loss") == [epoch.metrics["train/loss"] for epoch in whole]
        last, best = (state_of(run, name, tmp_path) for name in (LAST, CHECKPOINT))
        assert same_weights(last["weights"], whole[-1].state()["weights"])
        assert all(replace(checkpoint.config_of(one), cache_dir=config.cache_dir) == config for one in (last, best))
    assert "from 2 to 4 epochs" in out and "epochs=4" in out
    capsys.readouterr()
    for name in ("short", before.info.run_id, after.info.run_id):
        assert command.main(["leaderboard", name]) == 0
        board = capsys.readouterr().out
        assert board.count("epochs=4") == 3 and board.count("38 ce lr=1e-3") + board.count("38 bce lr=1e-3") == 9, board
        assert board.count("rank ") == 3
    assert command.main(["report", "short", "-o", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    assert page.count("epochs=4") >= 3 and "9 runs" in page
    ids = {run.info.run_id for run in new.values()}
    assert sweep.main(["extend", "short", "--top", "3", "--epochs", "4"]) == 0
    assert "0 trials to run" in capsys.readouterr().out
    assert {run.info.run_id for run in parents_and_trials()[1][1].values()} == ids, (
        "the same command again trains nothing"
    )


def events(lines, kind):
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [event for event in found if event["event"] == kind]


@pytest.mark.slow
def test_one_that_is_killed_goes_on_from_the_states_of_its_own(copied, capsys):
    words = ["extend", "short", "--top", "2", "--epochs", "6", "--progress", "json"]
    process = subprocess.Popen(
        [sys.executable, str(PROJECT / "launch" / "sweep.py"), *words],
        env=os.environ | {MARK: str(copied), "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    (begun,) = next(found for line in process.stderr if (found := events([line], "epoch")))
    for pid in ours(str(copied), process.pid):
        kill(pid)
    process.communicate()
    assert sweep.main(words) == 0
    (parent, longer), (_, new) = parents_and_trials()
    again = [
        event["epoch"]
        for event in events(capsys.readouterr().err.splitlines(), "epoch")
        if event["name"] == begun["name"]
    ]
    assert len(new) == 2 and begun["epoch"] == 3 and min(again, default=7) > 3, (
        "epochs of before the kill are not trained again"
    )
    for run in new.values():
        config = config_of(run)
        assert errors(run) == [epoch.metrics["val/mae_groups"] for epoch in fit(config, load(config, "train"))]
        assert len(mlflow.MlflowClient().get_metric_history(run.info.run_id, "epoch")) == 6
    assert longer.data.tags[EXTENDS] == parent.info.run_id and not list((copied / "runs").glob("short-*"))


@pytest.mark.slow
def test_from_python_a_longer_one_goes_on_again_from_the_longest(copied, capfd):
    live = Sweep(copied / "short.yaml")
    board = live.extend(3, top=2).leaderboard()
    assert len(board) == 8 and board["extends"].map(len).sum() == 2
    live.extend(5, top=2)
    assert capfd.readouterr() == ("", "")
    parents, (first, *others) = parents_and_trials()
    assert len(parents) == 3 and {run.data.tags[EXTENDS] for run in parents[1:]} == {parents[0].info.run_id}
    ids = {run.info.run_id for trials in (first, others[0]) for run in trials.values()}
    assert all(run.data.tags[EXTENDS] in ids for run in others[1].values())
    superseded = {run.data.tags[EXTENDS] for run in others[0].values()}
    assert not superseded & {run.data.tags[EXTENDS] for run in others[1].values()}
    (trial,) = [run for run in others[1].values() if "restarts" in run.data.params][:1] or list(others[1].values())[:1]
    assert errors(trial) == [
        e.metrics["val/mae_groups"] for e in fit(config_of(trial), load(config_of(trial), "train"))
    ]


@pytest.mark.slow
def test_a_trial_is_extended_by_its_id_and_one_without_a_state_only_from_the_start(copied, capsys):
    _, (trials,) = parents_and_trials()
    dropped = next(run for run in trials.values() if DROPPED in run.data.tags)
    words = ["extend", dropped.info.run_id, "--epochs", "3", "--quiet"]
    assert sweep.main(words) == 2
    assert (
        f"{dropped.info.run_name} (run {dropped.info.run_id}) cannot go on: the store has no" in capsys.readouterr().err
    )
    assert len(parents_and_trials()[0]) == 1
    assert sweep.main([*words, "--from-start"]) == 0
    (run,) = parents_and_trials()[1][1].values()
    assert (
        run.data.tags[EXTENDS] == dropped.info.run_id and errors(run)[:2] == errors(dropped) and len(errors(run)) == 3
    )


def test_a_longer_trial_that_was_cut_hides_none_that_it_goes_on_from(store):
    first = open_store(sweep_file.Sweep(name="t", search=Search()), "0" * 16, fresh=False, say=print)
    first.lease.__exit__()
    client = mlflow.MlflowClient()

    def trial(parent, name, epochs, error, **tags):
        tags = {PARENT: parent, TRIAL: f"{name}{epochs}", CODE_VERSION: "v"} | tags
        run = client.create_run(first.experiment_id, tags=tags, run_name=name).info.run_id
        params = {"epochs": epochs, "seed": 0, "protocol": "biwi", "code": name, SPLIT_HASH: "s"}
        for field, value in (params | {VAL_GROUPS: 9, VAL_IMAGES: 9}).items():
            client.log_param(run, field, value)
        for metric in ("val/best_mae", "val/best_mae_groups"):
            client.log_metric(run, metric, error)
        return run

    ends = {OUTCOME: "finished"}
    best = trial(first.parent_id, "best", 2, 4.0, **ends)
    trial(first.parent_id, "second", 2, 5.0, **ends)
    longer = client.create_run(first.experiment_id, tags={EXTENDS: first.parent_id, SWEEP: "1" * 16}).info.run_id
    cut = trial(longer, "best", 4, 3.9, **{EXTENDS: best})
    source = Source(client.get_run(first.parent_id), None)
    assert [run.info.run_id for run in best_trials(source, "t", 1, 6)] == [best]
    client.set_tag(cut, OUTCOME, "finished")
    assert [run.info.run_id for run in best_trials(source, "t", 1, 6)] == [cut]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing"], "no sweep 'nothing' in the MLflow store"),
        (["f" * 32], "no run 'ffff"),
        (["fixture", "--epochs", "2"], "no trial of fixture has fewer than 2 epochs: give more with --epochs"),
        (["fixture", "--top", "0"], "top must be a whole number from 1, got 0"),
        (["fixture", "--quiet", "--progress", "json"], "leave one of them out"),
        (["fixture"], "cannot go on: the store has no last.pt of it: `keep_state: true` in a sweep file keeps"),
        (["TRIAL", "--top", "1"], "--top is of a sweep, and"),
        (["TRIAL", "--epochs", "1"], "epochs must be more than the 2 of the run that is to go on, got 1"),
    ],
)
def test_what_cannot_be_extended_is_one_line_and_leaves_nothing(swept_store, capsys, words, says):
    _, trials = children("fixture")
    words = [trials[0].info.run_id if word == "TRIAL" else word for word in words]
    more = [] if "--epochs" in words else ["--epochs", "4"]
    assert sweep.main(["extend", *words, *more]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    lines = [line for line in lines if "preparing" not in line]  # where no test before has prepared the images
    assert len(lines) == 1 and lines[0].startswith("error: ") and says in lines[0], lines
    assert len(children("fixture")[1]) == len(trials)


def test_a_trial_of_other_code_or_files_does_not_go_on(swept_store, capsys):
    _, trials = children("fixture")
    client, run_id = mlflow.MlflowClient(), trials[0].info.run_id
    client.log_artifact(run_id, client.download_artifacts(run_id, CHECKPOINT, str(swept_store)))
    (swept_store / LAST).write_bytes(b"")
    client.log_artifact(run_id, str(swept_store / LAST))
    words = ["extend", run_id, "--epochs", "4"]
    client.set_tag(run_id, TRIAL, "0" * 16)
    assert sweep.main(words) == 2 and "are not those that it was trained with" in capsys.readouterr().err
    client.set_tag(run_id, CODE_VERSION, "old")
    assert sweep.main(words) == 2 and "it was trained with code old, and this is" in capsys.readouterr().err
