"""What a sweep costs beside training: `python tests/benchmarks/overhead.py [--demo-epochs 6] [--skip-demo]`.

500 trials of an epoch that trains nothing, through Ray, Optuna (tpe) and MLflow (sqlite), with all their files: seconds a
trial, start-up apart; then 16 real trials of the demo: wall time over training time per slot.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import yaml

PROJECT = Path(__file__).parents[2]
SIZES = (50, 200, 500)
SLOTS = 2
BEL_DATA = Path(sys.executable).with_name("bel-data")


def noop(sweep_file: Path) -> float:
    """Run a sweep whose epochs train nothing; seconds from its first trial's start to its end."""
    import launch.driver.driver
    import launch.driver.stage
    from bel.training.loop import Epoch, fit
    from launch import sweep
    from launch.driver.callback import SweepCallback
    from launch.driver.trainable import Trial

    names = ("val/mae", "val/best_mae", "val/mae_groups", "val/best_mae_groups")

    class Noop(Trial):
        """A trial with a real network's state, whose only epoch is there at once."""

        made: ClassVar[dict[str, Any]] = {}

        def begin(self, last: dict[str, Any] | None, best: dict[str, Any] | None) -> None:
            if not self.made:
                epoch = next(fit(self.train_config, self.data))
                self.made.update(metrics=epoch.metrics, validation=epoch.validation, state=epoch.state())
            error = abs(self.train_config.lr - 1e-3)
            metrics = self.made["metrics"] | dict.fromkeys(names, error)
            state = self.made["state"] | {"config": self.train_config.as_dict()}
            self.epochs = iter([Epoch(1, metrics, True, self.made["validation"], lambda: state)])

    class Watch(SweepCallback):
        """Notes when the first trial starts."""

        started: ClassVar[list[float]] = []

        def on_trial_start(self, *arguments: Any, **info: Any) -> None:
            self.started.append(time.monotonic())
            super().on_trial_start(*arguments, **info)

    launch.driver.stage.Trial, launch.driver.driver.SweepCallback = Noop, Watch  # type: ignore[misc]
    code = sweep.main([str(sweep_file), "--quiet"])
    assert code == 0, f"the sweep ended with {code}"
    return time.monotonic() - Watch.started[0]


def real(sweep_file: Path) -> tuple[float, float]:
    """Run a sweep; seconds from its first trial's start to its end, and the sum of its epochs' seconds."""
    import mlflow

    import launch.driver.driver
    from launch import sweep
    from launch.driver.callback import SweepCallback

    started: list[float] = []

    class Watch(SweepCallback):
        """Notes when the first trial starts."""

        def on_trial_start(self, *arguments: Any, **info: Any) -> None:
            started.append(time.monotonic())
            super().on_trial_start(*arguments, **info)

    launch.driver.driver.SweepCallback = Watch  # type: ignore[misc]
    code = sweep.main([str(sweep_file), "--quiet"])
    wall = time.monotonic() - started[0]
    assert code == 0, f"the sweep ended with {code}"
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(yaml.safe_load(sweep_file.read_text())["name"])
    runs = client.search_runs([experiment.experiment_id], "metrics.epoch > 0", max_results=1000)
    histories = [client.get_metric_history(run.info.run_id, "seconds") for run in runs]
    return wall, sum(metric.value for history in histories for metric in history)


def child(kind: str, content: dict[str, Any], folder: Path) -> Any:
    """Run one of the above in a process and a folder of its own."""
    folder.mkdir()
    (folder / "sweep.yaml").write_text(yaml.safe_dump(content))
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}", "PYTHONPATH": str(PROJECT)}
    arguments = [sys.executable, __file__, "--child", kind, "sweep.yaml"]
    done = subprocess.run(arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def render(folder: Path, **how: int) -> None:
    """Render heads in the BIWI layout."""
    options = [part for name, value in how.items() for part in (f"--{name}", str(value))]
    arguments = [BEL_DATA, "synth", "--layout", "biwi", "--out", folder, *options]
    subprocess.run(arguments, cwd=PROJECT, check=True, capture_output=True)


def overhead(folder: Path) -> bool:
    """Print seconds a trial of no-op sweeps, and whether they stay flat."""
    base = {
        "protocol": "biwi", "data_root": str(folder / "data"), "cache_dir": str(folder / "prepared"), "crop": "frame",
        "image_size": 32, "backbone": "resnet10", "weights": "none", "batch_size": 8, "epochs": 1, "code": "u", "code_bits": 38,
    }  # fmt: skip
    render(folder / "data", subjects=6, frames=8, size=40)
    times = {}
    print(f"no-op epochs, tpe, {SLOTS} slots, {os.cpu_count()} cores\ntrials   seconds  a trial")
    for n in (SIZES[0] - 1, *SIZES):  # the first finds cold files, and counts for nothing
        content = {"name": f"noop{n}", "base": base, "space": {"lr": {"loguniform": [1e-5, 1e-1]}},
                   "search": {"method": "tpe", "trials": n}, "resources": {"cpu": 1}}  # fmt: skip
        times[n] = child("noop", content, folder / f"noop{n}")
        print(f"{n:>6}{times[n]:10.1f}{times[n] / n:9.3f}", flush=True)
    early, late = (times[200] - times[50]) / 150, (times[500] - times[200]) / 300
    print(f"bar: at most 0.3 s a trial, measured {times[500] / 500:.3f}")
    print(f"bar: later over earlier trials at most 1.3, measured {late / early:.2f} ({late:.3f} s over {early:.3f} s)")
    return times[500] / 500 <= 0.3 and late <= 1.3 * early


def demo(folder: Path, epochs: int) -> bool:
    """Print wall time over training time per slot of 16 trials of the demo."""
    render(folder / "heads", subjects=160, frames=16, size=80)
    content = yaml.safe_load((PROJECT / "sweeps" / "demo.yaml").read_text())
    content["base"] |= {"data_root": str(folder / "heads"), "cache_dir": str(folder / "prepared"), "epochs": epochs}
    content["space"]["seed"] = {"grid": [0, 1]}
    content["search"] = {"method": "grid"}
    wall, training = child("real", content, folder / "demo")
    ratio = wall / (training / SLOTS)
    print(f"16 demo trials of {epochs} epochs: {wall:.1f} s, training {training:.1f} s in {SLOTS} slots")
    print(f"bar: at most 1.10, measured {ratio:.3f}")
    return ratio <= 1.10


def main() -> int:
    """Run and print; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--demo-epochs", type=int, default=6)
    parser.add_argument("--skip-demo", action="store_true")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        kind, path = arguments.child
        print(json.dumps({"noop": noop, "real": real}[kind](Path(path))))
        return 0
    with tempfile.TemporaryDirectory() as work:
        good = overhead(Path(work))
        if not arguments.skip_demo:
            good = demo(Path(work), arguments.demo_epochs) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
