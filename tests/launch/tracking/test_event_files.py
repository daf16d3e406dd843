"""Event files say what MLflow says, each epoch once, whatever ended the sweep; they change nothing else."""

import math
import sys
from random import Random

import mlflow
import pytest

from bel.run_layout import LAST, TRIAL
from launch import train
from launch.tracking.event_files import SUFFIX, EventFile, event_files, folder_name
from tests.chaos.campaign import Campaign, Fault
from tests.chaos.faults import STRIKES
from tests.chaos.sweeps import SMALL, write_sweep
from tests.conftest import children
from tests.launch.schedule.test_searches import history, started  # noqa: F401 - a fixture

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
ONE = {"lr": {"grid": [1e-3, 2e-3]}}
LOGGED = {"log_to": ["tensorboard"]}


def read(folder):
    """Steps and values by metric, as TensorBoard reads them."""
    events = accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    assert not any(events.Tags()[kind] for kind in ("images", "histograms", "tensors"))
    return {
        name: ([one.step for one in events.Scalars(name)], [one.value for one in events.Scalars(name)])
        for name in events.Tags()["scalars"]
    }


def assert_as_mlflow(folder, trials):
    """There is a folder for each trial, with the history of all of its metrics."""
    assert len(list(folder.iterdir())) == len(trials)
    for run in trials:
        (own,) = folder.glob(f"*{run.data.tags[TRIAL][:6]}")
        found = read(own)
        assert set(found) == set(run.data.metrics) - {"epoch"} and own.name.startswith(run.info.run_name[:5])
        for name, (steps, values) in found.items():
            assert steps == history(run, name)[0] and values == pytest.approx(history(run, name)[1], rel=1e-6), name


@pytest.mark.slow
def test_after_kills_of_a_worker_and_two_drivers_each_epoch_is_there_once(tmp_path):
    path = write_sweep(tmp_path / "sweep", SMALL | LOGGED, tmp_path / "data", frames=24, epochs=3)
    faults = [Fault("driver SIGKILL", 1), Fault("worker SIGKILL", 4), Fault("driver SIGKILL", 7)]
    campaign = Campaign(path, f"sqlite:///{path.parent / 'mlflow.db'}", faults, Random(0), epochs=12)
    campaign.run(STRIKES, print)
    assert all(fault.struck for fault in faults) and campaign.code == 0
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(campaign.uri)
    try:
        parent, trials = children("chaos small")
        (folder,) = (path.parent / "runs" / "tensorboard").iterdir()
        assert len(trials) == 4 and parent.info.run_id[:8] in folder.name
        assert_as_mlflow(folder, trials)
        assert max(len(event_files(own)) for own in folder.iterdir()) > 1, "a file was gone on with"
    finally:
        mlflow.set_tracking_uri(before)


@pytest.mark.slow
def test_curves_are_those_of_mlflow_also_of_trials_that_another_sweep_trained(started, store, capsys):  # noqa: F811
    assert started("plain", {"lr": {"grid": [1e-3]}}) == 0
    assert not (store / "runs" / "tensorboard").exists()
    assert started("logged", ONE, **LOGGED) == 0
    assert "1 by other sweeps" in (said := capsys.readouterr().out), "it is the same trial, with the option or without"
    (folder,) = (store / "runs" / "tensorboard").iterdir()
    assert f"tensorboard --logdir {folder}" in said
    assert_as_mlflow(folder, children("logged")[1])


@pytest.mark.slow
def test_trials_that_ended_before_the_option_was_there_are_said(started, store, capsys):  # noqa: F811
    assert started("late", {"lr": {"grid": [1e-3]}}, base={"epochs": 1}) == 0
    assert started("late", {"lr": {"grid": [1e-3]}}, base={"epochs": 1}, **LOGGED) == 0
    said = capsys.readouterr().out
    assert "1 finished before" in said and "1 trials that ended before have no event file" in said


def test_an_epoch_that_was_cut_with_its_process_is_written_again(make, tmp_path):
    with EventFile(tmp_path, make()) as first:
        for epoch in (1, 2):
            first.log({"val/mae": epoch / 2, "train/loss": math.nan, "epoch": epoch}, epoch, at=100.0 + epoch)
    (file,) = event_files(tmp_path)
    content = file.read_bytes()
    file.write_bytes(content[: content.rindex(b"val/mae") + 9])
    with EventFile(tmp_path, make()) as second:
        for epoch in (1, 2, 3):
            second.log({"val/mae": epoch / 2, "train/loss": 1.0}, epoch, at=200.0 + epoch)
    found = read(tmp_path)
    assert found["val/mae"] == ([1, 2, 3], [0.5, 1.0, 1.5]) and math.isnan(found["train/loss"][1][0])


def test_hyperparameters_are_there_and_files_of_others_stay(make, tmp_path):
    (other := tmp_path / "events.out.tfevents.1.host").write_bytes(b"")
    for _ in range(2):
        with EventFile(tmp_path, make(lr=0.25), begun=False):
            pass
    assert other.exists() and len(event_files(tmp_path)) == 1 and event_files(tmp_path)[0].name.endswith(SUFFIX)
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    from tensorboard.plugins.hparams import metadata

    content = events.PluginTagToContent("hparams")[metadata.SESSION_START_INFO_TAG]
    fields = metadata.parse_session_start_info_plugin_data(content).hparams
    assert fields["lr"].number_value == 0.25 and fields["head"].string_value == "bel" and "fold" not in fields


def test_a_training_without_a_sweep_writes_them_beside_its_checkpoints(small, tmp_path, capsys):
    flags = [part for name, value in small.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    flags += ["--code", "j", "--log-to", "tensorboard", "--format", "json"]
    out = tmp_path / "run"
    assert train.main([*flags, "--out", str(out)]) == 0
    whole = read(out)
    assert whole["val/mae_groups"][0] == [1, 2]
    (out / LAST).unlink()
    assert train.main([*flags, "--out", str(out)]) == 0
    assert read(out)["val/mae_groups"] == whole["val/mae_groups"], "one that begins anew"
    assert train.main([*flags, "--out", str(out), "--resume"]) == 0
    assert read(out)["val/mae_groups"] == whole["val/mae_groups"]
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        train.main([*flags, "--out", str(tmp_path / "x"), "--log-to", "wandb"])
    assert "invalid choice: 'wandb' (choose from" in capsys.readouterr().err


def test_without_the_package_nothing_begins(small, started, store, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert started("none", ONE, **LOGGED) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "pip install 'bel-sweeps[tensorboard]'" in said.err and not said.out
    assert train.main(["--code", "u", "--log-to", "tensorboard", "--out", str(store / "x")]) == 2
    assert not (store / "x").exists() and not (store / "runs").exists()


def test_a_folder_s_name_holds_what_a_file_system_takes():
    from types import SimpleNamespace

    long = folder_name(SimpleNamespace(name="u-150 bce lr=5e-4 s0 crop=a/b:c" + "é" * 200, key="0123456789"))
    assert long.startswith("u-150 bce lr=5e-4 s0 crop=a_b_c") and long.endswith(" 012345") and len(long.encode()) < 230
