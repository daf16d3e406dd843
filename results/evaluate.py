"""Re-test a checkpoint: `bel-eval --run-id ID` repeats the logged validation error, then measures the test split."""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from mlflow.entities import Metric, Run
from mlflow.tracking import MlflowClient

from bel import checkpoint
from bel.config import TrainConfig
from bel.data.prepared import Prepared, load
from bel.data.splits import holdout, rows, split_hash
from bel.errors import UserError, command
from bel.evaluate import Evaluation, constant_median, evaluate
from bel.model import Model, pick_device
from results.runs import OBJECTIVE, fetch_checkpoint, find_run

SAME, OTHER_BATCH, OTHER_DEVICE = 1e-6, 1e-4, 1e-2  # degrees by which a repeated validation error may differ
FREE = ("data_root", "cache_dir", "device", "eval_batch_size")  # what may change without changing what is measured


@dataclass(frozen=True)
class Subject:
    """What is re-tested: a checkpoint's state, its config here, its network, and its run where it came from one."""

    state: dict[str, Any]
    config: TrainConfig
    model: Model
    run: Run | None

    @property
    def logged(self) -> float:
        """The validation MAE that was written when the checkpoint was."""
        metrics = self.run.data.metrics if self.run else self.state["best"]
        return float(metrics[OBJECTIVE])


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Re-test one checkpoint; 0, or 1 where the validation error is not the logged one."""
    parser = argparse.ArgumentParser(prog="bel-eval", description="Re-test a checkpoint: validation again, then test.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run-id", help="MLflow id of a trial, or of a sweep (its best trial)")
    source.add_argument("--checkpoint", type=Path, help="checkpoint file, without MLflow")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. data_root=/data, device=cpu"
    )
    arguments = parser.parse_args(argv)
    subject = open_subject(arguments.run_id, arguments.checkpoint, settings(arguments.set))
    describe(subject)
    train = load(subject.config, "train")
    if not repeats(subject, train):
        return 1
    test = load(subject.config, "test")
    evaluation = evaluate(subject.model, test, torch.arange(len(test)), subject.config)
    train_rows, _ = split_rows(subject.config, train)
    median = constant_median(train.targets[train_rows], evaluation)
    print_table(evaluation, median)
    if subject.run:
        log(subject.run, evaluation, median)
    return 0


def settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Values of KEY=VALUE pairs. Raises `UserError` for one without an equals sign."""
    for pair in pairs:
        if "=" not in pair:
            raise UserError(f"--set wants KEY=VALUE, got {pair!r}")
    return {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in pairs)}


def open_subject(run_id: str | None, path: Path | None, changes: dict[str, Any]) -> Subject:
    """Read a checkpoint by its run or its file and rebuild its network, on the device it was trained on if there is one."""
    with tempfile.TemporaryDirectory() as folder:
        run = find_run(run_id) if run_id else None
        for name in changes:
            if name not in FREE:
                raise UserError(f"--set {name} would change what the checkpoint is: only {list(FREE)} can be set")
        state = checkpoint.load(fetch_checkpoint(run, Path(folder)) if run else path or Path())
    trained_on = state["environment"]["device"].split()[0]
    device = trained_on if trained_on == "cpu" or torch.cuda.is_available() else "auto"
    config = TrainConfig.make(state["config"] | {"weights": "none", "device": device} | changes)
    model = checkpoint.restore(state, config)
    model.to(device=pick_device(config.device), memory_format=config.layout)  # type: ignore[call-overload]
    return Subject(state, config, model, run)


def describe(subject: Subject) -> None:
    """Say what is re-tested, and on what it was made where that is not here."""
    config, made = subject.config, subject.state["environment"]
    title = f"run {subject.run.info.run_id}, {subject.run.info.run_name}" if subject.run else "checkpoint"
    print(f"{title}: {config.protocol}, head {config.head}, epoch {subject.state['epoch']}, seed {config.seed}")
    here = checkpoint.environment(next(subject.model.parameters()).device)
    for name, value in here.items():
        if made[name] != value:
            print(f"note: {name} here is {value}, the checkpoint was made with {made[name]}")


def split_rows(config: TrainConfig, train: Prepared) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows that trained and the rows that selected."""
    return rows(holdout(train.groups, config.val_fraction, config.split_seed))


def repeats(subject: Subject, train: Prepared) -> bool:
    """Measure validation again and say whether it is the logged value, within what this device and batch size allow.

    Raises `UserError` where the data gives another split than the run's.
    """
    config = subject.config
    mask = holdout(train.groups, config.val_fraction, config.split_seed)
    digest = split_hash(train.names, mask)
    if subject.run and subject.run.data.params["split_hash"] != digest:
        raise UserError(
            f"the data in {config.data_root} gives the split {digest}, the run had {subject.run.data.params['split_hash']}: "
            "other images or lists; set data_root to the run's data"
        )
    measured = evaluate(subject.model, train, split_rows(config, train)[1], config).metrics("val")["val/mae"]
    allowed = tolerance(subject)
    difference = abs(measured - subject.logged)
    verdict = "repeats" if difference <= allowed else "DOES NOT REPEAT"
    print(
        f"validation MAE {measured:.6f} on {int(mask.sum())} images (split {digest}) {verdict} the logged "
        f"{subject.logged:.6f}: difference {difference:.1e}, allowed {allowed:.0e}"
    )
    if difference > allowed:
        print(
            "error: the checkpoint, the data or the code is not what was logged; test is not measured", file=sys.stderr
        )
    return difference <= allowed


def tolerance(subject: Subject) -> float:
    """Degrees that the validation error may differ: by device and library versions first, then by batch size."""
    here = checkpoint.environment(next(subject.model.parameters()).device)
    if any(here[name] != subject.state["environment"][name] for name in ("device", "torch")):
        return OTHER_DEVICE
    return SAME if subject.config.eval_batch_size == subject.state["config"]["eval_batch_size"] else OTHER_BATCH


def print_table(evaluation: Evaluation, median: Evaluation) -> None:
    """MAE of the test split: a row a decoder, the headline first, then the constant to beat; a column an axis."""
    print(f"\ntest MAE on {len(evaluation.names)} images of {len(set(evaluation.groups))} groups, center crop")
    print(f"{'decoder':<18}" + "".join(f"{axis:>9}" for axis in evaluation.axes) + f"{'mean':>9}")
    for name, errors in [(n, evaluation.errors(n)) for n in evaluation.predictions] + [
        ("constant median", median.errors("median"))
    ]:
        cells = "".join(f"{value:9.3f}" for value in [*errors.mean(0).tolist(), errors.mean().item()])
        print(f"{name:<18}{cells}")
    share = evaluation.errors(evaluation.headline).mean() / median.errors("median").mean()
    print(f"\n{evaluation.headline} over constant median: {share:.3f}")


def log(run: Run, evaluation: Evaluation, median: Evaluation) -> None:
    """Write test metrics and per-image predictions to the run; where they are there, only compare."""
    metrics = evaluation.metrics("test") | {"test/constant_median_mae": median.errors("median").mean().item()}
    for name in evaluation.predictions:
        by_axis = zip(evaluation.axes, evaluation.errors(name).mean(0).tolist(), strict=True)
        metrics |= {f"test/{name}/mae_{axis}": error for axis, error in by_axis}
    before = run.data.metrics.get("test/mae")
    if before is not None:
        print(f"an earlier re-test logged test/mae {before:.6f}, difference {abs(before - metrics['test/mae']):.1e}")
        return
    client = MlflowClient()
    client.log_batch(run.info.run_id, metrics=[Metric(name, value, 0, 0) for name, value in metrics.items()])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test_predictions.csv"
        write_predictions(evaluation, path)
        client.log_artifact(run.info.run_id, str(path))
    print(f"logged test metrics and {path.name} to run {run.info.run_id}")


def write_predictions(evaluation: Evaluation, path: Path) -> None:
    """One row an image: name, group, target and each decoder's prediction by axis, in units."""
    columns = {"target": evaluation.targets} | evaluation.predictions
    header = ["name", "group"] + [f"{kind}_{axis}" for kind in columns for axis in evaluation.axes]
    values = torch.cat(list(columns.values()), dim=1).tolist()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for name, group, row in zip(evaluation.names, evaluation.groups, values, strict=True):
            writer.writerow([name, group, *row])
