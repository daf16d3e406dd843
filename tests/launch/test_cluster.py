"""A sweep on an existing Ray cluster: two nodes on loopback, one of which dies in the middle."""

import os
import shutil
import subprocess
import sys
import time

import mlflow
import pytest

from bel.config import TrainConfig
from bel.data.prepared import load
from bel.train import fit
from launch.dimensions import FIELDS
from tests.conftest import PROJECT, children, working_in


@pytest.fixture
def cluster():
    """A running cluster: its process, which listens for nodes to kill, and its address."""
    script = PROJECT / "tests" / "launch" / "cluster_here.py"
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    address = process.stdout.readline().strip()
    assert address, "the cluster did not start"
    yield process, address
    process.stdin.close()
    process.wait(timeout=60)


def test_a_sweep_on_a_cluster_outlives_the_death_of_a_node(cluster, swept, tmp_path):
    process, address = cluster
    for name in ("bel", "launch"):  # other source than that which is installed: the workers must get it from the driver
        shutil.copytree(PROJECT / name, tmp_path / "code" / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "code" / "bel" / "__init__.py").open("a") as file:
        file.write("# shipped\n")
    settings = ["name=cluster", "space.head.grid=[bel]", "space.code.grid=[u, j]", "space.code_bits.grid=[38, 76]", "loss=ce",
                "search.method=grid", "search.trials=null", "epochs=20"]  # fmt: skip
    arguments = [sys.executable, str(tmp_path / "code" / "launch" / "sweep.py"), str(swept[1]), "--address", address]
    arguments += ["--storage", f"file://{tmp_path / 'shared'}"]
    arguments += [part for setting in settings for part in ("--set", setting)]
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "PYTHONPATH": str(tmp_path / "code"),
    }
    environment.pop("RAY_ADDRESS", None)
    driver = subprocess.Popen(
        arguments, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    said = []
    for line in driver.stdout:
        said.append(line)
        if line.startswith("[1/4]"):
            time.sleep(2)  # until the node has its next trial, which takes longer
            process.stdin.write("0\n")
            process.stdin.flush()
            assert process.stdout.readline().strip() == "killed"
    assert driver.wait(timeout=200) == 0, "".join(said)
    assert any("its worker died" in line for line in said), "".join(said)
    with working_in(tmp_path):
        parent, trials = children("cluster")
        assert len(trials) == 4 and {t.info.status for t in (parent, *trials)} == {"FINISHED"}, "".join(said)
        client = mlflow.MlflowClient()
        for trial in trials:
            history = client.get_metric_history(trial.info.run_id, "val/mae")
            assert [m.step for m in history] == list(range(1, 21))
        config = TrainConfig.make({name: trial.data.params[name] for name in FIELDS if name in trial.data.params})
        assert [m.value for m in history] == [e.metrics["val/mae"] for e in fit(config, load(config, "train"))]
