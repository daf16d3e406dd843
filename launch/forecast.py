"""What a sweep will run, how long that takes and what it needs, said before anything starts."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass, replace
from typing import Any

import ray
import torch

from bel.accumulate import Chunks
from bel.config import TrainConfig
from bel.lane import Lane
from bel.model import build_model, optimiser_groups, pick_device, plain_fp32
from bel.optimiser import Optimiser
from bel.step import WARM_UP, Step
from launch.cluster import most
from launch.job import Job
from launch.space import Sweep

GB = 1e9
MARGIN = 1.15  # of the measured memory of a GPU, for what two batches do not show
CONTEXT = 1e9  # bytes of a GPU that its driver takes for a process, at most
MOST = 16  # trials on a GPU that are tried
PACED = 1.0  # seconds over which a pace is measured on a GPU
VALIDATION = 1 / 3  # of the time of a training image


@dataclass(frozen=True)
class Probe:
    """What training batches took: seconds an image, bytes at most, of the device (or host), and of the weights."""

    seconds: float
    peak: float
    memory: float
    weights: float


class Prober:
    """A training step of a config on a batch of noise, in a process of its own."""

    def ready(self, config: TrainConfig, threads: int) -> None:
        """Make the step as later ones are. Raises `UserError` where two images do not fit into memory."""
        torch.set_num_threads(threads)
        self.lane = Lane(pick_device(config.device))
        shape = (config.batch_size, 3, config.image_size, config.image_size)
        with self.lane.turn():
            model = build_model(config, initial=False)
            model.to(device=self.lane.device, memory_format=config.layout)  # type: ignore[call-overload]
            optimiser = Optimiser(optimiser_groups(model, config), config.lr)
            self.step = Step(model.train(), optimiser, config, Chunks(config))
            self.images = torch.randn(shape, device=self.lane.device).to(memory_format=config.layout)
            self.targets = torch.zeros(shape[0], len(config.axes), device=self.lane.device)
        for _ in range(WARM_UP + 1 if self.step.replays else 1):
            self.train()

    def train(self) -> float:
        """Train on the batch; the seconds that this took."""
        start = time.perf_counter()
        with self.lane.turn(), plain_fp32():
            self.step(self.images, self.targets).item()  # waits for a GPU
        return time.perf_counter() - start

    def pace(self, seconds: float) -> float:
        """Images/s over some seconds, two steps at least."""
        took = [self.train(), self.train()]
        while sum(took) < seconds:
            took.append(self.train())
        return len(self.images) * len(took) / sum(took)

    def probe(self) -> Probe:
        """What training takes. On a CPU the memory is the process's, its libraries included."""
        pace = self.pace(PACED if self.step.replays else 0)
        weights = sum(value.numel() * value.element_size() for value in self.step.model.state_dict().values())
        if self.lane.device.type != "cuda":
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            return Probe(1 / pace, peak, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), weights)
        free, memory = torch.cuda.mem_get_info()
        around = memory - free - torch.cuda.memory_reserved()  # the driver's own, and what others have
        return Probe(1 / pace, torch.cuda.max_memory_reserved() + min(around, CONTEXT), memory, weights)


def probers(config: TrainConfig, cpu: float, gpu: float, number: int) -> list[Any]:
    """So many probers as Ray actors, made ready."""
    made = [ray.remote(num_cpus=cpu, num_gpus=gpu)(Prober).remote() for _ in range(number)]
    ray.get([actor.ready.remote(config, max(1, round(cpu))) for actor in made])
    return made


def measure(configs: list[TrainConfig], cpu: float, gpu: float) -> dict[TrainConfig, Probe]:
    """A probe of each distinct network, image size and batch, one after the other, beside so many as share a GPU with it."""
    distinct = {(c.backbone, c.image_size, c.batch_size): c for c in configs}
    number = beside(cpu, gpu)
    found = {}
    for config in distinct.values():
        actors = probers(config, cpu, gpu, number)
        probes = ray.get([actor.probe.remote() for actor in actors])
        found[config] = max(probes, key=lambda probe: probe.seconds)
        del actors
    return found


def beside(cpu: float, gpu: float) -> int:
    """How many trials are on a GPU at once: so many as its shares, and the processors of its machine, suffice for."""
    return max(1, min(int(1 / gpu + 1e-9), int(most("CPU") / cpu + 1e-9))) if 0 < gpu < 1 else 1


def settle_gpu(sweep: Sweep, configs: list[TrainConfig]) -> Sweep:
    """The sweep with `gpu: auto` made a number: so few trials on a GPU as train as fast as more would; 0 without one."""
    if sweep.resources.gpu != "auto":
        return sweep
    if not most("GPU"):
        print("resources.gpu auto: Ray has no GPU here, trials run on CPUs")
        return replace(sweep, resources=replace(sweep.resources, gpu=0.0))
    cpu = sweep.resources.cpu
    probes = measure(configs, cpu, 1.0)
    largest = max(probes, key=lambda config: probes[config].peak)
    share = probes[largest].peak * MARGIN / probes[largest].memory
    together = max(1, min(int(1 / share), MOST, beside(cpu, 1 / MOST)))
    rates = paces(largest, cpu, together)
    number = fewest(rates)
    told = ", ".join(f"{rate:.0f} of {count}" for count, rate in rates.items())
    print(
        f"resources.gpu auto: memory and processors suffice for {together} trials on a GPU, images/s measured: {told}"
    )
    print(f"resources.gpu auto: {number} trials on each GPU")
    return replace(sweep, resources=replace(sweep.resources, gpu=1 / number))


def paces(config: TrainConfig, cpu: float, together: int) -> dict[int, float]:
    """Images/s of all trials, by how many train at once on a GPU: 1, 2, 4 and so on, and `together`."""
    actors = probers(config, cpu, 1 / together, together)
    counts = [2**i for i in range(together.bit_length()) if 2**i < together] + [together]
    return {n: sum(ray.get([actor.pace.remote(PACED) for actor in actors[:n]])) for n in counts}


def fewest(rates: dict[int, float]) -> int:
    """The fewest trials at once whose images/s are within a twentieth of the most."""
    return min(count for count, rate in rates.items() if rate >= 0.95 * max(rates.values()))


def announce(job: Job, full: bool) -> None:
    """Say what is legal, on which data, and how much is to do; in full also how long, how much disk and memory."""
    legal, dropped = len(job.plan.legal), sum(job.plan.dropped.values())
    print(f"{legal} legal combinations of lists, {dropped} dropped")
    for reason, number in job.plan.dropped.most_common():
        print(f"dropped {number} combinations: {reason}")
    for values in {values["split_hash"]: values for values in job.book.facts.values()}.values():
        print(
            f"data {values['protocol']}: {values['train_images']} images train, {values['val_images']} of "
            f"{values['val_groups']} other groups select, split {values['split_hash']}; {values['left_out']} images beyond "
            f"the limit, {values['skipped']} skipped"
        )
    s, done, lent = job.sweep, job.done, job.lent
    print(
        f"sweep {s.name}: {max(job.total - done - lent, 0)} trials to run ({s.search.method}, scheduler {s.search.scheduler}), "
        f"{done} finished before, {lent} by other sweeps",
        flush=True,
    )
    if full:
        print_costs(job)


def print_costs(job: Job) -> None:
    """Epochs, images, time, disk and memory of what is left to run, from a probe of each distinct network."""
    resources = job.sweep.resources
    assert not isinstance(resources.gpu, str)
    configs = job.all_runs
    probes = measure(configs, resources.cpu, resources.gpu)
    by_kind = {(c.backbone, c.image_size, c.batch_size): p for c, p in probes.items()}
    epochs = images = seconds = 0.0
    for config in configs:
        facts = job.book.facts_of(config)
        trained = config.epochs * int(facts["train_images"])
        validated = config.epochs * int(facts["val_images"])
        epochs, images = epochs + config.epochs, images + trained
        speed = by_kind[config.backbone, config.image_size, config.batch_size].seconds
        seconds += (trained + validated * VALIDATION) * speed
    share = max(job.total - job.done - job.lent, 0) / max(len(configs), 1)
    slots = places(job.sweep)
    less = "; early stopping takes less" if job.sweep.search.early else ""
    print(f"{epochs * share:.0f} epochs and {images * share:.3g} training images{less}")
    print(f"about {seconds * share / slots / 3600:.2f} h with {slots} trials at once, if nothing else runs")
    weights = max(p.weights for p in probes.values())
    kept = min(job.sweep.keep, job.total) * weights
    print(
        f"disk: about {kept / GB:.2f} GB of checkpoints kept, {slots * 4 * weights / GB:.2f} GB more while trials run"
    )
    part = resources.gpu or 1 / slots  # of a GPU's or of the host's memory, for a trial
    for config, p in probes.items():
        print(
            f"{config.backbone}, {config.image_size} px, batch {config.batch_size}: {1 / p.seconds:.0f} images/s, "
            f"{p.peak / GB:.2f} of {p.memory / GB:.1f} GB memory, weights {p.weights / 1e6:.1f} MB"
        )
        if p.peak > part * p.memory:
            print(
                f"warning: a trial's share is {part * p.memory / GB:.2f} GB: let fewer run at once, or lower batch_size"
            )


def places(sweep: Sweep) -> int:
    """How many trials fit on the cluster at once."""
    count = 0
    for node in (node["Resources"] for node in ray.nodes() if node["Alive"]):
        fits = node.get("CPU", 0) / sweep.resources.cpu
        if sweep.resources.gpu and not isinstance(sweep.resources.gpu, str):
            fits = min(fits, node.get("GPU", 0) / sweep.resources.gpu)
        count += int(fits + 1e-9)
    return max(count, 1)
