"""What many tests share: rendered data in both layouts, the real data where it is, a small config, a store of one's own."""

import os
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # tests compute on the CPU, also where there is a GPU

import mlflow
import pytest
import torch

from bel.config import TrainConfig
from bel.data.synthetic import synthesise

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Trials run on one core; so do the runs that they are compared with."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """A data_root with small rendered sets in the BIWI and the 300W_LP + AFLW2000 layouts."""
    root = tmp_path_factory.mktemp("rendered")
    synthesise("biwi", root, subjects=8, frames=12, size=64, seed=0)
    synthesise("300w_lp", root, subjects=10, frames=6, size=64, seed=0)
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache of prepared arrays for the whole session."""
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture
def small(rendered, cache):
    """Fields of a config that trains in a second."""
    return {
        "protocol": "biwi",
        "data_root": str(rendered),
        "cache_dir": str(cache),
        "crop": "frame",
        "image_size": 32,
        "backbone": "resnet10",
        "weights": "none",
        "batch_size": 8,
        "epochs": 2,
        "lr": 1e-3,
        "device": "cpu",
    }


@pytest.fixture
def make(small):
    """A small config with some fields of one's own."""
    return lambda **fields: TrainConfig.make(small | {"code": "u"} | fields)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An MLflow store and a working folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield tmp_path
    mlflow.set_tracking_uri(before)


def real_data(name: str) -> Path:
    """The folder `datasets/NAME` of the project, or of its shared data untarred; skips the test where there is none."""
    folder = PROJECT / "datasets" / name
    if not folder.is_dir():
        pytest.skip(f"real data: no {folder.relative_to(PROJECT)} (it is research data, not in git)")
    return folder
