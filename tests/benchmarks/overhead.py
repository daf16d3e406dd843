"""What a sweep costs beside training: `python tests/benchmarks/overhead.py [--parts few demo peer many] [--peer FILE]`.

few: up to 500 trials of an epoch that trains nothing, through Ray, Optuna (tpe) and MLflow (sqlite), with all their files:
seconds a trial, start-up apart. demo: 16 real trials of the demo: wall time over training time per slot. peer: 50 such
trials and those of another sweep, the script FILE (`FILE 50 --reuse`), in turns. many: 2,000 trials in one store, whether they
stay flat, and what its leaderboard, its plan and taking it up again take.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, ClassVar

import yaml

PROJECT = Path(__file__).parents[2]
SIZES = (50, 200, 500)
MANY = 2000
ROUNDS = 3  # of ours and the peer's, in turns
SLOTS = 2
BEL_DATA, BEL_RESULTS = (Path(sys.executable).with_name(name) for name in ("bel-data", "bel-results"))


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


def sweep_of(folder: Path, trials: int) -> dict[str, Any]:
    """Return a sweep of so many trials over a learning rate, on heads that are rendered where they are not there."""
    base = {
        "protocol": "biwi", "data_root": str(folder / "data"), "cache_dir": str(folder / "prepared"), "crop": "frame",
        "image_size": 32, "backbone": "resnet10", "weights": "none", "batch_size": 8, "epochs": 1, "code": "u", "code_bits": 38,
    }  # fmt: skip
    if not (folder / "data").exists():
        render(folder / "data", subjects=6, frames=8, size=40)
    return {"name": f"noop{trials}", "base": base, "space": {"lr": {"loguniform": [1e-5, 1e-1]}},
            "search": {"method": "tpe", "trials": trials}, "resources": {"cpu": 1}}  # fmt: skip


def overhead(folder: Path, arguments: argparse.Namespace) -> bool:
    """Print seconds a trial of no-op sweeps, and whether they stay flat."""
    times = {}
    print(f"no-op epochs, tpe, {SLOTS} slots, {os.cpu_count()} cores\ntrials   seconds  a trial")
    for n in (SIZES[0] - 1, *SIZES):  # the first finds cold files, and counts for nothing
        times[n] = child("noop", sweep_of(folder, n), folder / f"noop{n}")
        print(f"{n:>6}{times[n]:10.1f}{times[n] / n:9.3f}", flush=True)
    return flat(times, SIZES)


def flat(times: dict[int, float], sizes: tuple[int, int, int]) -> bool:
    """Print whether later trials take as long as earlier ones."""
    few, more, most = sizes
    early, late = (times[more] - times[few]) / (more - few), (times[most] - times[more]) / (most - more)
    print(f"bar: at most 0.3 s a trial, measured {times[most] / most:.3f}")
    print(f"bar: later over earlier trials at most 1.3, measured {late / early:.2f} ({late:.3f} s over {early:.3f} s)")
    return times[most] / most <= 0.3 and late <= 1.3 * early


def peer(folder: Path, arguments: argparse.Namespace) -> bool:
    """Print seconds a trial of ours and of a peer's sweep, in turns."""
    n, ours, other = SIZES[0], [], []
    for number in range(ROUNDS):
        ours.append(child("noop", sweep_of(folder, n), folder / f"ours{number}") / n)
        done = subprocess.run(
            [sys.executable, arguments.peer, str(n), "--reuse"], cwd=folder, capture_output=True, text=True, check=True
        )
        other.append(float(re.search(r"([0-9.]+) s a trial", done.stdout)[1]))  # type: ignore[index]
        print(f"{n} trials: ours {ours[-1]:.3f} s a trial, the peer's {other[-1]:.3f}", flush=True)
    ratio = statistics.median(ours) / statistics.median(other)
    print(f"bar: at most the peer's, measured {ratio:.2f} of it (medians of {ROUNDS})")
    return ratio <= 1


def many(folder: Path, arguments: argparse.Namespace) -> bool:
    """Print seconds a trial of a large sweep, and what reading it takes."""
    sizes = (SIZES[1], SIZES[2], MANY)
    times = {n: child("noop", sweep_of(folder, n), folder / f"large{n}") for n in sizes}
    good = flat(times, sizes)
    place, name = folder / f"large{MANY}", f"noop{MANY}"
    sweep = [sys.executable, str(PROJECT / "launch" / "sweep.py"), "sweep.yaml"]
    commands = {"leaderboard": [BEL_RESULTS, "leaderboard", name],
                "plan": [*sweep, "--plan"], "taking it up again": sweep}  # fmt: skip
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{place / 'mlflow.db'}", "PYTHONPATH": str(PROJECT)}
    for what, words in commands.items():
        bar, began = 6 if what == "leaderboard" else 10, time.monotonic()
        subprocess.run(words, cwd=place, env=environment, check=True, capture_output=True)
        took = time.monotonic() - began
        print(f"bar: {what} of {MANY} trials in {bar} s, measured {took:.1f}", flush=True)
        good = good and took < bar
    return good


def demo(folder: Path, arguments: argparse.Namespace) -> bool:
    """Print wall time over training time per slot of 16 trials of the demo."""
    epochs = arguments.demo_epochs
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


PARTS = {"few": overhead, "demo": demo, "peer": peer, "many": many}


def main() -> int:
    """Run and print; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--demo-epochs", type=int, default=6)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["few", "demo"])
    parser.add_argument("--peer", type=os.path.abspath, help="a script that prints its seconds a trial")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        kind, path = arguments.child
        print(json.dumps({"noop": noop, "real": real}[kind](Path(path))))
        return 0
    if "peer" in arguments.parts and not arguments.peer:
        parser.error("the part peer wants --peer FILE")
    with tempfile.TemporaryDirectory() as work:
        held = [PARTS[name](Path(work), arguments) for name in arguments.parts]  # one that is missed ends nothing
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
