import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import torch
import yaml
from PIL import Image

from bel.config import TrainConfig
from bel.data.loading import load
from bel.data.synthetic import synthesise
from bel.precision import AVAILABLE
from bel.run_layout import (
    CHANGES,
    CHECKPOINT,
    CODE_FIGURE,
    CONFIG,
    CURVE_FIGURE,
    LABELS_FIGURE,
    OUTCOME,
    PREDICTIONS,
    SPLIT,
    TRIAL,
)
from bel.training import checkpoint
from bel.training.loop import fit
from launch import sweep
from launch.driver import driver
from launch.driver.callback import SweepCallback
from launch.spec.dimensions import FIELDS
from launch.tracking.lease import latest_driver, process_identity
from results.retest import evaluate
from tests.conftest import PROJECT, children, without_gpu, working_in

TINY = ["--set", "image_size=32", "--set", "backbone=resnet10", "--set", "weights=none", "--set", "epochs=1",
        "--set", "resources.gpu=0", "--set", "resources.cpu=1", "--set", "batch_size=8"]  # fmt: skip


@pytest.fixture
def runs(swept):
    """Parent and children of the finished sweep, in its store."""
    with working_in(swept[0]):
        yield children("fixture")


def artifacts(run):
    return {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}


def test_a_sweep_ends_well_with_a_parent_and_a_child_a_trial(swept, runs):
    parent, trials = runs
    assert swept[2] == 0 and len(trials) == 11
    assert {run.info.status for run in (parent, *trials)} == {"FINISHED"}
    assert "\n\nthree heads on rendered heads\n" in parent.data.tags["mlflow.note.content"]
    assert len({run.info.run_name for run in trials}) == 11


def test_every_config_field_is_a_param(runs):
    for run in runs[1]:
        params = dict(run.data.params)
        config = TrainConfig.make({name: params[name] for name in TrainConfig.__dataclass_fields__ if name in params})
        assert config.as_dict().items() >= {"epochs": 2, "backbone": "resnet10"}.items()
        unset = {name for name, value in config.as_dict().items() if value is None}
        assert unset == set(TrainConfig.__dataclass_fields__) - set(params)
        assert {"split_hash", "data_digest", "train_images", "val_images", "selection_split"} <= set(params)


def test_code_bits_changes_the_levels_and_the_matrix_width(runs):
    unary = {r.data.params["code_bits"]: r.data.params for r in runs[1] if r.data.params.get("code") == "u"}
    assert {bits: p["bits_yaw"] for bits, p in unary.items()} == {"38": "38", "76": "76"}
    assert unary["76"]["levels_roll"] == unary["76"]["bits_roll"] == "52"


def test_every_epoch_is_a_step_of_every_metric(runs):
    client = mlflow.MlflowClient()
    names = [
        "train/loss",
        "val/mae",
        "val/mae_yaw",
        "val/mae_pitch",
        "val/mae_roll",
        "val/best_mae",
        "val/mae_groups",
        "val/best_mae_groups",
        "val/best_mae_groups_yaw",
        "lr",
        "images_per_s",
    ]
    for run in runs[1]:
        for name in names:
            assert [m.step for m in client.get_metric_history(run.info.run_id, name)] == [1, 2], name
        values = [m.value for m in client.get_metric_history(run.info.run_id, "val/mae_groups")]
        assert run.data.metrics["val/best_mae_groups"] == min(values)


def test_artifacts_are_the_best_checkpoint_the_config_and_pictures(runs, tmp_path):
    for run in runs[1]:
        expected = {
            CHECKPOINT,
            CONFIG,
            SPLIT,
            LABELS_FIGURE,
            CURVE_FIGURE,
            PREDICTIONS["val"],
        }
        found = artifacts(run) - {CHANGES}  # which is there where the source differs from its commit
        assert found == (expected | {CODE_FIGURE} if run.data.params["head"] == "bel" else expected)
        assert run.data.tags["git_dirty"] == "no" or CHANGES in artifacts(run)
        assert {"git_commit", "packages", "host", "device", "code_version"} <= set(run.data.tags)
    bel = next(run for run in runs[1] if run.data.params["head"] == "bel")
    folder = mlflow.MlflowClient().download_artifacts(bel.info.run_id, "", str(tmp_path))
    state = checkpoint.load(tmp_path / CHECKPOINT)
    assert state["best"]["val/best_mae"] == bel.data.metrics["val/best_mae"]
    assert state["epoch"] == bel.data.metrics["val/best_epoch"]
    assert TrainConfig.make(yaml.safe_load((tmp_path / CONFIG).read_text())).as_dict() == state["config"]
    for picture in (CODE_FIGURE, CURVE_FIGURE):
        with Image.open(f"{folder}/{picture}") as image:
            assert len(set(image.convert("L").tobytes())) > 5


def test_the_same_sweep_again_runs_nothing_and_prints_the_same_table(swept, capsys):
    with working_in(swept[0]):
        before = children("fixture")
        capsys.readouterr()
        assert sweep.main([str(swept[1])]) == 0
        after = children("fixture")
    assert [r.info.run_id for r in after[1]] == [r.info.run_id for r in before[1]]
    out = capsys.readouterr().out
    assert "0 trials to run" in out and "11 finished before" in out
    best = min(before[1], key=lambda run: run.data.metrics["val/best_mae_groups"])
    assert f"bel-eval --run-id {best.info.run_id}" in out
    assert out.index(best.info.run_id) == min(out.index(run.info.run_id) for run in before[1])


def test_a_trial_equals_the_same_run_without_ray(swept, runs, tmp_path):
    run = next(run for run in runs[1] if run.data.params["head"] == "bel")
    mlflow.MlflowClient().download_artifacts(run.info.run_id, CONFIG, str(tmp_path))
    config = TrainConfig.make(yaml.safe_load((tmp_path / CONFIG).read_text()))
    alone = [epoch.metrics["val/mae"] for epoch in fit(config, load(config, "train"))]
    logged = [m.value for m in mlflow.MlflowClient().get_metric_history(run.info.run_id, "val/mae")]
    assert alone == logged


def test_tpe_with_asha_over_an_interval(ray_here, swept, store):
    spec = yaml.safe_load(swept[1].read_text()) | {
        "name": "tpe",
        "search": {"method": "tpe", "trials": 6, "scheduler": "asha"},
    }
    spec["space"]["lr"] = {"loguniform": [1e-4, 1e-2]}
    del spec["base"]["lr"]
    (store / "tpe.yaml").write_text(yaml.safe_dump(spec))
    assert sweep.main([str(store / "tpe.yaml"), "--set", "epochs=3"]) == 0
    parent, trials = children("tpe")
    assert len(trials) == 6 and {t.info.status for t in (parent, *trials)} == {"FINISHED"}
    assert len({t.data.params["lr"] for t in trials}) == 6
    lengths = [len(mlflow.MlflowClient().get_metric_history(t.info.run_id, "val/mae")) for t in trials]
    assert max(lengths) == 3 and min(lengths) < 3, "asha stopped nothing"


@pytest.mark.slow
def test_the_biwi_sweep_itself_runs_on_rendered_data(ray_here, rendered, store):
    arguments = [
        str(PROJECT / "sweeps" / "biwi.yaml"),
        "--set",
        f"data_root={rendered}",
        "--set",
        "search.trials=2",
        *TINY,
    ]
    assert sweep.main(arguments) == 0
    _, trials = children("biwi")
    assert len(trials) == 2 and all(t.data.params["crop"] == "published" for t in trials)


@pytest.mark.slow
def test_both_protocols_have_a_best_trial_each(ray_here, rendered, store, capsys):
    arguments = [str(PROJECT / "sweeps" / "both.yaml"), "--set", f"data_root={rendered}", *TINY, "--set", "lr=1e-3"]
    arguments += ["--set", "space.code.grid=[b2jdj]", "--set", "space.head.grid=[bel, direct]", "--set", "loss=l1"]
    assert sweep.main(arguments) == 0
    _, trials = children("both")
    assert sorted(t.data.params["protocol"] for t in trials) == ["aflw2000"] * 2 + ["biwi"] * 2
    assert capsys.readouterr().out.count("bel-eval --run-id") == 2
    parent, _ = children("both")
    assert evaluate.main(["--run-id", parent.info.run_id]) == 0
    out = capsys.readouterr().out
    assert out.count("repeats the logged") == 2 and ": aflw2000, crop" in out and ": biwi, crop" in out


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """A data_root with a small rendered table."""
    root = tmp_path_factory.mktemp("table")
    synthesise("csv", root, subjects=8, frames=8, size=48, seed=0)
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "axes", "unit"), [("csv_example", ["yaw", "distance"], "% of range"), ("csv_yaw", ["yaw"], "deg")]
)
def test_a_table_of_ones_own_sweeps_and_is_re_tested(ray_here, table, store, capsys, name, axes, unit):
    arguments = [str(PROJECT / "sweeps" / f"{name}.yaml"), "--set", f"data_root={table}", *TINY]
    arguments += ["--set", "space.code.grid=[hex16]", "--set", "space.head.grid=[bel, direct]"]
    assert sweep.main([*arguments, "--plan"]) == 0  # its protocol is a mapping
    assert re.search(r"^resnet10, 32 px, batch 8: \d+ images/s", capsys.readouterr().out, re.MULTILINE)
    assert sweep.main(arguments) == 0
    parent, trials = children(name)
    assert len(trials) == 2 and all(
        t.data.params["protocol"] == "csv" and t.data.params["unit"] == unit for t in trials
    )
    assert all(f"val/best_mae_{axis}" in t.data.metrics for t in trials for axis in axes)
    capsys.readouterr()
    assert evaluate.main(["--run-id", parent.info.run_id]) == 0
    out = capsys.readouterr().out
    assert "repeats the logged" in out and (f"mean: {unit}" if len(axes) > 1 else f"({unit}) on") in out
    tested = mlflow.search_runs([parent.info.experiment_id])
    assert tested[[f"metrics.test/mae_{axis}" for axis in axes]].notna().any().all()


@pytest.mark.slow
def test_skipped_images_are_said_and_logged(ray_here, rendered, store, capsys, tmp_path):
    shutil.copytree(rendered / "BIWI", tmp_path / "BIWI")
    stem = (tmp_path / "BIWI" / "70_train.txt").read_text().split()[3]
    (tmp_path / "BIWI" / "hpdb" / f"{stem}_rgb.png").write_bytes(b"")
    arguments = [
        str(PROJECT / "sweeps" / "biwi.yaml"),
        "--set",
        f"data_root={tmp_path}",
        *TINY,
        "--set",
        "search.trials=1",
    ]
    arguments += ["--set", "search.method=random", "--set", "search.scheduler=none"]
    assert sweep.main(arguments) == 2
    assert f"{stem}_rgb.png" in capsys.readouterr().err
    assert sweep.main([*arguments, "--set", "on_missing=skip"]) == 0
    assert "1 skipped" in capsys.readouterr().out
    assert [t.data.params["skipped"] for t in children("biwi")[1]] == ["1"]


@pytest.mark.slow
def test_four_trials_share_a_gpu_by_quarters(ray_here, swept, store):
    settings = ["space.head.grid=[bel]", "space.code.grid=[u]", "code_bits=38", "loss=ce", "search.method=grid",
                "search.trials=null", "space.seed.grid=[0,1,2,3,4]", "epochs=15", "name=quarters",
                "resources.cpu=0.1", "resources.gpu=0.25"]  # fmt: skip
    assert sweep.main([str(swept[1]), *(part for setting in settings for part in ("--set", setting))]) == 0
    _, trials = children("quarters")
    spans = [(t.info.start_time, t.info.end_time) for t in trials]
    at_once = [sum(start <= moment < end for start, end in spans) for moment, _ in spans]
    assert len(trials) == 5 and max(at_once) == 4


@pytest.mark.slow
def test_a_trial_that_diverges_is_marked_and_the_others_finish(ray_here, swept, store, capsys, broken_weights):
    settings = ["space.head.grid=[direct]", "loss=l1", "name=fails", f"space.weights.grid=[none, {broken_weights}]",
                "search.method=grid", "search.trials=null"]  # fmt: skip
    spec = yaml.safe_load(swept[1].read_text())
    del spec["space"]["code"], spec["space"]["code_bits"], spec["base"]["weights"]
    (store / "fails.yaml").write_text(yaml.safe_dump(spec))
    arguments = [str(store / "fails.yaml"), *(part for setting in settings for part in ("--set", setting))]
    assert sweep.main(arguments) == 0
    parent, trials = children("fails")
    by_weights = {t.data.params["weights"]: t for t in trials}
    assert by_weights["none"].info.status == "FINISHED" and parent.info.status == "FINISHED"
    diverged = by_weights[str(broken_weights)]
    assert diverged.info.status == "FAILED" and diverged.data.tags[OUTCOME] == "diverged"
    assert "training loss became nan" in diverged.data.tags["error"]
    out = capsys.readouterr()
    assert "diverged " in out.out and "training loss became nan" in out.out and "Traceback" not in out.out + out.err
    assert sweep.main(arguments) == 0 and len(children("fails")[1]) == 2, "a diverged trial is decided"


@pytest.mark.slow
def test_an_exception_in_one_trial_fails_it_alone_and_the_next_call_tries_again(
    ray_here, swept, store, tmp_path, capsys
):
    settings = ["space.head.grid=[bel]", "loss=ce", "name=raises", "space.code.grid=[u, j]", "code_bits=38",
                "search.method=grid", "search.trials=null"]  # fmt: skip
    arguments = [str(swept[1]), *(part for setting in settings for part in ("--set", setting))]

    class Spoiling(SweepCallback):
        """A callback that puts a folder where the worker of code j would write its best state."""

        def on_trial_start(self, iteration, trials, trial, **info):
            super().on_trial_start(iteration, trials, trial, **info)
            run = self.sweep_runs.by_key[trial.config["key"]]
            if run.config.code == "j":
                (Path(trial.config["folder"]) / CHECKPOINT).mkdir(parents=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "SweepCallback", Spoiling)
        assert sweep.main(arguments) == 1
    by_code = {t.data.params["code"]: t for t in children("raises")[1]}
    assert by_code["u"].info.status == "FINISHED" and by_code["j"].info.status == "FAILED"
    assert "IsADirectoryError" in by_code["j"].data.tags["error"] and "Traceback" not in capsys.readouterr().err
    shutil.rmtree(next((store / "runs").glob("raises-*")))
    assert sweep.main(arguments) == 0
    again = {t.data.params["code"]: t for t in children("raises")[1]}
    assert (
        len(again) == 2 and again["j"].info.status == "FINISHED" and again["j"].info.run_id == by_code["j"].info.run_id
    )


@pytest.mark.slow
@without_gpu
def test_a_gpu_share_that_torch_cannot_use_stops_the_sweep_in_a_sentence(ray_here, swept, store, capsys):
    settings = ["space.head.grid=[bel]", "space.code.grid=[u]", "code_bits=38", "loss=ce", "device=auto", "name=nogpu",
                "search.method=grid", "search.trials=null", "resources.gpu=0.5"]  # fmt: skip
    assert sweep.main([str(swept[1]), *(part for setting in settings for part in ("--set", setting))]) == 1
    _, (trial,) = children("nogpu")
    if torch.backends.cuda.is_built():  # as where the GPU is gone, the trial has not failed
        assert trial.info.status == "KILLED" and "no GPU is seen on this machine" in capsys.readouterr().err
    else:
        assert trial.info.status == "FAILED" and "torch sees no GPU" in trial.data.tags["error"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["data_root=/nowhere"], "no BIWI images in '/nowhere'"),
        (["resources.gpu=2"], "resources.gpu asks for 2 GPU a trial, and Ray has at most 1"),
        (["resources.cpu=64"], "resources.cpu asks for 64 CPU a trial, and Ray has at most 2"),
        (["device=cuda"], "device cuda needs a share of a GPU"),
        (["device=mps"], "device mps: torch sees no Metal device here"),
        (["code=z"], "code of head bel must be one of"),
        (["colour=red"], "unknown key of a sweep 'colour'"),
        (["protocol=csv"], "protocol csv is a mapping"),
        (["protocol={name: csv, train: a.csv}"], "protocol.targets must map each column to its range"),
        (["weights=nowhere.pt"], "weights must be one of .* or a file"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line_and_starts_nothing(ray_here, swept, store, capsys, settings, says):
    import re

    (store / "mlflow.db").unlink()
    assert sweep.main([str(swept[1]), *(part for setting in settings for part in ("--set", setting))]) == 2
    err = capsys.readouterr().err.strip()
    assert re.search(says, err) and err.startswith("error: ") and "\n" not in err
    assert not (store / "mlflow.db").exists() and not (store / "runs").exists()


def test_mps_is_no_gpu_that_ray_counts(ray_here, swept, store, capsys, monkeypatch):
    monkeypatch.setitem(AVAILABLE, "mps", lambda: True)
    assert sweep.main([str(swept[1]), "--plan", "--set", "device=mps", "--set", "resources.gpu=0.5"]) == 2
    assert "resources.gpu is 0.5: set resources.gpu to 0" in capsys.readouterr().err


def test_a_balance_that_changes_nothing_is_refused_before_any_trial(ray_here, swept, store, capsys):
    base = [str(swept[1]), "--plan", "--set", "space={balance: {grid: [lds, none]}}", "--set", "code=u"]
    few = ["--set", "frame_stride=6", "--set", "batch_size=4"]
    for settings in (few, [*few, "--set", "code_bits=10"]):
        assert sweep.main([*base, *settings]) == 2
        assert "error: balance lds counts a level of fewer than 5 images as 5" in capsys.readouterr().err
    assert sweep.main([*base, "--set", "code_bits=400"]) == 0, "levels are those of the protocol, of any number of bits"
    assert not (store / "runs").exists()


def test_a_batch_that_is_larger_than_the_data_is_refused_before_any_trial(ray_here, swept, store, capsys):
    assert sweep.main([str(swept[1]), "--set", "batch_size=500"]) == 2
    assert "error: batch_size 500 is more than the 60 training images: lower it" in capsys.readouterr().err
    assert not (store / "runs").exists()


@pytest.mark.slow
def test_an_interrupted_sweep_says_so_and_the_same_command_goes_on(swept, tmp_path):
    whole_machine = f"resources.cpu={os.cpu_count()}"  # one trial at a time
    settings = ["name=cut", "search.trials=4", whole_machine]
    arguments = [sys.executable, str(PROJECT / "launch" / "sweep.py"), str(swept[1])]
    arguments += [part for setting in settings for part in ("--set", setting)]
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    with (tmp_path / "err").open("w") as err:
        process = subprocess.Popen(
            arguments, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=err, text=True
        )
        for line in process.stdout:
            if line.startswith("[1/4]"):
                process.send_signal(signal.SIGINT)
                break
        out, _ = process.communicate(timeout=600)
    said = out + (tmp_path / "err").read_text()
    assert process.returncode == 130 and "interrupted: the same command" in said and "Traceback" not in said, said
    with working_in(tmp_path):
        parent, trials = children("cut")
        states = [t.info.status for t in trials]
        assert parent.info.status == "KILLED" and "RUNNING" not in states and 1 <= states.count("FINISHED") < 4
        again = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
        assert again.returncode == 0, again.stdout + again.stderr
        assert f"{states.count('FINISHED')} finished before" in again.stdout
        finished = [t for t in children("cut")[1] if t.info.status == "FINISHED"]
        assert len(finished) == 4 == len({t.data.tags[TRIAL] for t in finished})


class Killer(SweepCallback):
    """A callback that kills the worker of epoch 3 as soon as it hears of it."""

    def on_trial_result(self, iteration, trials, trial, result, **info):
        super().on_trial_result(iteration, trials, trial, result, **info)
        if result["epoch"] == 3 and not self.sweep_runs.ended and result["pid"] not in killed:
            killed.append(result["pid"])
            os.kill(result["pid"], signal.SIGKILL)


killed: list[int] = []


@pytest.mark.slow
def test_a_worker_that_is_killed_goes_on_from_its_last_epoch(ray_here, swept, store, monkeypatch, capsys):
    monkeypatch.setattr(driver, "SweepCallback", Killer)
    settings = ["space.head.grid=[bel]", "space.code.grid=[u]", "code_bits=38", "loss=ce", "name=killed", "epochs=5",
                "search.method=grid", "search.trials=null"]  # fmt: skip
    assert sweep.main([str(swept[1]), *(part for setting in settings for part in ("--set", setting))]) == 0
    _, (trial,) = children("killed")
    history = mlflow.MlflowClient().get_metric_history(trial.info.run_id, "val/mae")
    assert len(killed) == 1 and "its worker died in epoch 4, another goes on" in capsys.readouterr().out
    assert trial.info.status == "FINISHED" and [m.step for m in history] == [1, 2, 3, 4, 5]
    config = TrainConfig.make({name: trial.data.params[name] for name in FIELDS if name in trial.data.params})
    assert [m.value for m in history] == [e.metrics["val/mae"] for e in fit(config, load(config, "train"))]
    assert not list((store / "runs").glob("killed-*")), "the trials' working files are left"


def test_two_drivers_on_one_sweep_are_refused(ray_here, swept, tmp_path, capsys):
    shutil.copytree(swept[0], tmp_path / "store")
    with working_in(tmp_path / "store"):
        parent, _ = children("fixture")
        client = mlflow.MlflowClient()
        number = latest_driver(client.get_run(parent.info.run_id))[0] + 1
        client.log_param(parent.info.run_id, f"driver.{number}", process_identity(os.getppid()))
        client.update_run(parent.info.run_id, status="RUNNING")
        assert sweep.main([str(swept[1])]) == 2
    assert f"process {os.getppid()} on {socket.gethostname()} is running this very sweep" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("http://me:secret@127.0.0.1:9", "cannot use the MLflow store http://127.0.0.1:9"),
        ("foo://x", "cannot use the MLflow store foo"),
    ],
)
def test_a_store_that_cannot_be_used_is_said_before_anything_runs(ray_here, swept, store, capsys, uri, says):
    mlflow.set_tracking_uri(uri)
    assert sweep.main([str(swept[1])]) == 2
    said = capsys.readouterr().err
    assert says in said and "secret" not in said and not (store / "runs").exists()
