"""Run a sweep: `python launch/sweep.py sweeps/demo.yaml [--plan] [--set KEY=VALUE ...]`."""

import argparse
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # to its makers, of each command
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # of every run that ends
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # MLflow holds the results
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # a trial that failed reports no metric
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # `launch.schedule.stopper` has one
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "1000000")  # begin at once what the searcher suggests at once
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000000")  # trials' folders, not Tune's, hold what is to last
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a trial without a GPU share sees no GPU

from tqdm import tqdm

from bel.config import TrainConfig
from bel.errors import UserError
from bel.output import FORMATS, JSON, Answer, add_format, answering
from bel.precision import pick_device
from bel.text import command_parser
from bel.training.build import build_model
from launch.driver.driver import Driver
from launch.driver.estimate import announce
from launch.driver.probing import resolve_gpu_share
from launch.driver.ray_cluster import start_ray
from launch.identity import (
    check_files,
    data_key,
    facts_by_data,
    file_digests,
    identify,
    pixels_key,
    refuse_large_batches,
    refuse_other_images,
)
from launch.runs import SweepRuns
from launch.schedule.workload import Workload, on_seeds, repeats
from launch.spec.combinations import make_plan
from launch.spec.sweep_file import Sweep, read_sweep
from launch.tracking.params import label
from launch.tracking.parent_run import open_store
from launch.tracking.store import has_files, read_store, sweep_key
from launch.tracking.trial_folder import Folder
from results.store.connect import connect, retry
from results.store.faults import store_command

logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # our own lines say which trials failed, and why
logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)  # a full disk: a trial says so
logging.getLogger("mlflow.tracking.context.registry").setLevel(logging.ERROR)  # that this user has no name
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # a locked database: the writer tries again


@store_command
def main(argv: Sequence[str] | None = None) -> int:
    """Plan, check, run and summarise a sweep: 0 if it ended well, 1 if a trial failed, 130 if it was interrupted."""
    arguments = options(argv)
    with answering(arguments.format) as answer:
        return run(arguments, answer)


def run(arguments: argparse.Namespace, answer: Answer) -> int:
    """Plan, run and summarise the sweep that the options name."""
    sweep = read_sweep(arguments.file, arguments.set)
    storage = Folder.usable("--storage", arguments.storage, f"{sweep.name}-01234567/trials")
    plan = make_plan(sweep)
    check(sweep, plan.configs)
    start_ray(sweep, arguments.address)
    connect(write=True)
    settled = resolve_gpu_share(sweep, plan.configs)
    if settled is not sweep:  # the device is another one where there is no GPU
        sweep, plan = settled, make_plan(settled)
    configs = plan.configs
    runs = [run for config in configs for run in (*on_seeds(sweep, config), *repeats(sweep, config))]
    find = partial(facts_by_data, progress=lambda protocol: partial(progress_bar, protocol))
    facts = find(runs)
    refuse_other_images(sweep, [facts[data_key(config)] for config in configs])
    refuse_large_batches([*plan.upper_configs(sweep), *runs], facts)
    key = sweep_key(sweep, facts, [file_digests(config) for config in configs])
    store = retry(lambda: (read_store if arguments.plan else open_store)(sweep, key, arguments.fresh))
    sweep_runs = SweepRuns(facts, find, partial(label, sweep=sweep), partial(identify, sweep), store.known, has_files)
    workload = Workload(sweep, plan, sweep_runs)
    with store.lease or nullcontext():
        if arguments.plan or not (arguments.quiet or arguments.progress == JSON):
            announced = announce(workload, full=arguments.plan)
        if arguments.plan:
            answer.values = announced
            return 0
        return Driver(workload, store, storage, arguments.quiet, arguments.progress == JSON, answer).run()


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("sweep.py", "Run a sweep of label encodings.")
    add = parser.add_argument
    add(
        "file",
        type=Path,
        help="sweep file, e.g. sweeps/demo.yaml, or the name of one that comes with the project, e.g. demo",
    )
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. epochs=1, search.trials=4")
    add("--plan", action="store_true", help="say what would run, how long it takes and what it needs; run nothing")
    add("--fresh", action="store_true", help="begin anew: take no finished trial from this sweep or another")
    add("--address", metavar="HOST:PORT", help="a running Ray cluster (or RAY_ADDRESS); default: Ray on this machine")
    add(
        "--storage",
        default="runs",
        metavar="PATH",
        help="where trials keep their state: a folder or URL all nodes reach",
    )
    add("--quiet", action="store_true", help="say only what went wrong, and the table at the end")
    add(
        "--progress",
        choices=FORMATS,
        default="text",
        help="json: an event in each line of stderr, in the place of what is said while it runs (%(default)s)",
    )
    add_format(parser)
    arguments = parser.parse_args(argv)
    if arguments.quiet and arguments.progress == JSON:
        raise UserError("--quiet prints no progress, and --progress json prints it as events: leave one of them out")
    if arguments.plan and arguments.progress == JSON:
        raise UserError("--progress json is of trials, and --plan runs none: leave one of them out")
    return arguments


def check(sweep: Sweep, configs: list[TrainConfig]) -> None:
    """Raise `UserError` for what would fail later: missing files, unreadable weights, a device that trials will not have."""
    check_devices(sweep, {config.device for config in configs})
    for config in {pixels_key(config): config for config in configs}.values():
        check_files(config)
    if "TORCH_HOME" in os.environ:  # workers run in other folders
        os.environ["TORCH_HOME"] = str(Path(os.environ["TORCH_HOME"]).expanduser().absolute())
    for config in {(config.backbone, config.weights, config.image_size): config for config in configs}.values():
        build_model(config)


def check_devices(sweep: Sweep, devices: set[str]) -> None:
    """Raise `UserError` for cuda without a share of a GPU, and for mps with one or where torch has no mps."""
    gpu = sweep.resources.gpu
    if gpu == 0 and "cuda" in devices:
        raise UserError("device cuda needs a share of a GPU for each trial: set resources.gpu above 0")
    if "mps" in devices:
        pick_device("mps")
        if gpu != 0:
            raise UserError(f"device mps is no GPU that Ray counts, and resources.gpu is {gpu}: set resources.gpu to 0")


def progress_bar(protocol: str, items: Iterable[Any], total: int) -> Iterable[Any]:
    """Iterate over the images of a protocol that are prepared, with a bar on stderr."""
    return tqdm(items, total=total, desc=f"preparing {protocol}", unit=" images")


if __name__ == "__main__":
    sys.exit(main())
