"""Folders that hold what is whole or nothing, a disk that fills up, and a store that is away for a while."""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow.entities import Metric

from bel.config import TrainConfig
from bel.run_layout import CHANGES, CHECKPOINT, CODE_FIGURE, CURVE_FIGURE, END, LAST, OUTCOME, SPLIT, Outcome
from launch.runs import Run, SweepRuns
from launch.tracking.logger import END_FIELDS, RunLogger
from launch.tracking.store import FILES, Store
from launch.tracking.trial_folder import Folder
from launch.tracking.writer import Writer
from tests.conftest import PROJECT, SWEEP, children, working_in


@pytest.fixture(params=["path", "file", "memory"])
def folder(request, tmp_path):
    """A folder that is not there yet: by its path, by a URL, and in a store that is no disk."""
    name = f"{uuid.uuid4().hex}/trials"
    urls = {"path": f"{tmp_path}/{name}", "file": f"file://{tmp_path}/{name}", "memory": f"memory://{name}"}
    return Folder(urls[request.param])


def half(path):
    """Write half of a file."""
    path.write_text("{half")
    raise RuntimeError("killed")


def test_a_file_is_whole_or_the_older_one(folder):
    assert folder.names() == [] and folder.read_json("a.json") is None
    folder.remove()
    folder.write_json("a.json", {"x": 1})
    with pytest.raises(RuntimeError):
        folder.write("a.json", half)
    assert folder.read_json("a.json") == {"x": 1} and folder.names() == ["a.json"]
    with pytest.raises(RuntimeError):
        folder.write("b.json", half)
    assert folder.names() == ["a.json"]
    folder.write_json("a.json", [2])
    assert folder.read_json("a.json") == [2]


def test_a_file_is_written_again_where_its_folder_is_removed_meanwhile(folder):
    written = []

    def put(path):
        path.write_text("{}")
        written.append(path)
        if len(written) == 1:
            shutil.rmtree(path.parent)

    folder.write("a.json", put)
    assert folder.read_json("a.json") == {} and len(written) == 2 and folder.names() == ["a.json"]


def test_folders_within_are_the_same_for_whoever_is_told_their_url(folder):
    inner = folder.of("one")
    inner.write_json("a.json", 1)
    folder.of("two").write_json("b.json", 2)
    folder.write_json("c.json", 3)
    again = Folder(inner.url)
    assert again.url == inner.url and again.read_json("a.json") == 1 and inner.url.endswith("/trials/one")
    with Folder(folder.url).of("two").reading("b.json") as path:
        assert path.read_text() == "2"
    assert folder.names() == ["c.json", "one", "two"]
    inner.remove()
    assert folder.names() == ["c.json", "two"] and inner.names() == [] and inner.read_json("a.json") is None
    folder.remove()
    assert folder.names() == [] == Folder(folder.url).names()


def test_a_relative_path_is_told_to_others_as_an_absolute_one(store):
    folder = Folder("runs").of("x")
    assert folder.url == str(Path.cwd() / "runs" / "x") and folder.local


def test_what_another_process_has_not_finished_is_no_file(tmp_path):
    folder = Folder(str(tmp_path))
    (tmp_path / ".last.pt.4711").write_bytes(b"half")  # of a process that was killed
    assert folder.names() == [] and folder.read_json(LAST) is None


# ------------------------------------------------------------------------------------------------------- the writer


@pytest.fixture
def made(store):
    """A client, an experiment and a run in a store of the test's own."""
    client = mlflow.MlflowClient()
    experiment = client.create_experiment("t")
    return client, experiment, client.create_run(experiment)


def test_a_locked_store_only_delays(made, store):
    client, _, run = made
    lock = sqlite3.connect(store / "mlflow.db", timeout=30, isolation_level=None, check_same_thread=False)
    lock.execute("BEGIN EXCLUSIVE")
    release = threading.Timer(8, lambda: lock.execute("ROLLBACK"))  # longer than SQLite itself waits
    release.start()
    writer, said = Writer(), []
    for step in range(1, 6):
        metric = Metric("m", float(step), step, step)
        writer.put(lambda client, metric=metric: client.log_batch(run.info.run_id, metrics=[metric]))
    began = time.monotonic()
    assert writer.drain(60, said.append) and time.monotonic() - began > 4
    lock.close()
    history = client.get_metric_history(run.info.run_id, "m")
    assert [(m.step, m.value) for m in history] == [(n, n) for n in range(1, 6)] and not writer.refused


def test_a_store_that_stays_away_is_given_up_and_said(store, monkeypatch):
    mlflow.set_tracking_uri("http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    writer, said = Writer(), []
    writer.put(lambda client: client.set_tag("x", "a", "b"))
    assert not writer.drain(6, said.append)
    assert len(said) == 1 and said[0].startswith("the MLflow store does not answer (") and "6 s at most" in said[0]
    writer.done = lambda write, client: True  # lets its thread rest


def test_a_write_that_is_refused_for_good_blocks_none(made):
    client, _, run = made
    writer = Writer()
    writer.put(lambda client: client.set_tag("0" * 32, "a", "b"))
    writer.put(lambda client: client.set_tag(run.info.run_id, "a", "b"))
    writer.put(lambda client: {}["a bug of ours"])
    writer.put(lambda client: client.set_tag(run.info.run_id, "c", "d"))
    assert writer.drain(30, print)
    tags = client.get_run(run.info.run_id).data.tags
    assert (tags["a"], tags["c"]) == ("b", "d") and len(writer.refused) == 2
    assert "0" * 32 in writer.refused[0] and "a bug of ours" in writer.refused[1]


def a_run(make, key="k"):
    """A run of three epochs."""
    names = ("val/mae", "val/best_mae_groups", "train/loss")
    history = [{"epoch": float(n), "time": float(n), **dict.fromkeys(names, 9.0 - n)} for n in (1, 2, 3)]
    return Run(key, make(), "name", {"split_hash": "s", "protocol": "biwi"}, key, history, begun=1.0)


def fill(folder, *left_out):
    """Write what a run that came to an error leaves in its folder."""
    for name in {*FILES, CHECKPOINT} - {*left_out}:
        folder.write_json(name, {})


def test_every_write_of_a_run_may_be_done_twice(made, store, make):
    client, experiment, parent = made
    diff = "Größe".encode("latin-1")
    logger = RunLogger(Store(experiment, parent.info.run_id, {}, {}), Folder("runs/trials"), {}, diff)
    run = a_run(make)
    fill(logger.folder.of("k"))
    for _ in range(2):
        logger.queued_epochs.clear()
        logger.begin(run)
        logger.epochs(run)
    run.outcome = Outcome.FINISHED
    assert logger.folder.names() == ["k"]
    logger.end(run)
    assert logger.writer.drain(60, print) and not logger.writer.refused
    (child,) = [r for r in client.search_runs([experiment]) if r.info.run_id != parent.info.run_id]
    assert [m.step for m in client.get_metric_history(child.info.run_id, "val/mae")] == [1, 2, 3]
    assert child.info.status == "FINISHED" and child.data.tags[OUTCOME] == Outcome.FINISHED
    found = {f.path for f in client.list_artifacts(child.info.run_id)}
    assert found == {*FILES, CHECKPOINT, CHANGES, CODE_FIGURE, CURVE_FIGURE}
    assert Path(client.download_artifacts(child.info.run_id, CHANGES)).read_bytes() == diff
    assert logger.folder.names() == [], "what is written needs no folder"


def test_what_an_earlier_call_did_not_come_to_write_is_written_by_the_next(made, store, make):
    client, experiment, parent = made
    run, folder = a_run(make), Folder("runs/trials")
    run.outcome = Outcome.FINISHED
    fill(folder.of("k"))
    ending = {name: getattr(run, name) for name in END_FIELDS}
    folder.of("k").write_json(END, ending | {"values": run.config.as_dict()})
    folder.of("other").write_json(SPLIT, {})  # of a run that has not ended
    logger = RunLogger(Store(experiment, parent.info.run_id, {}, {}), folder, {}, b"")
    facts = {"split_hash": "s"}
    sweep_runs = SweepRuns({}, lambda configs: {}, lambda config: "name", lambda config, facts: "k", {})
    sweep_runs.facts_of = lambda config: facts
    logger.replay(sweep_runs)
    assert logger.writer.drain(60, print) and not logger.writer.refused
    (child,) = [r for r in client.search_runs([experiment]) if r.info.run_id != parent.info.run_id]
    assert child.info.status == "FINISHED" and child.data.metrics["val/mae"] == 6
    assert folder.names() == ["other"] and sweep_runs.by_key["k"].outcome == Outcome.FINISHED
    assert TrainConfig.make(run.config.as_dict()) == sweep_runs.by_key["k"].config


@pytest.mark.parametrize("gone", [CHECKPOINT, *FILES])
def test_a_run_whose_files_are_gone_before_they_are_stored_is_not_finished(made, store, make, gone):
    client, experiment, parent = made
    logger = RunLogger(Store(experiment, parent.info.run_id, {}, {}), Folder("runs/trials"), {}, b"")
    run = a_run(make)
    fill(logger.folder.of("k"), gone)
    assert logger.missing_files(run) == [gone]
    run.outcome = Outcome.FINISHED
    logger.end(run)
    assert logger.writer.drain(60, print) and logger.unstored == ["name"]
    (child,) = [r for r in client.search_runs([experiment]) if r.info.run_id != parent.info.run_id]
    assert child.info.status == "KILLED" and OUTCOME not in child.data.tags and logger.folder.names() == []


def test_an_end_that_was_noted_without_its_files_is_trained_again(made, store, make):
    _, experiment, parent = made
    run, folder = a_run(make), Folder("runs/trials")
    run.outcome = Outcome.FINISHED
    fill(folder.of("k"), CHECKPOINT)
    folder.of("k").write_json(END, {name: getattr(run, name) for name in END_FIELDS} | {"values": run.config.as_dict()})
    logger = RunLogger(Store(experiment, parent.info.run_id, {}, {}), folder, {}, b"")
    sweep_runs = SweepRuns({}, lambda configs: {}, lambda config: "name", lambda config, facts: "k", {})
    sweep_runs.facts_of = lambda config: {"split_hash": "s"}
    logger.replay(sweep_runs)
    assert (
        sweep_runs.by_key["k"].outcome == Outcome.WAITING
        and folder.names() == []
        and not logger.writer.writes.unfinished_tasks
    )


# -------------------------------------------------------------------------------------------------------- full disk


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 20 MB that may be made larger; skips where this user may not mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("a full disk: this user may not mount a small one")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.slow
def test_a_full_disk_stops_the_sweep_in_a_line_and_it_goes_on_when_there_is_room(small_disk, rendered, cache, tmp_path):
    base = SWEEP["base"] | {
        "data_root": str(rendered),
        "cache_dir": str(cache),
        "head": "bel",
        "code": "u",
        "epochs": 2,
    }
    content = {"name": "full", "base": base, "space": {"seed": {"grid": [0, 1]}}, "resources": {"cpu": 1}}
    (tmp_path / "full.yaml").write_text(yaml.safe_dump(content))
    command = [sys.executable, str(PROJECT / "launch" / "sweep.py"), "full.yaml", "--storage", str(small_disk)]
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}

    def run():
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)

    first = run()
    assert first.returncode == 2, first.stdout + first.stderr
    said = [line for line in first.stderr.splitlines() if line and not line.startswith("preparing")]
    assert len(said) == 1 and said[0].startswith("the disk is full ("), first.stderr
    assert "the same command goes on" in said[0] and "Traceback" not in first.stdout
    with working_in(tmp_path):
        parent, trials = children("full")
        assert parent.info.status == "KILLED" and "RUNNING" not in {trial.info.status for trial in trials}
    subprocess.run(["mount", "-o", "remount,size=400m", str(small_disk)], check=True)
    second = run()
    assert second.returncode == 0, second.stdout + second.stderr
    with working_in(tmp_path):
        parent, trials = children("full")
        assert len(trials) == 2 and {trial.info.status for trial in (parent, *trials)} == {"FINISHED"}
    assert not list(small_disk.iterdir())
