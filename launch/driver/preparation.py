"""What comes before the first trial: checks, Ray, prepared images, the store, and the trials that are finished."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bel.config import TrainConfig
from bel.data.prepare.build import Progress
from bel.errors import UserError
from bel.precision import pick_device
from bel.training.build import build_model
from launch.driver.probing import resolve_gpu_share
from launch.driver.ray_cluster import cluster_address, start_ray
from launch.identity import (
    Facts,
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
from launch.spec.combinations import Plan, make_plan
from launch.spec.sampling import plans_by_protocol
from launch.spec.sweep_file import Sweep
from launch.states import Origins
from launch.tracking.event_files import refuse_missing
from launch.tracking.params import label
from launch.tracking.parent_run import open_store
from launch.tracking.store import Store, has_files, read_store, refuse_deleted, sweep_key
from launch.tracking.trial_folder import Folder
from launch.warm_start.record import record, warm_start
from results.store.connect import connect, retry

# After Ray is imported, which sets levels of its own.
logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)  # our own lines say which trials failed, and why
logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)  # a full disk: a trial says so


@dataclass(frozen=True)
class ReadySweep:
    """A sweep that can run: its workload, what MLflow has of it, and the folder below which trials keep their state."""

    workload: Workload
    store: Store
    storage: Folder
    origins: Origins = field(default_factory=dict)
    admit: Callable[[TrainConfig], None] = lambda config: None  # raises `UserError` for one that cannot train

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other drivers away meanwhile, where it is to run."""
        with self.store.lease or nullcontext():
            yield


@dataclass(frozen=True)
class Trials:
    """Trials that are given, not made of a space: their plan, and what they go on from, by their facts and their identity."""

    plan: Plan
    origins: Callable[[Facts, Callable[[TrainConfig], str]], Origins]


@dataclass(frozen=True)
class Where:
    """Where a sweep runs: the address of a Ray cluster (None: this machine), and the folder or URL of trials' states."""

    address: str | None = None
    storage: str = "runs"


def prepare(
    sweep: Sweep,
    where: Where,
    write: bool,
    fresh: bool = False,
    say: Callable[[str], Any] = print,
    progress: Callable[[str], Progress] | None = None,
    given: Trials | None = None,
) -> ReadySweep:
    """Check a sweep, start Ray, prepare the images, and read the store; with `write` also open it for its driver.

    Without `write` Ray is started only for more than CPUs of this machine. `progress` shows how far the images of a protocol
    are; the trials are those of the space, or `given`. Raises `UserError` for what would fail later.
    """
    storage = Folder.usable("--storage", where.storage, f"{sweep.name}-01234567/trials")
    plan = given.plan if given else make_plan(sweep)
    check(sweep, plan.configs)
    if write or not fits_here(sweep, where):  # else a plan starts it where it measures
        start_ray(sweep, where.address, say)
    refuse_deleted(connect(write=True).get_experiment_by_name(sweep.name))  # or one that this user may not see
    settled = resolve_gpu_share(sweep, plan.configs, say)
    if settled is not sweep:  # the device is another one where there is no GPU
        sweep, plan = settled, given.plan if given else make_plan(settled)
    configs = plan.configs
    runs = [run for config in configs for run in (*on_seeds(sweep, config), *repeats(sweep, config))]
    find = partial(facts_by_data, progress=progress or progress_bar)
    facts = find(runs)
    refuse_other_images(sweep, [facts[data_key(config)] for config in configs])
    refuse_large_batches([*plan.upper_configs(sweep), *runs], facts)
    origins = given.origins(facts, lambda config: identify(sweep, config, facts[data_key(config)])) if given else {}
    key = sweep_key(sweep, facts, [file_digests(config) for config in configs])
    told = warm_start(sweep, plans_by_protocol(sweep, plan), partial(key_of, sweep, facts, find), key, fresh)
    store = retry(lambda: open_store(sweep, key, fresh, say) if write else read_store(sweep, key, fresh))
    sweep_runs = SweepRuns(facts, find, partial(label, sweep=sweep), partial(identify, sweep), store.known, has_files)
    if write:
        told = retry(lambda: record(told, store.parent_id))
    begun = {trial: origin.epoch for trial, origin in origins.items()}
    return ReadySweep(
        Workload(sweep, plan, sweep_runs, begun, told), store, storage, origins, partial(admit, sweep, sweep_runs)
    )


def fits_here(sweep: Sweep, where: Where) -> bool:
    """Whether a sweep is to run on this machine, and its trials on CPUs that it has."""
    on_cpus = not sweep.resources.gpu and sweep.resources.cpu <= (os.cpu_count() or 1)
    return on_cpus and not cluster_address(where.address)


def key_of(sweep: Sweep, facts: Facts, find: Callable[[list[TrainConfig]], Facts], config: TrainConfig) -> str:
    """Return the key of a trial, whose data is prepared if it is new."""
    if data_key(config) not in facts:
        facts |= find([config])
    return identify(sweep, config, facts[data_key(config)])


def admit(sweep: Sweep, sweep_runs: SweepRuns, config: TrainConfig) -> None:
    """Check a configuration that is added to a running sweep as those of its file were. Raises `UserError`."""
    check(sweep, [config])
    facts = sweep_runs.facts_of(config)
    refuse_large_batches([config], {data_key(config): facts})
    refuse_other_images(sweep, [facts, *sweep_runs.facts.values()])


def check(sweep: Sweep, configs: list[TrainConfig]) -> None:
    """Raise `UserError` for what would fail later: missing files, unreadable weights, a device that trials will not have."""
    refuse_missing(sweep.log_to)
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


def progress_bar(protocol: str) -> Progress:
    """Return what iterates over the images of a protocol that are prepared, with a bar on stderr."""

    def bar(items: Iterable[Any], total: int) -> Iterable[Any]:
        return tqdm(items, total=total, desc=f"preparing {protocol}", unit=" images")

    return bar


def no_bar(protocol: str) -> Progress:
    """Return what iterates over them in silence."""
    return lambda items, total: items
