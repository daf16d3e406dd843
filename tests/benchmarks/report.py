"""Seconds of `bel-results report` and `leaderboard` on a sweep of 200 runs: `python tests/benchmarks/report.py [--runs 200]`.

Builds an MLflow store in a temporary folder, of runs with the parameters, the epochs and the predictions that a trial logs,
drawn at random in place of training; the images themselves are not there. 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from bel.codes.library import code_matrix
from bel.data.protocols import PROTOCOLS
from bel.run_layout import BY_IMAGE, OBJECTIVE, OUTCOME, PARENT, PREDICTIONS, TRIAL
from bel.training.evaluate import Evaluation
from results.store.predictions import write

NAME = "benchmark"
MAIN = "import sys; from results.commands.main import main; sys.exit(main())"
SECONDS, MEGABYTES, TABLE_SECONDS = 20.0, 12.0, 3.0  # the table's beyond its imports
CODES, LOSSES, EPOCHS = ("u", "j", "b1jdj", "b2jdj", "hex16"), ("bce", "ce", "l1"), 20
AXES = PROTOCOLS["biwi"].axes


def main(argv: Sequence[str] | None = None) -> int:
    """Build the store, time both commands, and say which bars hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--groups", type=int, default=20)
    parser.add_argument("--images", type=int, default=900, help="in all")
    parser.add_argument("--page", type=Path, help="where to keep the page")
    a = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        build(Path(folder), a.runs, a.groups, a.images)
        print(f"{a.runs} runs, {a.images} images of {a.groups} groups, built in {time.perf_counter() - begin:.0f} s")
        page = a.page or Path(folder) / "report.html"
        imports = timed(folder, "imports of leaderboard", "import results.commands.leaderboard")
        table = timed(folder, "leaderboard", MAIN, "leaderboard", NAME, "-o", f"{folder}/table.txt") - imports
        report = timed(folder, "report", MAIN, "report", NAME, "-o", str(page))
        size = page.stat().st_size / 1e6
    met = [
        bar("report, seconds", report, SECONDS),
        bar("report, MB", size, MEGABYTES),
        bar("leaderboard, seconds beyond imports", table, TABLE_SECONDS),
    ]
    return 0 if all(met) else 1


def bar(what: str, value: float, most: float) -> bool:
    """Print a value beside its bar; whether it holds."""
    print(f"{what:<40}{value:8.2f}  at most {most:g}  {'met' if value <= most else 'MISSED'}")
    return value <= most


def timed(folder: str, what: str, *command: str) -> float:
    """Wall seconds of a Python command with the store of a folder; prints them, and those of a processor."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    begin, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-c", *command], env=environment, cwd=Path(__file__).parents[2], check=True)
    wall, after = time.perf_counter() - begin, os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"{what}: {wall:.1f} s, {spent:.1f} s of a processor (load {os.getloadavg()[0]:.1f} on {os.cpu_count()})")
    return wall


def build(folder: Path, runs: int, groups: int, images: int) -> None:
    """A sweep of random configurations in a store of a folder."""
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    client = MlflowClient()
    experiment = client.create_experiment(NAME, artifact_location=str(folder / "artifacts"))
    parent = client.create_run(experiment, run_name=f"{NAME} (random)").info.run_id
    client.set_terminated(parent)
    draw = np.random.default_rng(0)
    lower_bounds = torch.tensor([[axis.low for axis in AXES]], dtype=torch.float64)
    spans = torch.tensor([[axis.span for axis in AXES]], dtype=torch.float64)
    targets = lower_bounds + spans * torch.from_numpy(draw.beta(4, 4, (images, len(AXES))))
    for number in range(runs):
        params = configuration(draw, groups, images)
        error = float(3 + 2 * draw.random() + abs(np.log10(float(params["lr"])) + 3.5))
        run = client.create_run(experiment, tags=tags(parent, number), run_name=run_name(params))
        evaluation = predicted(draw, targets, groups, error)
        log(client, run.info.run_id, params, evaluation)
        place = Path(run.info.artifact_uri.removeprefix("file://"))
        place.mkdir(parents=True, exist_ok=True)
        write(evaluation, place / PREDICTIONS["val"])


def configuration(draw: np.random.Generator, groups: int, images: int) -> dict[str, str]:
    """The parameters that a trial logs, as far as a report reads them."""
    head = "bel" if draw.random() < 0.8 else "classification"
    varied = {"lr": f"{10 ** draw.uniform(-5, -2):.4g}", "batch_size": str(draw.choice([16, 32, 64]))}
    varied |= {"loss": str(draw.choice(LOSSES)), "jitter": f"{draw.uniform(0, 0.3):.3f}"}
    if head == "bel":
        varied |= {"code": str(draw.choice(CODES)), "theta": str(draw.choice([5, 10, 20]))}
    fixed = {"protocol": "biwi", "crop": "frame", "selection": "val", "selection_split": "val", "split_hash": "0" * 12}
    fixed |= {"seed": "0", "unit": "deg", "val_images": str(images), "val_groups": str(groups), "epochs": str(EPOCHS)}
    return fixed | varied | {"head": head} | {f"levels_{axis.name}": str(axis.levels) for axis in AXES}


def run_name(params: dict[str, str]) -> str:
    """A trial's name."""
    return f"{params.get('code', params['head'])}-150 {params['loss']} lr={params['lr']} b={params['batch_size']} s0"


def tags(parent: str, number: int) -> dict[str, str]:
    """A trial's tags."""
    return {PARENT: parent, TRIAL: f"{number:016x}", OUTCOME: "finished", "code_version": "benchmark"}


def predicted(draw: np.random.Generator, targets: torch.Tensor, groups: int, error: float) -> Evaluation:
    """Predictions whose errors differ by group, with posterior and wrong bits."""
    count = len(targets)
    group = np.arange(count) % groups
    scale = error * (1 + 0.3 * np.sin(group))[:, None]
    noise = {name: draw.normal(0, scale * factor, targets.shape) for name, factor in DECODERS.items()}
    widths = {axis.name: code_matrix("u", axis.levels).shape[1] for axis in AXES}
    return Evaluation(
        axes=AXES,
        names=[f"{g:02d}/frame_{i:05d}" for i, g in enumerate(group)],
        groups=[f"{g:02d}" for g in group],
        targets=targets,
        predictions={name: targets + torch.from_numpy(values) for name, values in noise.items()},
        pose=True,
        posterior={
            "std": torch.from_numpy(draw.gamma(4, error / 4, targets.shape)),
            "pit": torch.from_numpy(draw.beta(0.8, 0.8, targets.shape)),
        },
        wrong_bits={name: torch.from_numpy(draw.random((count, width)) < 0.05) for name, width in widths.items()},
    )


DECODERS = {"expected": 1.0, "argmax": 1.2, "native": 1.4}


def log(client: MlflowClient, run_id: str, params: dict[str, str], evaluation: Evaluation) -> None:
    """Log parameters, and metrics epoch by epoch, as a trial does."""
    final = evaluation.metrics("val")["val/mae"]
    curve = final * (1 + 2 * np.exp(-np.arange(1, EPOCHS + 1) / 4))
    curve[-1] = final
    metrics = [
        Metric(name, float(value), 0, epoch)
        for epoch, value in enumerate(curve, 1)
        for name in ("val/mae", BY_IMAGE, "val/mae_groups", OBJECTIVE, "train/loss", "epoch")
    ]
    metrics += [Metric(name, value, 0, EPOCHS) for name, value in FACTS.items()]
    client.log_batch(
        run_id,
        metrics=metrics,
        params=[Param(key, value) for key, value in params.items()],
        tags=[RunTag("selection", "val")],
    )
    client.set_terminated(run_id)


FACTS = {"bits": 400.0, "parameters": 4.9e6, "images_per_s": 220.0, "seconds": 12.0}

if __name__ == "__main__":
    raise SystemExit(main())
