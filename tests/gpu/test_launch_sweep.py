"""Sweeps on a real GPU: shares of it, none of it, as many trials as fit, and a driver that is killed and goes on."""

import os
import re
import subprocess
import sys
import time
import uuid
from collections import Counter

import pytest
import torch
import yaml

from bel.config import TrainConfig
from bel.data.loading import load
from bel.run_layout import TRIAL
from bel.training.loop import fit
from tests.conftest import PROJECT, SWEEP, children

for package in ("ray", "optuna", "mlflow"):
    pytest.importorskip(package, reason="sweeps need Ray, Optuna and MLflow")

import mlflow  # noqa: E402 - where it is installed
import ray  # noqa: E402

from launch import sweep  # noqa: E402
from launch.driver.probing import resolve_gpu_share  # noqa: E402
from launch.spec.combinations import make_plan  # noqa: E402
from launch.spec.sweep_file import read_sweep  # noqa: E402
from results.retest import evaluate  # noqa: E402
from tests.chaos.campaign import Note, counts  # noqa: E402
from tests.chaos.processes import MARK, kill, ours  # noqa: E402
from tests.launch.driver.test_estimate import alone  # noqa: E402
from tests.launch.driver.test_ray_cluster import end_in  # noqa: E402


@pytest.fixture
def written(rendered, cache, store):
    """Writes a sweep of a name on rendered heads, with sections of one's own, into the working folder; its path."""

    def write(name, space, **sections):
        base = SWEEP["base"] | {"data_root": str(rendered), "cache_dir": str(cache), "device": "auto", "code": "u"}
        base = {field: value for field, value in base.items() if field not in space}
        content = {"name": name, "base": base, "space": space, "resources": {"cpu": 0.5, "gpu": 0.25}} | sections
        (store / f"{name}.yaml").write_text(yaml.safe_dump(content))
        return store / f"{name}.yaml"

    return write


@pytest.fixture
def ended(ray_here, written, capsys):
    """Runs a sweep that must end well: its trials, and what it said."""

    def run(name, space, **sections):
        code = sweep.main([str(written(name, space, **sections))])
        captured = capsys.readouterr()
        said = captured.out + captured.err
        assert code == 0, f"the sweep returned {code}: {said}"
        parent, trials = children(name)
        states = Counter(run.info.status for run in (parent, *trials))
        assert set(states) == {"FINISHED"}, f"{states}, {[t.data.tags.get('error') for t in trials]}: {said}"
        return trials

    return run


def logged(run, name="val/mae"):
    """The values of a metric of a run, epoch by epoch."""
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, name)
    return [metric.value for metric in sorted(history, key=lambda metric: metric.step)]


def test_four_trials_on_a_gpu_end_well_and_the_best_repeats(ended, capsys):
    trials = ended("quarters", {"head": {"grid": ["bel", "direct", "classification", "hopenet"]}})
    devices = {(t.data.params["device"], t.data.tags["device"]) for t in trials}
    assert devices == {("cuda", f"cuda {torch.cuda.get_device_name()}")} and len(trials) == 4, devices
    best = min(trials, key=lambda trial: trial.data.metrics["val/best_mae_groups"])
    code = evaluate.main(["--run-id", best.info.run_id])
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert code == 0 and "repeats the logged" in said and "allowed 1e-06" in said, f"bel-eval returned {code}: {said}"
    assert "test/mae" in mlflow.get_run(best.info.run_id).data.metrics
    config = TrainConfig.make({k: v for k, v in best.data.params.items() if k in TrainConfig.__dataclass_fields__})
    by_itself = [epoch.metrics["val/mae"] for epoch in fit(config, load(config, "train"))]
    assert logged(best) == by_itself, "a trial among others, and its run alone"


def test_a_sweep_without_a_share_stays_off_the_gpu(ended):
    (trial,) = ended("cpu", {"head": {"grid": ["direct"]}}, resources={"cpu": 1})
    device = trial.data.params["device"], trial.data.tags["device"]
    assert device[0] == "cpu" and device[1].startswith("cpu "), device


def test_a_worker_without_a_share_sees_no_gpu_and_has_no_context(ray_here, make):
    def train(config):
        (epoch,) = fit(config, load(config, "train"))
        seen = {"device": epoch.state()["environment"]["device"].split()[0], "available": torch.cuda.is_available()}
        return seen | {"context": torch.cuda.is_initialized(), "visible": os.environ.get("CUDA_VISIBLE_DEVICES")}

    config = make(device="auto", epochs=1)
    seen = {gpu: ray.get(ray.remote(num_cpus=0.5, num_gpus=gpu)(train).remote(config)) for gpu in (0, 0.25)}
    assert seen[0] == {"device": "cpu", "available": False, "context": False, "visible": ""}, seen
    assert seen[0.25] | {"visible": ""} == {"device": "cuda", "available": True, "context": True, "visible": ""}, seen


def test_a_share_of_a_gpu_that_is_not_there_is_one_line(written, store):
    path = written("none", {"head": {"grid": ["direct"]}}, resources={"cpu": 1, "gpu": 0.5})
    code, out, err, _ = alone(store, str(path), CUDA_VISIBLE_DEVICES="")
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    said = f"exit code {code}: {out}{err}"
    assert code == 2 and len(errors) == 1 and "Traceback" not in err, said
    assert re.search(r"asks for 0.5 GPU a trial, and Ray sees none", errors[0]), said


def test_auto_gives_each_trial_the_share_that_was_measured(ray_here, written, capsys):
    asked = read_sweep(written("auto", {"code": {"grid": ["u", "hex16"]}}, resources={"cpu": 0.5, "gpu": "auto"}), [])
    configs = make_plan(asked).configs
    gpu = resolve_gpu_share(asked, configs).resources.gpu
    out = capsys.readouterr().out
    assert isinstance(gpu, int | float) and 0 < gpu <= 1, f"resources.gpu is {gpu!r}: {out}"
    last = [line for line in out.splitlines() if line.startswith("resources.gpu auto")][-1]
    said = set(re.findall(r"\d+(?:\.\d+)?", last))
    assert said & {f"{gpu:g}", f"{1 / gpu:.0f}"}, f"resources.gpu is {gpu!r}, and it says {out}"


@pytest.fixture
def driver(store):
    """Starts a driver whose workers note what they train, and lists what is left of it, which is killed in the end."""
    mark, sessions = uuid.uuid4().hex, []
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {MARK: mark, "BEL_CHAOS_NOTES": str(store / "notes")}
    environment["PYTHONPATH"] = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{store / 'mlflow.db'}"}

    def start(path):
        command = [sys.executable, str(PROJECT / "tests" / "chaos" / "driver.py"), str(path)]
        with (store / "err").open("a") as err:
            how = {"stdout": subprocess.PIPE, "stderr": err, "text": True, "start_new_session": True}
            process = subprocess.Popen(command, cwd=store, env=environment, **how)
        sessions.append(process.pid)
        return process

    def left():
        return {pid: process for session in sessions for pid, process in ours(mark, session).items()}

    yield start, left
    for pid in left():
        kill(pid)


def kept(store):
    """How often each epoch of each trial was trained and kept."""
    if not (store / "notes").exists():
        return Counter()
    rows = [line.split() for line in (store / "notes").read_text().splitlines()]
    notes = [Note(float(at), key, int(epoch), int(pid), what) for at, key, epoch, pid, what in rows]
    return Counter((note.key, note.epoch) for note in notes if note.what == "kept")


def finished():
    """When each trial ended that MLflow knows as finished, by its key."""
    runs = children("cut")[1]
    return {t.data.tags[TRIAL]: t.info.end_time for t in runs if t.info.status == "FINISHED"}


def test_a_driver_that_is_killed_goes_on_and_trains_nothing_twice(driver, written, store):
    start, left = driver
    path = written("cut", {"seed": {"grid": [*range(6)]}}, resources={"cpu": 1, "gpu": 0.5})
    process = start(path)
    end_in(120, process)
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("[1/6]"):
            kill(process.pid)
            break
    code = process.wait(timeout=60)
    assert code == -9, f"the driver returned {code} before it was killed: {said}, {(store / 'err').read_text()}"
    end = time.monotonic() + 20
    while any(map(counts, left().values())) and time.monotonic() < end:
        time.sleep(0.2)
    before, trained = finished(), kept(store)
    assert 2 <= len(trained) < 12, f"epochs kept before the driver was killed: {trained}; {''.join(said)}"
    again = start(path)
    out, _ = again.communicate(timeout=180)
    said = f"exit code {again.returncode}: {out}{(store / 'err').read_text()}"
    assert again.returncode == 0, said
    after = finished()
    assert len(children("cut")[1]) == len(after) == 6 and before.items() <= after.items(), f"{before}, {after}; {said}"
    trained = kept(store)
    assert len(trained) == 12 and set(trained.values()) == {1}, f"times that epochs were trained: {trained}; {said}"
