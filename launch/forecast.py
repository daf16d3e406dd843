"""What a sweep will run, how long that takes and what it needs, said before anything starts."""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass, replace

import ray
import torch

from bel.accumulate import SMALLEST
from bel.config import TrainConfig
from bel.errors import UserError
from bel.model import Model, autocasts, build_model, optimiser_groups, pick_device
from bel.optimiser import Optimiser
from launch.cluster import most
from launch.job import Job
from launch.space import Sweep

GB = 1e9
MARGIN = 1.15  # of the measured memory of a GPU, for what two batches do not show
VALIDATION = 1 / 3  # of the time of a training image


@dataclass(frozen=True)
class Probe:
    """What training batches took: seconds an image, bytes at most, of the device (or host), and of the weights."""

    seconds: float
    peak: float
    memory: float
    weights: float


def probe(config: TrainConfig, threads: int) -> Probe:
    """Train on a batch of noise, and on two that count. On a CPU the memory is the process's, its libraries included."""
    torch.set_num_threads(threads)
    device = pick_device(config.device)
    model = build_model(config, initial=False).to(device=device, memory_format=config.layout)  # type: ignore[call-overload]
    optimiser = Optimiser(optimiser_groups(model, config), config.lr)
    count = config.batch_size
    took: list[float] = []
    while len(took) < 3:
        try:
            took.append(step(model, optimiser, config, count, device))
        except torch.OutOfMemoryError:  # training then computes its batches in parts, too
            count, took = count // 2, []
            if count < SMALLEST:
                raise UserError(
                    f"two images of {config.image_size} px do not fit into memory: lower image_size"
                ) from None
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    if device.type == "cuda":
        peak, memory = torch.cuda.max_memory_reserved(device), torch.cuda.get_device_properties(device).total_memory
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Probe(min(took[1:]), peak, memory, weights)


def step(model: Model, optimiser: Optimiser, config: TrainConfig, count: int, device: torch.device) -> float:
    """Seconds an image that a training step on `count` images of noise takes."""
    images = torch.randn(count, 3, config.image_size, config.image_size, device=device)
    start = time.perf_counter()
    with torch.autocast(device.type, torch.bfloat16, enabled=autocasts(config.precision, device)):
        outputs = model(images.to(memory_format=config.layout))
    loss = model.head.loss(outputs, torch.zeros(count, len(config.axes), device=device))
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    loss.item()  # waits for a GPU
    return (time.perf_counter() - start) / count


def measure(configs: list[TrainConfig], cpu: float, gpu: float) -> dict[TrainConfig, Probe]:
    """A probe of each distinct network, image size and batch, one after the other, each in a process of its own."""
    distinct = {(c.backbone, c.image_size, c.batch_size): c for c in configs}
    task = ray.remote(num_cpus=cpu, num_gpus=gpu, max_calls=1)(probe)
    return {config: ray.get(task.remote(config, max(1, round(cpu)))) for config in distinct.values()}


def settle_gpu(sweep: Sweep, configs: list[TrainConfig]) -> Sweep:
    """The sweep with `gpu: auto` made a number: so many trials on a GPU as its memory holds, by measure; 0 without one."""
    if sweep.resources.gpu != "auto":
        return sweep
    if not most("GPU"):
        print("resources.gpu auto: Ray has no GPU here, trials run on CPUs")
        return replace(sweep, resources=replace(sweep.resources, gpu=0.0))
    probes = measure(configs, sweep.resources.cpu, 1.0)
    share = max(p.peak * MARGIN / p.memory for p in probes.values())
    together = max(1, int(1 / share))
    print(f"resources.gpu auto: {share:.0%} of a GPU's memory at most, measured, so {together} trials on each")
    return replace(sweep, resources=replace(sweep.resources, gpu=1 / together))


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
