"""Re-test a checkpoint: `bel-eval --run-id ID` repeats the logged validation error, then measures the test split.

`bel-eval --checkpoint FILE --protocol biwi --code u` measures a published state dict on the test split alone.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from mlflow.entities import Metric, Run, RunTag
from mlflow.tracking import MlflowClient

from bel import checkpoint
from bel.config import TrainConfig
from bel.data.prepared import Prepared, load, request, usable
from bel.data.splits import Split, refuse_leak, split
from bel.errors import UserError, command
from bel.evaluate import Evaluation, constant_median, evaluate, unit, width
from bel.model import Model, pick_device
from bel.protocols import PROTOCOLS
from bel.published import is_published, load_file
from results import published
from results.runs import OBJECTIVE, fetch_checkpoint, find_runs
from results.table import print_table, write_predictions

SAME, OTHER_BATCH, OTHER_DEVICE = 1e-6, 1e-4, 1e-2  # degrees by which a repeated validation error may differ
# What may change without changing what is measured.
FREE = ("data_root", "cache_dir", "cache", "device", "eval_batch_size")


@dataclass(frozen=True)
class Subject:
    """What is re-tested: a checkpoint's state, its config here, its network, and its run where it came from one."""

    state: dict[str, Any]
    config: TrainConfig
    model: Model
    run: Run | None

    @property
    def logged(self) -> float:
        """The validation MAE of the checkpoint's epoch, as it was logged."""
        return float(self.run.data.metrics[OBJECTIVE] if self.run else self.state["metrics"]["val/mae"])

    @property
    def here(self) -> dict[str, str]:
        """Device, library and code version of this re-test."""
        return checkpoint.environment(next(self.model.parameters()).device)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Re-test a checkpoint, or the best trial of each protocol of a sweep; 1 where a validation error is not the logged one."""
    parser = argparse.ArgumentParser(prog="bel-eval", description="Re-test a checkpoint: validation again, then test.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run-id", help="MLflow id of a trial, or of a sweep (its best trial)")
    source.add_argument("--checkpoint", type=Path, help="checkpoint file, without MLflow, or a published state dict")
    state_dict = parser.add_argument_group("of a published state dict, which does not say them")
    state_dict.add_argument("--protocol", help=" or ".join(PROTOCOLS))
    state_dict.add_argument("--code", help="code of head bel; the other heads have none")
    state_dict.add_argument("--code-bits", help="levels on the widest axis; default: one per degree, as published")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. data_root=/data, device=cpu"
    )
    arguments = parser.parse_args(argv)
    given = {name: value for name in published.OPTIONS if (value := getattr(arguments, name)) is not None}
    if arguments.run_id is None:
        return re_test_file(arguments.checkpoint, given, arguments.set)
    if given:
        raise UserError(
            "--protocol, --code and --code-bits are of a published state dict in --checkpoint: leave them out"
        )
    changes = settings(arguments.set, FREE)
    runs = find_runs(arguments.run_id)
    return max(re_test(open_subject(fetch_state(run), changes, run)) for run in runs)


def re_test_file(path: Path, given: dict[str, str], pairs: Sequence[str]) -> int:
    """Re-test a checkpoint of ours, or measure a published state dict, which `given` and more settings belong to."""
    state = load_file(path)
    if given or is_published(state):
        return published.measure(path, state, given, settings(pairs, FREE + published.FREE))
    return re_test(open_subject(checkpoint.load(path), settings(pairs, FREE)))


def fetch_state(run: Run) -> dict[str, Any]:
    """The best checkpoint of a run."""
    with tempfile.TemporaryDirectory() as folder:
        return checkpoint.load(fetch_checkpoint(run, Path(folder)))


def re_test(subject: Subject) -> int:
    """Validation again, then the test split: printed, and logged to the run; 1 where validation does not repeat."""
    describe(subject)
    train = load(subject.config, "train")
    parts = split(subject.config, train)
    if not repeats(subject, train, parts):
        return 1
    entries = [usable(request(subject.config, part)).entries for part in ("train", "test")]
    refuse_leak(entries[0], entries[1], subject.config.data_root)
    test = load(subject.config, "test")
    evaluation = evaluate(subject.model, test, torch.arange(len(test)), subject.config)
    median = constant_median(train.targets[parts.train], evaluation)
    print_table(evaluation, median)
    if subject.run:
        log(subject, subject.run, test, evaluation, median)
    return 0


def settings(pairs: Sequence[str], free: Sequence[str]) -> dict[str, Any]:
    """Values of KEY=VALUE pairs, the keys among `free`. Raises `UserError` for another key, and for what is not YAML."""
    values = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"--set wants KEY=VALUE, got {pair!r}")
        if key not in free:
            raise UserError(f"--set {key} would change what the checkpoint is: only {list(free)} can be set")
        try:
            values[key] = yaml.safe_load(value)
        except (ValueError, yaml.YAMLError):
            raise UserError(f"the value of {key} is not YAML: {value!r}") from None
    return values


def open_subject(state: dict[str, Any], changes: dict[str, Any], run: Run | None = None) -> Subject:
    """Rebuild a checkpoint's network, on the kind of device that it was trained on if there is one."""
    trained_on = state["environment"]["device"].split()[0]
    device = trained_on if trained_on == "cpu" or torch.cuda.is_available() else "auto"
    config = TrainConfig.make(state["config"] | {"weights": "none", "device": device} | changes)
    model = checkpoint.restore(state, config)
    model.to(device=pick_device(config.device), memory_format=config.layout)  # type: ignore[call-overload]
    return Subject(state, config, model, run)


def describe(subject: Subject) -> None:
    """Say what is re-tested, with what its numbers travel with, and what is not as where it was made."""
    config, made = subject.config, subject.state["environment"]
    title = f"run {subject.run.info.run_id}, {subject.run.info.run_name}" if subject.run else "checkpoint"
    print(f"{title}: {config.protocol_name}, crop {config.crop}, head {config.head}, epoch {subject.state['epoch']}")
    print(
        f"selected on validation groups, seed {config.seed}, split seed {config.split_seed}, code {made['code_version']}"
    )
    for name, value in subject.here.items():
        if made[name] != value:
            print(f"note: {name} here is {value}, the checkpoint was made with {made[name]}")


def repeats(subject: Subject, train: Prepared, parts: Split) -> bool:
    """Measure validation again and say whether it is the logged value, within what this device and batch size allow.

    Raises `UserError` where the data gives another split than the checkpoint's.
    """
    digest, trained = parts.digest, subject.state["data"]["split_hash"]
    if digest != trained:
        raise UserError(
            f"the data in {subject.config.data_root} gives the split {digest}, the checkpoint had {trained}: "
            "other images or lists; set data_root to its data"
        )
    if train.digest != subject.state["data"]["data_digest"]:
        print(
            f"note: the prepared images and labels are {train.digest} here, {subject.state['data']['data_digest']} there"
        )
    evaluation = evaluate(subject.model, train, parts.val, subject.config)
    measured, allowed = evaluation.metrics("val")["val/mae"], tolerance(subject, evaluation)
    difference = abs(measured - subject.logged)
    verdict = "repeats" if difference <= allowed else "DOES NOT REPEAT"
    print(
        f"validation MAE {measured:.6f} on {len(parts.val)} images (split {digest}) {verdict} the logged "
        f"{subject.logged:.6f}: difference {difference:.1e}, allowed {allowed:.0e}"
    )
    if difference > allowed:
        print(
            "error: the checkpoint, the data or the code is not what was logged; test is not measured", file=sys.stderr
        )
    return difference <= allowed


def tolerance(subject: Subject, evaluation: Evaluation) -> float:
    """How much the validation error may differ: by device and library version first, then by batch size.

    Another batch size may flip an argmax between neighbouring levels, on at most 5 images. The bounds are in degrees;
    for another unit they are the same part of the widest range as of 200 degrees.
    """
    axes = subject.config.axes
    scale = 1.0 if unit(axes) == "deg" else max(width(axis, axes) for axis in axes) / 200
    if any(subject.here[name] != subject.state["environment"][name] for name in ("device", "torch")):
        return scale * OTHER_DEVICE
    if subject.config.eval_batch_size == subject.state["config"]["eval_batch_size"]:
        return scale * SAME
    flips = 5 * max(width(axis, axes) / axis.levels for axis in axes) / len(evaluation.names)
    return max(scale * OTHER_BATCH, flips) if evaluation.headline == "argmax" else scale * OTHER_BATCH


def log(subject: Subject, run: Run, test: Prepared, evaluation: Evaluation, median: Evaluation) -> None:
    """Write test metrics, what they travel with, and every prediction to the run; where they are there, only compare."""
    metrics = evaluation.metrics("test") | {"test/constant_median_mae": median.mae("median")}
    for name in evaluation.predictions:
        by_axis = zip(evaluation.axes, evaluation.errors(name).mean(0).tolist(), strict=True)
        metrics |= {f"test/{name}/mae_{axis.name}": error for axis, error in by_axis}
    before = run.data.metrics.get("test/mae")
    if before is not None:
        if (digest := run.data.tags.get("test.data_digest")) != test.digest:
            print(f"note: the test images and labels are {test.digest} here, {digest} at the earlier re-test")
        print(f"an earlier re-test logged test/mae {before:.6f}, difference {abs(before - metrics['test/mae']):.1e}")
        return
    facts = subject.here | {
        "decoder": evaluation.headline,
        "images": len(test),
        "data_digest": test.digest,
        "eval_batch_size": subject.config.eval_batch_size,
    }
    client = MlflowClient()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test_predictions.csv"
        write_predictions(evaluation, path)
        client.log_artifact(run.info.run_id, str(path))
    now = int(time.time() * 1000)
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
        tags=[RunTag(f"test.{name}", str(value)) for name, value in facts.items()],
    )
    print(f"logged test metrics and {path.name} to run {run.info.run_id}")
