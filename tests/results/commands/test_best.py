import os
import re
import shlex
import subprocess
import sys
from types import SimpleNamespace

import mlflow
import numpy as np
import pytest
import yaml

from bel.data.loading import load
from bel.errors import UserError
from bel.run_layout import CHECKPOINT, CONFIG, DROPPED
from launch import train
from launch.tracking.logger import RunLogger
from launch.tracking.store import Store
from launch.tracking.trial_folder import Folder
from results.analysis.leaderboard import boards
from results.commands.best import config_text
from results.commands.main import main
from results.retest import evaluate, loaded_checkpoint
from results.store import registry
from results.store.runs import fetch_predictions, trials
from tests.conftest import children

AGAIN = """
import sys, numpy, torch
from results.store.registry import load_model
model = load_model("heads@champion")
images = torch.from_numpy(numpy.load(sys.argv[1]))
numpy.savez(sys.argv[2], **{name: value.detach().numpy() for name, value in model.decode(images).items()},
            forward=model(images).detach().numpy())
"""


def winner():
    """The parent run, the best table and the winning run of the shared fixture, found another way."""
    parent, _ = children("fixture")
    table = boards(trials([parent]))[0]
    return parent, table, min(table.leader.runs, key=lambda run: run.data.metrics["val/best_mae_groups"])


def winner_is_kept(client, run):
    """Whether a run's checkpoint is there, and not said to be dropped."""
    there = [file.path for file in client.list_artifacts(run.info.run_id)]
    return CHECKPOINT in there and DROPPED not in client.get_run(run.info.run_id).data.tags


def test_best_prints_the_winner_its_numbers_and_its_config(swept_store, capsys):
    parent, table, run = winner()
    assert main(["best", "fixture"]) == 0
    out = capsys.readouterr().out
    assert f"of {len(table.standings)} configurations: {table.leader.name}\n" in out and parent.info.run_id in out
    assert (
        f"run {run.info.run_id}, {run.info.run_name}: val MAE {run.data.metrics['val/best_mae_groups']:.3f} deg" in out
    )
    assert f"MAE {table.leader.mae:.3f} deg" in out
    groups, images = (run.data.params[name] for name in ("val_groups", "val_images"))
    assert f"over {groups} groups of {images} images" in out and "earlier version" not in out
    config = yaml.safe_load(out.split(f"{CONFIG}:\n")[1].split("\nre-test")[0])
    assert config["head"] == run.data.params["head"] and config["lr"] == float(run.data.params["lr"])
    tied = [one.configuration.name for one in table.standings if one.tied]
    assert tied and all(name in out for name in tied) and "too few groups" in out


def test_its_commands_work_when_they_are_pasted(swept_store, capsys):
    assert main(["best", "fixture"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if "/bin/bel-" in line or " bel-" in line]
    re_test, export, again = (line for line in lines if "--" in line)
    assert evaluate.main(shlex.split(re_test)[1:]) == 0
    assert "--to onnx" in export and export.split()[0].endswith("bel-export")
    write, learn = again.split(" && ")
    assert main(shlex.split(write)[1:]) == 0
    assert train.main(shlex.split(learn)[1:]) == 0
    out = capsys.readouterr().out
    logged = winner()[2].data.metrics["val/best_mae_groups"]
    assert f"val MAE {logged:.3f} (" in out.split("epoch 1: ")[1], "the same training comes to the same error"


def test_a_registered_winner_is_champion_once(swept_store, capsys):
    _, _, run = winner()
    for new in ("registered as", "was registered before as"):
        assert main(["best", "fixture", "--register", "heads"]) == 0
        out = capsys.readouterr().out
        assert "repeats the logged" in out and f"{new} version 1 of heads, now heads@champion" in out
    client = mlflow.MlflowClient()
    version = client.get_model_version_by_alias("heads", "champion")
    assert len(client.search_model_versions("name = 'heads'")) == 1
    assert version.run_id == run.info.run_id and version.source.startswith("models:/m-")
    assert version.tags["sweep"] == "fixture" and version.tags["protocol"] == "biwi"
    for tag, metric in (("val_mae", "val/best_mae"), ("val_mae_groups", "val/best_mae_groups")):
        assert float(version.tags[tag]) == pytest.approx(run.data.metrics[metric], abs=1e-6)
    assert version.tags["run_id"] == run.info.run_id and len(version.tags["code_version"]) == 12
    records = RunLogger(Store(run.info.experiment_id, "", {}, {}), Folder(str(swept_store)), {}, b"")
    records.run_ids["champion"] = run.info.run_id
    records.delete(SimpleNamespace(key="champion"), client)
    assert winner_is_kept(client, run), "its sweep drops it no more"
    other = next(one for one in children("fixture")[1] if one.info.run_id != run.info.run_id)
    assert registry.register(other, "fixture", "heads")[0].version == 2
    assert main(["best", "fixture", "--register", "heads"]) == 0  # the alias comes back, and no version is made
    assert client.get_model_version_by_alias("heads", "champion").version == version.version
    capsys.readouterr()
    for name in ("heads@champion", "heads/1", "models:/heads@champion"):
        assert evaluate.main(["--model", name]) == 0
        assert f"run {run.info.run_id}" in capsys.readouterr().out


def test_a_champion_predicts_in_a_fresh_process_what_was_logged(swept_store, tmp_path):
    _, _, run = winner()
    assert main(["best", "fixture", "--register", "heads"]) == 0
    logged = fetch_predictions(run)
    config = loaded_checkpoint.load_network(loaded_checkpoint.fetch_state(run), {}, run).config
    data = load(config, "train")
    rows = [data.names.index(name) for name in logged.names[:24]]
    side = config.image_size
    low = (np.array(data.images.shape[1:3]) - side) // 2
    crop = np.asarray(data.images)[rows, low[0] : low[0] + side, low[1] : low[1] + side]
    np.save(tmp_path / "images.npy", np.ascontiguousarray(crop.transpose(0, 3, 1, 2)))
    away = tmp_path / "elsewhere"
    away.mkdir()
    uri = {"MLFLOW_TRACKING_URI": f"sqlite:///{swept_store / 'mlflow.db'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", AGAIN, str(tmp_path / "images.npy"), str(tmp_path / "found.npz")]
    done = subprocess.run(command, cwd=away, env=os.environ | uri, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(away.iterdir())
    found = np.load(tmp_path / "found.npz")
    for name in logged.decoders:
        assert np.abs(found[name] - logged.values[name][:24]).max() < 1e-5, name
    assert np.array_equal(found["forward"], found[logged.decoders[0]])


def test_what_does_not_repeat_is_not_registered(swept_store, capsys):
    _, _, run = winner()
    value = run.data.metrics["val/best_mae"] + 1e-3
    mlflow.MlflowClient().log_metric(run.info.run_id, "val/best_mae", value, step=9)
    assert main(["best", "fixture", "--register", "heads"]) == 1
    captured = capsys.readouterr()
    assert "DOES NOT REPEAT" in captured.out and "nothing is registered" in captured.err
    assert not mlflow.MlflowClient().search_registered_models()


def test_without_a_checkpoint_there_is_no_re_test_and_no_registration(swept_store, capsys, monkeypatch):
    monkeypatch.setattr("results.analysis.leaderboard.is_kept", lambda run: False)
    assert main(["best", "fixture"]) == 0
    out = capsys.readouterr().out
    assert "NO CHECKPOINT" in out and "bel-eval" not in out and "bel-train" in out
    assert main(["best", "fixture", "--register", "heads"]) == 2
    assert f"has its {CHECKPOINT}: train it again" in capsys.readouterr().err


def test_what_a_user_gets_wrong(swept_store, capsys):
    _, _, run = winner()
    assert main(["best", "fixture", "--register", "heads"]) == 0
    capsys.readouterr()
    cases = [
        (main, ["best", "nothing"], "no sweep 'nothing' in the MLflow store"),
        (main, ["best", "fixture", "--register", "a/b"], "--register must be a name of letters"),
        (main, ["best", "fixture", "--register", ""], "--register must be a name of letters"),
        (main, ["best", "fixture", "--set", "head=bel"], "--set head would change what the checkpoint is"),
        (evaluate.main, ["--model", "heads"], "named NAME@ALIAS or NAME/VERSION, e.g. heads@champion, got 'heads'"),
        (evaluate.main, ["--model", "none@champion"], "it has ['heads']; register one with bel-results best"),
        (evaluate.main, ["--model", "heads@last"], "heads has versions [1] and aliases ['champion']"),
        (evaluate.main, ["--model", "heads/7"], "heads has versions [1] and aliases ['champion']"),
    ]
    for command, arguments, says in cases:
        assert command(arguments) == 2, arguments
        err = capsys.readouterr().err.strip()
        assert says in err and "\n" not in err, (arguments, err)
    gone = f"{run.info.artifact_uri}/gone"
    mlflow.MlflowClient().create_model_version("heads", gone, run.info.run_id)
    with pytest.raises(ValueError, match=f"version 2 of heads has no {re.escape(CHECKPOINT)} that can be read"):
        registry.load_model("heads/2")


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        ("head: bel\ncache_dir: /their place\n  that is long\nlr: 0.1\n", "head: bel\nlr: 0.1\n"),
        ("cache_dir: /theirs\nhead: bel\n", "head: bel\n"),
        ("{head: bel, cache_dir: /theirs}\n", None),
        ('"cache_dir": /theirs\n', None),
        ("[1]\n", None),
        ("a: [", None),
        ("[" * 5000, None),
    ],
)
def test_a_config_of_a_run_does_not_say_where_to_write(store, content, kept):
    client = mlflow.MlflowClient()
    run = client.create_run(client.create_experiment("odd", artifact_location=(store / "odd").as_uri()))
    client.log_text(run.info.run_id, content, CONFIG)
    if kept is None:
        with pytest.raises(UserError, match=r"has no config\.yaml that can be read"):
            config_text(run)
    else:
        assert config_text(run) == kept
