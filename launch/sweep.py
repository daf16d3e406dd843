"""Run a sweep: `python launch/sweep.py sweeps/demo.yaml [--set KEY=VALUE ...]`."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # MLflow holds the results
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a trial without a GPU share sees no GPU

import optuna
import ray
from optuna.samplers import TPESampler
from ray import tune
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch
from tqdm import tqdm

from bel.config import TrainConfig
from bel.data.build import Progress
from bel.errors import UserError, command
from bel.model import build_model
from launch.identity import (
    Facts,
    check_files,
    data_key,
    facts_by_data,
    file_digests,
    pixels_key,
    refuse_large_batches,
    refuse_other_images,
)
from launch.plan import Plan, draw, lows, make_config, make_plan, suggest_config
from launch.search import OBJECTIVES
from launch.space import Sweep, read_sweep
from launch.stages import best_of_each, folds_to_come, on_folds
from launch.store import Store, open_store, reach_store
from launch.tracking import Tracker
from launch.trial import Trial

logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # our own lines say which trials failed, and why


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Plan, check, run and summarise a sweep; 0 if every trial finished, 1 if one failed, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog="sweep.py", description="Run a sweep of label encodings.")
    parser.add_argument("file", type=Path, help="sweep file, e.g. sweeps/demo.yaml")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. epochs=1, search.trials=4"
    )
    arguments = parser.parse_args(argv)
    sweep = read_sweep(arguments.file, arguments.set)
    plan = make_plan(sweep)
    drawn = [make_config(sweep, values) for values in draw(sweep, plan)] if sweep.search.method != "tpe" else []
    configs = [make_config(sweep, values | lows(sweep)) for values in plan.legal]
    check(sweep, configs)
    start_ray(sweep)
    reach_store()
    folds = [fold for config in configs for fold in on_folds(sweep, config)]
    facts = facts_by_data([*configs, *folds], bar)
    refuse_other_images(sweep, [facts[data_key(config)] for config in configs])
    refuse_large_batches([*configs, *folds], facts)
    store = open_store(sweep, facts, [file_digests(config) for config in configs])
    return run(sweep, plan, drawn, facts, store)


def check(sweep: Sweep, configs: list[TrainConfig]) -> None:
    """Find what would fail later: missing files, weights that do not load, a GPU without a share of one."""
    if sweep.resources.gpu == 0 and any(config.device == "cuda" for config in configs):
        raise UserError("device cuda needs a share of a GPU for each trial: set resources.gpu above 0")
    for config in {pixels_key(config): config for config in configs}.values():
        check_files(config)
    if "TORCH_HOME" in os.environ:  # workers run in other folders
        os.environ["TORCH_HOME"] = str(Path(os.environ["TORCH_HOME"]).expanduser().absolute())
    for config in {(config.backbone, config.weights, config.image_size): config for config in configs}.values():
        build_model(config)


def bar(protocol: str) -> Progress:
    """A progress bar for preparing the images of a protocol."""
    return partial(progress_bar, protocol)


def progress_bar(protocol: str, items: Iterable[Any], total: int) -> Iterable[Any]:
    """The items behind a bar on stderr."""
    return tqdm(items, total=total, desc=f"preparing {protocol}", unit=" images")


def start_ray(sweep: Sweep) -> None:
    """Connect to Ray or start it here. Raises `UserError` where no node can hold a trial, which would wait for ever."""
    if not ray.is_initialized():
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = f"at RAY_ADDRESS={os.environ['RAY_ADDRESS']}" if "RAY_ADDRESS" in os.environ else "here"
            raise UserError(f"cannot start or reach Ray {where}: {str(error).splitlines()[0]}") from error
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for name, wanted in (("GPU", sweep.resources.gpu), ("CPU", sweep.resources.cpu)):
        most = max(node.get(name, 0) for node in nodes)
        if wanted > most:
            raise UserError(
                f"resources.{name.lower()} asks for {wanted:g} {name} a trial, and Ray has at most {most:g} on a machine: "
                f"set resources.{name.lower()} to at most {most:g}"
            )


def run(sweep: Sweep, plan: Plan, drawn: list[TrainConfig], facts: Facts, store: Store) -> int:
    """Run the trials that are not finished yet, then print the table."""
    total = len(drawn) + folds_to_come(sweep, drawn) if drawn else sweep.search.trials or 0
    tracker = Tracker(sweep, store, facts, total=max(total, len(store.finished)))
    announce(sweep, plan, facts, store, tracker.total - len(store.finished))
    try:
        run_stage(sweep, plan, drawn, tracker)
        if sweep.search.tune and tracker.ended_all(drawn):
            best = best_of_each(sweep, drawn, tracker.errors(), facts)
            run_stage(sweep, plan, [fold for config in best for fold in on_folds(sweep, config)], tracker)
    finally:
        tracker.close()
    tracker.print_table()
    if sweep.search.tune and tracker.count("FAILED") + len(tracker.finished_ids()) >= tracker.total:
        tracker.print_folds()
    if tracker.count("FAILED"):
        return 1
    if len(tracker.finished_ids()) < tracker.total:
        print("interrupted: the same command runs the trials that are not finished", file=sys.stderr)
        return 130
    return 0


def run_stage(sweep: Sweep, plan: Plan, configs: list[TrainConfig], tracker: Tracker) -> None:
    """Run those of the configs, or of the trials a search may suggest, that are not finished."""
    todo = [c.as_dict() for c in configs if tracker.key(c) not in tracker.store.finished]
    missing = len(todo) if configs else tracker.total - len(tracker.store.finished)
    folder = Path("runs/ray").absolute() / f"{sweep.name}-{datetime.now():%Y%m%d-%H%M%S}"
    if missing:
        tuner(sweep, plan, todo, missing, tracker, folder).fit()
    shutil.rmtree(folder, ignore_errors=True)  # what is worth keeping is in MLflow


def announce(sweep: Sweep, plan: Plan, facts: Facts, store: Store, missing: int) -> None:
    """Say what will run on which data, and which combinations will not and why."""
    for reason, number in plan.dropped.most_common():
        print(f"dropped {number} combinations: {reason}")
    for values in {values["split_hash"]: values for values in facts.values()}.values():
        print(
            f"data {values['protocol']}: {values['train_images']} images train, {values['val_images']} of "
            f"{values['val_groups']} other groups select, split {values['split_hash']}; {values['left_out']} images beyond "
            f"the limit, {values['skipped']} skipped"
        )
    print(
        f"sweep {sweep.name}: {missing} trials to run ({sweep.search.method}, scheduler {sweep.search.scheduler}), "
        f"{len(store.finished)} finished before; parent run {store.parent_id}",
        flush=True,
    )


def tuner(
    sweep: Sweep, plan: Plan, todo: list[dict[str, Any]], missing: int, tracker: Tracker, folder: Path
) -> tune.Tuner:
    """Ray's tuner for the trials: a grid of whole configs, or as many as a searcher may suggest."""
    trainable = tune.with_resources(Trial, {"cpu": sweep.resources.cpu, "gpu": sweep.resources.gpu})
    searching = sweep.search.method == "tpe"
    return tune.Tuner(
        trainable,
        param_space=None if searching else {"values": tune.grid_search(todo)},
        tune_config=tune.TuneConfig(
            num_samples=missing if searching else 1,
            search_alg=searcher(sweep, plan, missing) if searching else None,
            scheduler=scheduler(sweep, plan),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            callbacks=[tracker],
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_frequency=1),
            failure_config=tune.FailureConfig(max_failures=1),  # a worker that died goes on from its last epoch
            verbose=0,
        ),
    )


def searcher(sweep: Sweep, plan: Plan, missing: int) -> OptunaSearch:
    """Optuna's TPE over the legal combinations; it learns the best epoch of each trial."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = TPESampler(seed=(sweep.search.seed or 0) + missing, n_startup_trials=max(5, missing // 4))
    return OptunaSearch(
        space=partial(suggest_config, sweep, plan),
        metric=OBJECTIVES[sweep.search.objective],
        mode="min",
        sampler=sampler,
    )


def scheduler(sweep: Sweep, plan: Plan) -> TrialScheduler | None:
    """ASHA over epochs, which lets every trial run a quarter of the longest before it compares; or none."""
    if sweep.search.scheduler == "none":
        return None
    longest = max(make_config(sweep, values | lows(sweep)).epochs for values in plan.legal)
    return ASHAScheduler(
        metric=OBJECTIVES[sweep.search.objective],
        mode="min",
        max_t=longest,
        grace_period=max(1, longest // 4),
        reduction_factor=3,
    )


if __name__ == "__main__":
    sys.exit(main())
