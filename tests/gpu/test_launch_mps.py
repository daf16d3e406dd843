"""NVIDIA's multi-process service: trials that share a GPU give what they give alone, also when a neighbour is killed."""

import json
import os
import subprocess
import sys

import pytest
import torch

from tests.conftest import PROJECT
from tests.gpu.conftest import run, unlike

pytest.importorskip("ray", reason="launch needs Ray")

from launch.driver.mps import start_mps

TRAIN = """
import json, sys, torch
from bel.config import TrainConfig
from bel.data.loading import load
from bel.training.loop import fit
config = TrainConfig.make(json.loads(sys.argv[1]))
for epoch in fit(config, load(config, "train")):
    torch.save(epoch.state()["weights"], sys.argv[2])
    print(epoch.number, flush=True)
"""


SET = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY")
NEIGHBOURS = {
    "kept": {"backbone": "mobilenet_v2", "image_size": 64, "flip": 0.5, "epochs": 40},
    "killed": {"backbone": "mobilenet_v2", "image_size": 64, "epochs": 1000, "seed": 1},
}


@pytest.fixture
def mps(monkeypatch):
    """The service, for processes that the test begins; sweeps may use it meanwhile, and may have begun it already."""
    before, ends = {name: os.environ.get(name) for name in SET}, []
    monkeypatch.setattr("atexit.register", lambda *call: ends.append(call))
    monkeypatch.setattr("launch.driver.mps.ray.shutdown", lambda: None)
    if why := start_mps():
        pytest.skip(f"no multi-process service: {why}")
    yield
    for stop, lock in ends:
        stop(lock)
    if before[SET[0]] is None:
        for name in SET:
            del os.environ[name]


def begun(config, path):
    """A process that trains, and keeps the weights of its last epoch in a file."""
    command = [sys.executable, "-c", TRAIN, json.dumps(config.as_dict()), str(path)]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_neighbour_that_is_killed_changes_nothing(make, tmp_path, mps):
    alone = run(make(**NEIGHBOURS["kept"]))[-1][1]["weights"]
    kept, killed = (begun(make(**fields), tmp_path / name) for name, fields in NEIGHBOURS.items())
    seen = [killed.stdout.readline() for _ in range(3)]
    assert seen == ["1\n", "2\n", "3\n"], "".join(seen) + killed.communicate()[0]
    assert kept.poll() is None, "both are to be there when one is killed"
    killed.kill()
    out, _ = kept.communicate(timeout=120)
    assert kept.returncode == 0, out
    assert not (found := unlike(torch.load(tmp_path / "kept", weights_only=True), alone)), found
