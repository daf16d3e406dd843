"""A registered network is a model of MLflow's: it predicts what `bel-predict` predicts, wherever its requirements are."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from bel.config import TrainConfig
from bel.deploy.module import Deployed
from bel.run_layout import BEST_EPOCH, CHECKPOINT, OBJECTIVE
from bel.training import checkpoint
from bel.training.build import build_model
from results.commands.main import main
from results.predict import command as predict
from results.store import registry
from results.store.logged_model import REQUIRED, log_model
from tests.results.conftest import FIELDS, state_of, table

AXES = ("yaw", "pitch", "roll")
ENDS = tuple(f"{end}_{axis}" for end in ("lower", "upper") for axis in AXES)
ALONE = """
import json, sys
from importlib.metadata import packages_distributions
import mlflow.pyfunc
before = set(sys.modules)
model = mlflow.pyfunc.load_model(sys.argv[1])
files = [open(path, "rb").read() for path in sys.argv[2:]]
found = model.predict({"image": files}).to_dict("list")
import bel
tops = {name.partition(".")[0] for name in set(sys.modules) - before}
known = packages_distributions()
json.dump({"found": found, "bel": bel.__file__, "used": sorted({d for t in tops for d in known.get(t, [])})}, sys.stdout)
"""


@pytest.fixture
def run(swept_store):
    """The best trial of the finished sweep, registered as heads."""
    assert main(["best", "fixture", "--register", "heads"]) == 0
    return mlflow.get_run(mlflow.MlflowClient().get_model_version_by_alias("heads", "champion").run_id)


@pytest.fixture
def files(pictures):
    """The files of three pictures, of three formats, by name; a JPEG that is lying on its side among them."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(pictures / "a.jpg").save(pictures / "a.jpg", exif=exif)
    return {name: (pictures / name).read_bytes() for name in ("a.jpg", "b.png", "below/c.bmp")}


def predicted(pictures, out, names, columns=AXES):
    """What `bel-predict` writes for some pictures (pictures, columns)."""
    assert predict.main([str(pictures), "--model", "heads@champion", "--out", str(out)]) == 0
    rows = {row["file"]: row for row in table(out)}
    return np.array([[float(rows[name][column]) for column in columns] for name in names])


def test_run_model_and_version_point_at_each_other(run):
    client = mlflow.MlflowClient()
    version = client.get_model_version("heads", "1")
    (output,) = run.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert version.source == f"models:/{model.model_id}" and version.run_id == run.info.run_id
    assert model.source_run_id == run.info.run_id and model.experiment_id == run.info.experiment_id
    assert json.loads(model.tags["mlflow.modelVersions"])[0]["name"] == "heads" and model.status == "READY"
    metrics = {metric.key: metric for metric in model.metrics}
    assert metrics[OBJECTIVE].value == run.data.metrics[OBJECTIVE] and metrics[OBJECTIVE].step == output.step
    assert output.step == run.data.metrics[BEST_EPOCH] and model.params["head"] == run.data.params["head"]
    assert run.info.status == "FINISHED" and run.info.end_time < model.creation_timestamp, "the run is left as it was"
    assert not mlflow.search_logged_models(["0"], output_format="list"), "it is in the sweep's experiment"


def test_a_loaded_model_predicts_what_the_command_does(run, files, pictures, tmp_path, monkeypatch):
    wanted = predicted(pictures, tmp_path / "out", files)
    monkeypatch.setattr(sys, "path", sys.path[:])  # the model adds its own source
    model = mlflow.pyfunc.load_model("models:/heads@champion")
    found = model.predict(pd.DataFrame({"image": list(files.values())}, index=[7, 8, 9]))
    assert list(found.columns) == list(AXES) and list(found.index) == [7, 8, 9]
    assert np.abs(found.to_numpy() - wanted).max() < 1e-5 and np.ptp(wanted, axis=0).max() > 1e-2
    assert model.predict(pd.DataFrame({"image": []}, dtype=object)).shape == (0, 3)
    schema = model.metadata.signature
    assert [column.name for column in schema.outputs] == list(AXES) and schema.inputs.input_names() == ["image"]
    assert model.predict(model.input_example).shape == (1, 3)
    for content, says in (
        (b"no picture", "cannot read the image in row 1: it is damaged"),
        (b"", "row 1: it is empty"),
    ):
        with pytest.raises(ValueError, match=says):
            model.predict({"image": [files["b.png"], content]})


def test_a_calibration_makes_a_version_with_intervals(run, files, pictures, tmp_path, monkeypatch):
    assert main(["calibrate", run.info.run_id, "--level", "0.5", "--measure", "left_out"]) == 0
    for _ in range(2):
        assert main(["best", "fixture", "--register", "heads"]) == 0
    versions = mlflow.MlflowClient().search_model_versions("name = 'heads'")
    assert sorted(int(version.version) for version in versions) == [1, 2], "the same calibration is the same model"
    wanted = predicted(pictures, tmp_path / "out", files, (*AXES, *ENDS))
    monkeypatch.setattr(sys, "path", sys.path[:])
    found = mlflow.pyfunc.load_model("models:/heads@champion").predict({"image": list(files.values())})
    assert list(found.columns) == [*AXES, *ENDS] and np.abs(found.to_numpy() - wanted).max() < 1e-5
    assert list(mlflow.pyfunc.load_model("models:/heads/1").predict({"image": [files["b.png"]]}).columns) == list(AXES)


def test_a_version_from_before_there_were_models_is_read_and_registered_anew(run):
    client = mlflow.MlflowClient()
    client.create_registered_model("old")
    client.create_model_version("old", run.info.artifact_uri, run.info.run_id)
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    same = [registry.load_model(name)(images) for name in ("old/1", "heads/1")]
    assert torch.equal(*same)
    version, new = registry.register(run, "fixture", "old")
    assert new and version.version == 2 and version.source.startswith("models:/m-")
    assert torch.equal(registry.load_model("old@champion")(images), same[0])


@pytest.mark.slow
def test_a_model_needs_its_requirements_and_nothing_else_of_ours(run, files, pictures, tmp_path):
    """In a process that has no other source of ours: what it imports is required, or comes with what is."""
    wanted = predicted(pictures, tmp_path / "out", files)
    local = Path(mlflow.artifacts.download_artifacts("models:/heads/1", dst_path=str(tmp_path / "model")))
    lines = (local / "requirements.txt").read_text().splitlines()
    assert [line.partition("==")[0] for line in lines] == list(REQUIRED)
    away = tmp_path / "away"
    away.mkdir()
    blocked = (
        "import sys; sys.modules.update(dict.fromkeys(('launch', 'results', 'ray', 'optuna', 'rich', 'pyarrow')))\n"
    )
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MLFLOW_TRACKING_URI")
    }
    done = subprocess.run(
        [sys.executable, "-c", blocked + ALONE, str(local), *(str(pictures / name) for name in files)],
        cwd=away, env=environment | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert Path(said["bel"]).is_relative_to(local / "code"), "its own source, not the one that is installed"
    assert np.abs(np.array([said["found"][axis] for axis in AXES]).T - wanted).max() < 1e-5
    assert not set(said["used"]) & {"ray", "optuna", "matplotlib", "plotly", "tqdm", "rich", "pyarrow"}, said["used"]


def test_a_code_in_a_file_goes_with_the_model(store, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    config = {"head": "bel", "code": f"file:{tmp_path}/words{{levels}}.npy", "code_bits": 38}
    probe = TrainConfig.make(FIELDS | config | {"code": "u"})
    for levels in {axis.levels for axis in probe.axes}:
        words = rng.permutation(64)[:levels, None] >> np.arange(6) & 1
        np.save(tmp_path / f"words{levels}.npy", words.astype(np.uint8))
    config = TrainConfig.make(FIELDS | config)
    torch.manual_seed(0)
    checkpoint.save(state_of(config, network := build_model(config)), tmp_path / CHECKPOINT)
    mlflow.set_experiment("own")
    with mlflow.start_run() as begun:
        mlflow.log_params({"code": config.code} | {f"levels_{axis.name}": axis.levels for axis in config.axes})
        mlflow.log_metric(BEST_EPOCH, 3, step=3)
        mlflow.log_artifact(str(tmp_path / CHECKPOINT))
    model_id = log_model(mlflow.get_run(begun.info.run_id), "with.dot")
    for file in tmp_path.glob("words*.npy"):
        file.unlink()
    monkeypatch.setattr(sys, "path", sys.path[:])
    found = mlflow.pyfunc.load_model(f"models:/{model_id}")
    grey = np.full((32, 32, 3), 100, np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    got = found.predict({"image": [(tmp_path / "grey.png").read_bytes()]}).to_numpy()
    with torch.inference_mode():
        wanted = Deployed(network)(torch.from_numpy(grey).permute(2, 0, 1)[None]).numpy()
    assert np.abs(got - wanted).max() < 1e-5


@pytest.mark.slow
def test_mlflow_serves_what_the_command_predicts(run, files, pictures, swept_store, tmp_path):
    """`mlflow models serve` answers pictures in base64, and says what is wrong with one that is none."""
    wanted = predicted(pictures, tmp_path / "out", files)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        "models:/heads@champion",
        "--env-manager",
        "local",
    ]
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{swept_store / 'mlflow.db'}", "OMP_NUM_THREADS": "1"}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    with (tmp_path / "serve.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
            cwd=tmp_path, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/ping", tmp_path / "serve.log")
        rows = [[base64.b64encode(content).decode()] for content in files.values()]
        answer = ask(address, {"dataframe_split": {"columns": ["image"], "data": rows}})
        found = np.array([[row[axis] for axis in AXES] for row in answer["predictions"]])
        assert np.abs(found - wanted).max() < 1e-5
        with pytest.raises(urllib.error.HTTPError) as refused:
            ask(address, {"dataframe_records": [{"image": base64.b64encode(b"no picture").decode()}]})
        assert refused.value.code == 400 and b"cannot read the image in row 0" in refused.value.read()
    finally:
        os.killpg(server.pid, 15)
        server.wait(30)


def ask(address, content):
    """Post a request to a served model, and return its answer."""
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(content).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def wait_for(address, log):
    """Wait until a server answers."""
    for _ in range(240):
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text())
