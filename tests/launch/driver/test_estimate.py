"""What `--plan` says, what it leaves alone, and what is refused before anything starts."""

import json
import os
import re
import socket
import subprocess
import sys
import time

import mlflow
import pytest
import yaml

from bel.errors import UserError
from launch import sweep
from launch.driver import estimate, preparation
from launch.driver.probing import fewest, trials_on_gpu
from launch.driver.ray_cluster import refuse_unreachable
from tests.conftest import PROJECT, SWEEP, children, without_gpu
from tests.launch.schedule.test_searches import started  # noqa: F401 - a fixture

FOUR = {"code": {"grid": ["u", "hex16"]}, "code_bits": {"grid": [38, 76, 512]}}  # hex16 has no 512 levels


def figures(text):
    """Epochs, training images, hours and trials at once of a plan."""
    work = re.search(r"^(\d+) epochs and (\S+) training images", text, re.MULTILINE)
    pace = re.search(r"^about (\d+\.\d+) h with (\d+) trials at once", text, re.MULTILINE)
    return int(work[1]), float(work[2]), float(pace[1]), int(pace[2])


@pytest.mark.slow
def test_a_plan_says_all_and_leaves_nothing_and_half_way_half_of_it(started, store, capsys):  # noqa: F811
    assert started("plan", FOUR, "--plan", base={"epochs": 2}) == 0
    out = capsys.readouterr().out
    assert "5 valid combinations of lists, 1 dropped" in out and re.search(r"dropped 1 combination: .*256", out)
    assert "data biwi: 60 images train, 12 validation images of 1 other groups select" in out
    assert "sweep plan: 5 trials to run (grid, scheduler none), 0 finished before, 0 by other sweeps" in out
    assert figures(out)[:2] == (10, 600) and figures(out)[3] == 2
    kept = re.search(r"^disk: about (\d+\.\d\d) GB of checkpoints kept, (\d+\.\d\d) GB more", out, re.MULTILINE)
    assert 0.05 < float(kept[1]) < 0.2 and 0.1 < float(kept[2]) < 0.4, "a resnet10 has 4.9 million weights"
    told = r"^resnet10, 32 px, batch 8: (\d+) images/s, (\d+\.\d+) of (\d+\.\d) GB memory, weights 1\d+\.\d MB$"
    ((speed, peak, memory),) = re.findall(told, out, re.MULTILINE)
    assert int(speed) > 1 and 0 < float(peak) < float(memory)
    assert mlflow.MlflowClient().get_experiment_by_name("plan") is None and not (store / "runs").exists()
    assert started("plan", FOUR, base={"epochs": 2}, budget={"trials": 2}) == 0
    before = children("plan")
    capsys.readouterr()
    assert started("plan", FOUR, "--plan", base={"epochs": 2}) == 0
    out = capsys.readouterr().out
    assert "3 trials to run (grid, scheduler none), 2 finished before" in out and figures(out)[:2] == (6, 360)
    after = children("plan")
    assert before[0].info.end_time == after[0].info.end_time and len(after[1]) == 2, "a plan touches no run"


@pytest.mark.slow
def test_a_plan_counts_repeats_and_the_folds_of_a_tuned_sweep(started, store, capsys):  # noqa: F811
    space = {"code": {"grid": ["u", "hex16"]}, "lr": {"grid": [1e-3, 1e-4, 1e-5]}}
    search = {"tune": "lr", "folds": 4, "seeds": 2}
    assert started("tuned", space, "--plan", base={"epochs": 3}, search=search) == 0
    out = capsys.readouterr().out
    assert "28 trials to run" in out and figures(out)[0] == (2 * 3 + 2 * 4) * 2 * 3
    assert started("tuned", space, "--plan", "--set", "budget.trials=5", base={"epochs": 3}, search=search) == 0
    assert "5 trials to run" in capsys.readouterr().out
    search = {"method": "tpe", "trials": 10, "seeds": 2, "scheduler": "asha"}
    assert started("tuned", space, "--plan", base={"epochs": 3}, search=search) == 0
    out = capsys.readouterr().out
    assert "12 trials to run (tpe, scheduler asha)" in out and figures(out)[0] == 36, "there are six combinations"


@pytest.mark.parametrize(
    ("rates", "number"),
    [
        ({1: 100.0}, 1),
        ({1: 100.0, 2: 190.0, 4: 300.0, 8: 310.0}, 4),  # 8 are no twentieth faster than 4
        ({1: 100.0, 2: 90.0, 3: 80.0}, 1),
        ({1: 100.0, 2: 150.0, 4: 149.0, 5: 170.0}, 5),
    ],
)
def test_as_few_trials_share_a_gpu_as_are_as_fast_as_more(rates, number):
    assert fewest(rates) == number


def test_trials_beside_each_other_are_shares_of_a_gpu_and_processors_for_them(ray_here):
    assert [trials_on_gpu(0.5, gpu) for gpu in (0, 1, 2, 0.5, 0.25, 1 / 3)] == [1, 1, 1, 2, 4, 3]
    assert trials_on_gpu(1, 0.1) == 2 and trials_on_gpu(2, 0.1) == 1, "there are two processors"


def alone(folder, *arguments, **variables):
    """The command in a process of its own, which starts a Ray of its own if any: exit code, stdout, stderr, seconds."""
    command = [sys.executable, str(PROJECT / "launch" / "sweep.py"), *arguments]
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"} | variables
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout, done.stderr, time.monotonic() - began


def written(folder, rendered, cache):
    """A sweep file."""
    base = SWEEP["base"] | {"data_root": str(rendered), "cache_dir": str(cache), "head": "bel", "device": "auto"}
    content = {"name": "auto", "base": base, "space": {"code": {"grid": ["u"]}}, "resources": {"gpu": "auto"}}
    (folder / "auto.yaml").write_text(yaml.safe_dump(content))
    return "auto.yaml"


@pytest.mark.slow
@without_gpu
def test_gpu_auto_without_a_gpu_is_the_cpu(rendered, cache, tmp_path):
    code, out, err, _ = alone(tmp_path, written(tmp_path, rendered, cache), "--plan")
    assert code == 0, err
    assert "resources.gpu auto: Ray has no GPU here, trials run on CPUs" in out
    assert "1 trials to run" in out and figures(out)[3] == os.cpu_count()


@pytest.mark.slow
def test_a_plan_of_trials_on_cpus_starts_ray_where_it_measures_and_refuses_what_no_machine_has(
    rendered, cache, tmp_path
):
    words = [written(tmp_path, rendered, cache), "--plan", "--set", "resources.gpu=0"]
    code, out, err, _ = alone(tmp_path, *words)
    assert code == 0 and "1 trials to run" in out and figures(out)[3] == os.cpu_count(), err
    code, out, err, _ = alone(tmp_path, *words, "--set", "resources.cpu=999")
    assert code == 2 and not out and "error: resources.cpu asks for 999 CPU a trial, and Ray has at most" in err


def test_a_plan_of_a_sweep_that_is_done_starts_no_ray(swept_store, capsys, monkeypatch):
    assert sweep.main(["fixture.yaml", "--plan", "--set", "resources.cpu=9999"]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("error: resources.cpu asks for 9999 CPU a trial")
    for room in (estimate, preparation):
        monkeypatch.setattr(room, "start_ray", lambda *_: pytest.fail("Ray is started"))
    assert sweep.main(["fixture.yaml", "--plan"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("sweep fixture: 0 trials to run")
    assert sweep.main(["fixture.yaml", "--plan", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["trials_at_once"] is None


def dead_port():
    """A port at which nobody listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.mark.slow
def test_a_cluster_that_does_not_answer_is_a_line_at_once(rendered, cache, tmp_path):
    code, _, err, seconds = alone(tmp_path, written(tmp_path, rendered, cache), RAY_ADDRESS=f"127.0.0.1:{dead_port()}")
    lines = [line for line in err.splitlines() if not line.startswith("preparing")]
    assert code == 2 and len(lines) == 1 and re.match(r"error: no Ray cluster answers at 127.0.0.1:\d+ \(", lines[0])
    assert "ray start --head" in lines[0] and not (tmp_path / "mlflow.db").exists()
    began = time.monotonic()
    with pytest.raises(UserError, match="no Ray cluster answers"):
        refuse_unreachable(f"localhost:{dead_port()}")
    assert time.monotonic() - began < 10 and seconds < 120


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("ray://host:10001", "not through a client"),
        ("http://host:8265", "must be HOST:PORT or auto"),
        ("somewhere", "must be HOST:PORT, auto or local"),
        ("host:port", "no Ray cluster answers at host:port"),
        ("127.0.0.1:99999999", "no Ray cluster answers"),
        (":", "no Ray cluster answers"),
        ("127.0.0.1:-1", "no Ray cluster answers"),
    ],
)
def test_an_address_that_is_none_is_refused(address, says):
    with pytest.raises(UserError, match=re.escape(says)):
        refuse_unreachable(address)


def test_auto_and_a_cluster_that_listens_are_let_through():
    refuse_unreachable("auto")
    with socket.create_server(("127.0.0.1", 0)) as server:
        refuse_unreachable(f"127.0.0.1:{server.getsockname()[1]}")
