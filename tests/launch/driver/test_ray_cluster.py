"""A sweep on an existing Ray cluster: nodes on loopback, which die in the middle, one after the other."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import mlflow
import pytest
import yaml

from bel.config import TrainConfig
from bel.data.loading import load
from bel.training.loop import fit
from launch import sweep
from launch.driver import driver, ray_cluster
from launch.driver.callback import SweepCallback
from launch.driver.ray_cluster import trials_at_once
from launch.spec.dimensions import FIELDS
from launch.spec.sweep_file import Resources
from tests.chaos.processes import MARK, is_raylet, kill, ours
from tests.conftest import PROJECT, SWEEP, children, working_in
from tests.launch.schedule.test_searches import started  # noqa: F401 - a fixture

NONE = -1  # session of no process


def end_in(seconds, process):
    """Kill a process that hangs."""
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()


@pytest.fixture
def cluster():
    """A running cluster: its process, which listens for nodes to kill, and its address."""
    script = PROJECT / "tests" / "launch" / "driver" / "cluster_here.py"
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


@pytest.mark.slow
def test_a_sweep_on_a_cluster_outlives_the_death_of_its_nodes(cluster, swept, tmp_path):
    process, address = cluster

    def tell(line):
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        assert process.stdout.readline().strip() == "done"

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
    end_in(600, driver)
    said = []
    for line in driver.stdout:
        said.append(line)
        if line.startswith("[1/4]"):
            time.sleep(2)  # until the node has its next trial, which takes longer
            tell("0")
        if line.startswith("[2/4]"):
            time.sleep(2)
            tell("1")
        if "no node of the cluster has 1 CPU any more: trials wait for one" in line:
            tell("more")
    assert driver.wait(timeout=600) == 0, "".join(said)
    assert sum("its worker died" in line for line in said) > 1, "".join(said)
    assert sum("trials wait for one" in line for line in said) == 1, "".join(said)
    with working_in(tmp_path):
        parent, trials = children("cluster")
        assert len(trials) == 4 and {t.info.status for t in (parent, *trials)} == {"FINISHED"}, "".join(said)
        client = mlflow.MlflowClient()
        for trial in trials:
            history = client.get_metric_history(trial.info.run_id, "val/mae")
            assert [m.step for m in history] == list(range(1, 21))
        config = TrainConfig.make({name: trial.data.params[name] for name in FIELDS if name in trial.data.params})
        assert [m.value for m in history] == [e.metrics["val/mae"] for e in fit(config, load(config, "train"))]


def test_places_are_what_fits_on_the_nodes(monkeypatch):
    nodes = [{"CPU": 4.0, "GPU": 2.0}, {"CPU": 3.0}]
    monkeypatch.setattr(ray_cluster, "live_nodes", lambda poll: [{"Resources": node} for node in nodes])
    for cpu, gpu, most in (
        (1, 0, 7),
        (2, 0, 3),
        (0.1, 0, 70),
        (0.5, 0.25, 8),
        (1, 0.25, 4),
        (0.1, 0.4, 4),
        (1, 2, 1),
        (9, 0, 1),
    ):
        assert trials_at_once(Resources(cpu=cpu, gpu=gpu)) == most, (cpu, gpu)


@pytest.mark.slow
def test_trials_that_fit_at_once_begin_at_once(started):  # noqa: F811
    resources, rates = {"cpu": 0.5}, [n / 1000 for n in range(1, 7)]
    assert started("together", {"lr": {"grid": rates}}, base={"epochs": 30}, resources=resources) == 0
    runs = [run.info for run in children("together")[1]]
    before = sorted(run.start_time for run in runs)[:4]
    assert len(runs) == 6 and before[3] < min(run.end_time for run in runs), "four on two processors"


def listeners(pid):
    """Addresses at which a process and all that it started listen, as the kernel writes them."""
    parents = {
        int(stat.parent.name): read(stat).rpartition(")")[2].split()[1:2] for stat in Path("/proc").glob("[0-9]*/stat")
    }
    family = {str(pid)}
    while more := {str(one) for one, parent in parents.items() if family & {*parent}} - family:
        family |= more
    held = {link for one in family for file in Path(f"/proc/{one}/fd").glob("*") for link in target(file)}
    rows = [
        row.split() for name in ("tcp", "tcp6", "udp", "udp6") for row in read(Path("/proc/net", name)).splitlines()[1:]
    ]
    return {row[1].split(":")[0] for row in rows if f"socket:[{row[9]}]" in held and row[2].endswith(":0000")}


def read(path):
    """What the kernel tells; nothing of a process that is gone."""
    with suppress(OSError):
        return path.read_text()
    return ""


def target(file):
    """What an open file is, if it still is."""
    with suppress(OSError):
        return [os.readlink(file)]
    return []


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


class Listening(SweepCallback):
    """A callback that looks at who listens while a trial trains."""

    def on_trial_result(self, iteration, trials, trial, result, **info):
        super().on_trial_result(iteration, trials, trial, result, **info)
        found.append(listeners(os.getpid()))


found: list[set[str]] = []


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="the kernel tells of listeners in another way here")
def test_only_this_machine_can_reach_what_a_sweep_starts(ray_here, rendered, cache, store, monkeypatch):
    monkeypatch.setattr(driver, "SweepCallback", Listening)
    base = SWEEP["base"] | {
        "data_root": str(rendered),
        "cache_dir": str(cache),
        "head": "bel",
        "code": "u",
        "epochs": 1,
    }
    (store / "listens.yaml").write_text(
        yaml.safe_dump({"name": "listens", "base": base, "space": {"seed": {"grid": [0]}}})
    )
    assert sweep.main(["listens.yaml"]) == 0
    assert found and all(seen and seen <= LOOPBACK for seen in found), found


def alone(folder, rendered, **variables):
    """A sweep of one trial in a process of its own, with other variables in its environment."""
    base = SWEEP["base"] | {"data_root": str(rendered), "head": "bel", "code": "u", "epochs": 1}
    (folder / "alone.yaml").write_text(
        yaml.safe_dump({"name": "alone", "base": base, "space": {"seed": {"grid": [0]}}})
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    command = [sys.executable, str(PROJECT / "launch" / "sweep.py"), "alone.yaml"]
    how = {"cwd": folder, "env": environment | variables, "capture_output": True, "text": True, "timeout": 300}
    return subprocess.run(command, **how)


@pytest.mark.slow
def test_without_a_home_and_with_a_folder_for_files_that_is_of_no_use_a_sweep_runs_and_says_nothing(tmp_path, rendered):
    long = tmp_path / ("x" * 100)
    long.mkdir()
    done = alone(tmp_path, rendered, HOME="/dev/null", TMPDIR=str(long))
    said = [line for line in done.stderr.splitlines() if line and not line.startswith("preparing")]
    assert done.returncode == 0 and not said, done.stderr


@pytest.mark.slow
def test_a_folder_that_ray_cannot_use_is_one_line_that_says_what_to_do(tmp_path, rendered):
    (tmp_path / "file").write_text("")
    done = alone(tmp_path, rendered, RAY_TMPDIR=str(tmp_path / "file"))
    said = done.stderr.strip()
    assert done.returncode == 2 and said.startswith("error: cannot start Ray here: ") and "set RAY_TMPDIR" in said, said
    assert "\n" not in said and not (tmp_path / "mlflow.db").exists()


@pytest.fixture
def head(tmp_path):
    """A cluster of one node as `ray start` makes it where there is a token: its address, its mark, its environment."""
    home, files = tmp_path / "home", Path(tempfile.mkdtemp(prefix="ray"))  # of a short name: Ray has sockets in it
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("5" * 64)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"HOME": str(home), MARK: str(files)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", f"--port={port}", f"--temp-dir={files}"]
    command += ["--num-cpus=1", "--include-dashboard=false", "--disable-usage-stats"]
    try:
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        yield f"127.0.0.1:{port}", str(files), environment
    finally:
        for pid in ours(str(files), NONE):
            kill(pid)
        shutil.rmtree(files, ignore_errors=True)


@pytest.mark.slow
def test_a_cluster_with_a_token_is_joined_and_its_death_is_said(head, swept, tmp_path):
    address, mark, environment = head
    settings = ["name=lost", "space.head.grid=[bel]", "space.code.grid=[u, j]", "space.code_bits.grid=[38]", "loss=ce",
                "search.method=grid", "search.trials=null", "epochs=20"]  # fmt: skip
    arguments = [sys.executable, str(PROJECT / "launch" / "sweep.py"), str(swept[1])]
    arguments += [part for setting in settings for part in ("--set", setting)]
    environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    how = {"cwd": tmp_path, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    refused = subprocess.run([*arguments, "--address", address], **how)
    assert refused.returncode == 2 and "set RAY_AUTH_MODE=token" in refused.stdout, refused.stdout
    environment |= {"RAY_AUTH_MODE": "token"}
    driver = subprocess.Popen([*arguments, "--address", address], **how)
    end_in(600, driver)
    said = []
    for line in driver.stdout:
        said.append(line)
        if line.startswith("[1/2]") and " finished " in line:
            kill(next(process.pid for process in ours(mark, NONE).values() if is_raylet(process)))
    assert driver.wait(timeout=10) == 1, "".join(said)
    assert any("Ray has died on this node of its cluster" in x for x in said), "".join(said)
    again = subprocess.run(arguments, **how)  # on this machine alone
    assert again.returncode == 0 and "[2/2]" in again.stdout and "[1/2]" not in again.stdout, again.stdout
    with working_in(tmp_path):
        parent, trials = children("lost")
        assert len(trials) == 2 and {t.info.status for t in (parent, *trials)} == {"FINISHED"}
        for trial in trials:
            history = mlflow.MlflowClient().get_metric_history(trial.info.run_id, "val/mae")
            assert [m.step for m in history] == list(range(1, 21))
