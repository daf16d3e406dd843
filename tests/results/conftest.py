"""What the tests of results share: the runs of a finished sweep, networks, pictures, and what is read back."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from bel.config import TrainConfig
from bel.training import checkpoint
from bel.training.build import build_model
from results.store.runs import find_sweeps, trials

FIELDS = {
    "protocol": "biwi",
    "crop": "frame",
    "image_size": 32,
    "backbone": "resnet10",
    "weights": "none",
    "device": "cpu",
}


def state_of(config, model):
    """A checkpoint's state of a network that nothing has trained."""
    return {
        "config": config.as_dict(),
        "weights": model.state_dict(),
        "optimiser": [],
        "epoch": 3,
        "best": {"val/best_mae": 9.0},
        "metrics": {"val/mae": 9.0},
        "data": {"data_digest": "0" * 12, "split_hash": "0" * 12},
        "environment": checkpoint.environment(torch.device("cpu"), config.as_dict()),
    }


def opencv():
    return pytest.importorskip("cv2", reason="videos and faces: pip install 'bel-sweeps[video]'")


def table(out):
    """The rows of a folder's table."""
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def swept_runs(swept_store):
    """The parent run and the trials of the finished sweep."""
    (parent,) = find_sweeps(["fixture"])
    return parent, trials([parent])


@pytest.fixture
def made(tmp_path):
    """A function that writes a checkpoint of a random network, with fields of one's own."""

    def make(**fields):
        code = {"code": "u"} if fields.get("head", "bel") == "bel" else {}
        config = TrainConfig.make(FIELDS | code | fields)
        torch.manual_seed(5)
        state = state_of(config, build_model(config))
        path = tmp_path / "made.pt"
        checkpoint.save(state, path)
        return str(path)

    return make


@pytest.fixture
def pictures(tmp_path):
    """A folder with three pictures, one of them in a folder of its own, and what is no picture."""
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(256, size=(3, 40, 60, 3), dtype=np.uint8)
    for name, pixels in zip(("b.png", "a.jpg", "below/c.bmp"), noise, strict=True):
        Image.fromarray(pixels).save(folder / name)
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_bytes(b"")
    return folder
