"""Re-test a checkpoint: `bel-eval --run-id ID` repeats the logged validation error, then measures the test split.

`bel-eval --model NAME@champion` re-tests a registered one, and `bel-eval --checkpoint FILE --protocol biwi --code u`
measures a published state dict on the test split alone.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from mlflow.entities import Metric, Run, RunTag
from mlflow.tracking import MlflowClient
from torch import Tensor

from bel.data.loading import Split, load, request, split
from bel.data.prepare.prepared import Prepared, is_here
from bel.data.protocols import published_names
from bel.deploy.published import is_published
from bel.errors import UserError, setting_of
from bel.output import add_format, answering, command_parser
from bel.run_layout import PREDICTIONS
from bel.text import ALL_AXES, selection
from bel.training import checkpoint
from bel.training.evaluate import Evaluation, constant_median, evaluate
from results.analysis.leaderboard import find_runs
from results.retest import published
from results.retest.loaded_checkpoint import (
    LoadedCheckpoint,
    add_source,
    fetch_state,
    load_network,
    load_test,
    run_of_model,
    tolerance,
)
from results.retest.origin import Record, print_origin
from results.retest.table import print_table
from results.store.faults import store_command
from results.store.predictions import write
from results.store.runs import fetch_predictions

Forward = Callable[[Tensor], list[Tensor]]

# Fields that may be set: they do not change what is measured.
FREE = ("data_root", "cache_dir", "cache", "device", "eval_batch_size")
NOT_REPEATED = "the checkpoint, the data or the code is not what was logged"


@store_command
def main(argv: Sequence[str] | None = None) -> int:
    """Re-test a checkpoint, or the best trial of each table of a sweep; 1 where a validation error is not the logged one."""
    parser = command_parser("bel-eval", "Re-test a checkpoint: validation again, then test.")
    add_source(parser, "without MLflow, or a published state dict")
    state_dict = parser.add_argument_group("of a published state dict, which does not say them")
    state_dict.add_argument("--protocol", help=" or ".join(published_names()))
    state_dict.add_argument("--code", help="code of head bel; the other heads have none")
    state_dict.add_argument("--code-bits", help="levels on the widest axis; default: one per degree, as published")
    add_settings(parser, "e.g. data_root=/data, cache_dir=/scratch, device=cpu")
    parser.add_argument("--all-axes", action="store_true", help=ALL_AXES)
    add_format(parser)
    arguments = parser.parse_args(argv)
    with answering(arguments.format) as answer:
        answer.values = {"results": list(all_re_tests(arguments))}
    return int(any(map(failed, answer.values["results"])))


def all_re_tests(arguments: argparse.Namespace) -> Iterator[Record]:
    """Re-test what the options name. Raises `UserError` where they do not fit together."""
    given = {name: value for name in published.OPTIONS if (value := getattr(arguments, name)) is not None}
    if arguments.checkpoint is not None:
        yield re_test_file(arguments.checkpoint, given, arguments.set, arguments.all_axes)
        return
    if given:
        raise UserError(
            "--protocol, --code and --code-bits are of a published state dict in --checkpoint: leave them out"
        )
    changes = settings(arguments.set, FREE)
    runs = find_runs(arguments.run_id) if arguments.model is None else [run_of_model(arguments.model)]
    for run in runs:
        yield re_test(load_network(fetch_state(run), changes, run), arguments.all_axes)


def re_test_file(path: Path, given: dict[str, str], pairs: Sequence[str], all_axes: bool) -> Record:
    """Re-test a checkpoint of ours, or measure a published state dict, for which are `given` and more settings."""
    state = checkpoint.read(path)
    if given or is_published(state):
        return published.measure(path, state, given, settings(pairs, FREE + published.FREE))
    return re_test(load_network(checkpoint.checked(path, state), settings(pairs, FREE)), all_axes)


def re_test(loaded: LoadedCheckpoint, all_axes: bool = False) -> Record:
    """Measure validation again, then the test split, print and log them, and return them in plain values.

    Where validation does not repeat, that is all. Without training images only the test split is measured, and nothing is
    logged.
    """
    found = print_origin(loaded)
    config, targets = loaded.config, None
    if is_here(request(config, "train")):
        train = load(config, "train")
        parts = split(config, train)
        _, found["validation"] = validation_again(loaded, train, parts)
        if failed(found):
            print(f"error: {NOT_REPEATED}; test is not measured", file=sys.stderr)
            return found
        targets = train.targets[parts.train]
    test = load_test(config)
    if targets is None:
        print(
            f"note: no training image of {config.protocol_name} is in {config.data_root}: the validation error is not "
            "repeated, what train and test share is not checked, the constant median is left out, and nothing is logged"
        )
    evaluation = evaluate(loaded.model, test, torch.arange(len(test)), config)
    median = None if targets is None else constant_median(targets, evaluation)
    found["test"] = print_table(evaluation, median, all_axes)
    if config.selection == "test":
        print("note: this epoch was selected on the test split: its error is no clean one")
    if loaded.run and median:
        log_test(loaded, loaded.run, test, evaluation, median)
        found["logged"] = True
    return found


def failed(found: Record) -> bool:
    """Return whether the validation error of a re-test is not the logged one."""
    return found["validation"] is not None and not found["validation"]["repeats"]


def add_settings(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the option --set, the pairs of which `settings` reads; `text` is its help."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=text)


def settings(pairs: Sequence[str], free: Sequence[str]) -> dict[str, Any]:
    """Return the values of KEY=VALUE pairs, the keys among `free`. Raises `UserError` for another key."""
    values = dict(map(setting_of, pairs))
    for key in values:
        if key not in free:
            raise UserError(f"--set {key} would change what the checkpoint is: only {list(free)} can be set")
    return values


def repeated_validation(
    loaded: LoadedCheckpoint, train: Prepared, parts: Split, forward: Forward | None = None
) -> Evaluation | None:
    """Measure validation again; None where it is not the logged value, within what this device and batch size allow."""
    evaluation, found = validation_again(loaded, train, parts, forward)
    return evaluation if found["repeats"] else None


def validation_again(
    loaded: LoadedCheckpoint, train: Prepared, parts: Split, forward: Forward | None = None
) -> tuple[Evaluation, Record]:
    """Measure validation again; return that, and whether it is the logged value, as far as device and batch size allow.

    `forward` computes the network's outputs, by default the network itself. Raises `UserError` where the
    data gives another split than the checkpoint's.
    """
    if train.digest != loaded.state["data"]["data_digest"]:
        print(
            f"note: the prepared images and labels are {train.digest} here, {loaded.state['data']['data_digest']} there"
        )
    if parts.digest != (trained := loaded.state["data"]["split_hash"]):
        raise UserError(
            f"the data in {loaded.config.data_root} gives the split {parts.digest}, the checkpoint had {trained}: "
            "other images or lists; set data_root to its data"
        )
    again = evaluate(loaded.model, parts.held, parts.val, loaded.config, forward)
    error, allowed = again.mae(again.headline), tolerance(loaded, again)
    difference = abs(error - loaded.logged)
    found = {
        "images": len(parts.val),
        "groups": len(set(again.groups)),
        "split": parts.digest,
        "mae": error,
        "mae_groups": again.mae_groups(again.headline),
        "logged": loaded.logged,
        "difference": difference,
        "allowed": allowed,
        "repeats": difference <= allowed,
    }
    print(
        f"{selection(loaded.config.selection).images} MAE {error:.6f} on {found['images']} images (split {parts.digest}) "
        f"{'repeats' if found['repeats'] else 'DOES NOT REPEAT'} the logged {loaded.logged:.6f}: difference "
        f"{difference:.1e}, allowed {allowed:.0e}; mean over {found['groups']} groups {found['mae_groups']:.6f}"
    )
    return again, found


def log_test(loaded: LoadedCheckpoint, run: Run, test: Prepared, evaluation: Evaluation, median: Evaluation) -> None:
    """Log test metrics, what they belong to, and every prediction to the run; only compare where it has them."""
    metrics = evaluation.metrics("test") | {"test/constant_median_mae": median.mae("median")}
    for name in evaluation.predictions:
        by_axis = zip(evaluation.axes, evaluation.errors(name).mean(0).tolist(), strict=True)
        metrics |= {f"test/{name}/mae_{axis.name}": error for axis, error in by_axis}
    before = run.data.metrics.get("test/mae")
    if before is not None:
        if (digest := run.data.tags.get("test.data_digest")) != test.digest:
            print(f"note: the test images and labels are {test.digest} here, {digest} at the earlier re-test")
        print(f"an earlier re-test logged test/mae {before:.6f}, difference {abs(before - metrics['test/mae']):.1e}")
        if fetch_predictions(run, "test", bits=False) is None:  # of a version that kept them in another form
            log_predictions(run, evaluation)
        return
    facts = loaded.here | {
        "decoder": evaluation.headline,
        "images": len(test),
        "data_digest": test.digest,
        "eval_batch_size": loaded.config.eval_batch_size,
    }
    log_predictions(run, evaluation)
    now = int(time.time() * 1000)
    MlflowClient().log_batch(
        run.info.run_id,
        metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
        tags=[RunTag(f"test.{name}", str(value)) for name, value in facts.items()],
    )
    print(f"logged test metrics and {PREDICTIONS['test']} to run {run.info.run_id}")


def log_predictions(run: Run, evaluation: Evaluation) -> None:
    """Log every prediction on the test split as an artifact of a run."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / PREDICTIONS["test"]
        write(evaluation, path)
        MlflowClient().log_artifact(run.info.run_id, str(path))
