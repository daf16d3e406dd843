"""Measure speed and memory of training before a sweep, on noise in separate workers, and resolve `gpu: auto` with it."""

import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import ray
import torch
from ray.exceptions import RayActorError, RayTaskError
from ray.util import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from bel.config import TrainConfig
from bel.data.batches import SHARE
from bel.data.loading import request
from bel.data.prepare.prepared import usable
from bel.errors import UserError
from bel.precision import pick_device, plain_fp32
from bel.training.build import Optimiser, build_model, optimiser_groups
from bel.training.run_context import Forward, RunContext
from bel.training.step import WARM_UP, Chunks, Step
from launch.driver.ray_cluster import live_nodes, most_on_a_node, poll
from launch.identity import pixels_key
from launch.spec.sweep_file import Sweep

MARGIN = 1.15  # factor on the measured GPU memory, for what a probe on noise misses
DRIVER_BYTES = 1e9  # of GPU memory that the driver takes for a process, at most
MOST_TRIALS = 16  # at once on a GPU
MEASURED = 1.0  # seconds over which speed on a GPU is measured
PATIENCE = 30.0  # seconds that several probers wait for resources on one machine

Network = tuple[str, int, int, int]


@dataclass(frozen=True)
class Probe:
    """Seconds of training an image; bytes at the peak, of the device's (or host's) whole memory, and of the weights."""

    seconds: float
    peak: float
    memory: float
    weights: float


class Prober:
    """The training step of a config, on a batch of noise."""

    def prepare(self, config: TrainConfig, threads: int) -> None:
        """Build the network and warm it up. Raises `UserError` where two images do not fit into memory."""
        torch.set_num_threads(threads)
        self.context = RunContext(pick_device(config.device))
        self.batch_size = config.batch_size
        shape = (config.views * config.batch_size, 3, config.image_size, config.image_size)
        with self.context.active():
            model = build_model(config, initial=False)
            model.to(device=self.context.device, memory_format=config.layout)  # type: ignore[call-overload]
            optimiser = Optimiser(optimiser_groups(model, config), config.lr)
            self.step = Step(model, optimiser, config, Chunks(config))
            self.images = torch.randn(shape, device=self.context.device).to(memory_format=config.layout)
            self.targets = torch.zeros(shape[0], len(config.axes), device=self.context.device)
            if self.step.replays:
                self.validate(config)
        model.train()
        for _ in range(WARM_UP + 1 if self.step.replays else 1):
            self.train()

    def validate(self, config: TrainConfig) -> None:
        """Evaluate validation batches, whose memory a run keeps."""
        images = self.images[:1].expand(config.eval_batch_size, -1, -1, -1).contiguous(memory_format=config.layout)
        self.forward = Forward(self.step.model.eval(), config.eval_batch_size)
        with torch.inference_mode(), plain_fp32():
            for _ in range(3):
                self.forward(images)

    def train(self) -> float:
        """Train on the batch; return the seconds that this took."""
        start = time.perf_counter()
        with self.context.active(), plain_fp32():
            self.step(self.images, self.targets).item()  # waits for a GPU
        return time.perf_counter() - start

    def speed(self, seconds: float) -> float:
        """Return images/s, each view of an image being none, measured over some seconds and two steps at least."""
        took = [self.train(), self.train()]
        while sum(took) < seconds:
            took.append(self.train())
        return self.batch_size * len(took) / sum(took)

    def probe(self) -> Probe:
        """Return the measurements. On a CPU the memory is that of the process, libraries included."""
        seconds = 1 / self.speed(MEASURED if self.step.replays else 0)
        weights = sum(value.numel() * value.element_size() for value in self.step.model.state_dict().values())
        if self.context.device.type != "cuda":
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            return Probe(seconds, peak, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), weights)
        free, memory = torch.cuda.mem_get_info()
        around = memory - free - torch.cuda.memory_reserved()  # the driver's own, and what others have
        return Probe(seconds, torch.cuda.max_memory_reserved() + min(around, DRIVER_BYTES), memory, weights)


@contextmanager
def probers(config: TrainConfig, cpu: float, gpu: float, number: int) -> Iterator[list[Any]]:
    """Start so many probers as Ray actors on one machine; half of them, a quarter and so on while resources are taken."""
    while True:
        bundle = {"CPU": cpu} | ({"GPU": gpu} if gpu else {})
        group = placement_group([bundle] * number, strategy="STRICT_PACK")
        if group.wait(PATIENCE if number > 1 else 1e9):
            break
        remove_placement_group(group)
        number //= 2
    try:
        actor_class = ray.remote(num_cpus=cpu, num_gpus=gpu)(Prober)
        placement = PlacementGroupSchedulingStrategy(placement_group=group)
        actors = [actor_class.options(scheduling_strategy=placement).remote() for _ in range(number)]
        results([actor.prepare.remote(config, max(1, round(cpu))) for actor in actors])
        yield actors
    finally:
        remove_placement_group(group)


def results(references: list[Any]) -> list[Any]:
    """Return the results of probers. Raises the `UserError` of one of them, or one where its process died."""
    try:
        return list(ray.get(references))
    except RayTaskError as error:
        raise error.cause if isinstance(error.cause, UserError) else error from None
    except RayActorError as error:
        raise UserError(
            "a process that measured training died, perhaps for want of memory: lower batch_size, or give resources.gpu "
            "and resources.cpu numbers, so that fewer run at once"
        ) from error


def network(config: TrainConfig) -> Network:
    """Return what determines the time of a step: backbone, image size in pixels, batch size, views of each image."""
    return config.backbone, config.image_size, config.batch_size, config.views


def measure(configs: list[TrainConfig], cpu: float, gpu: float) -> dict[Network, Probe]:
    """Probe each distinct network in turn, while as many more probers train as trials share a GPU."""
    found = {}
    for key, config in {network(config): config for config in configs}.items():
        with probers(config, cpu, gpu, trials_on_gpu(cpu, gpu)) as actors:
            probes = results([actor.probe.remote() for actor in actors])
        found[key] = max(probes, key=lambda probe: probe.seconds)
    return found


def trials_on_gpu(cpu: float, gpu: float) -> int:
    """Return how many trials of a GPU share run on a GPU at once; the CPUs of its node limit them."""
    if not 0 < gpu < 1:
        return 1
    nodes = [node["Resources"] for node in live_nodes(poll()) if node["Resources"].get("GPU", 0)]
    cores = max((node.get("CPU", 0) / max(1, node["GPU"]) for node in nodes), default=0)
    return max(1, min(int(1 / gpu + 1e-9), int(cores / cpu + 1e-9)))


def resolve_gpu_share(sweep: Sweep, configs: list[TrainConfig], say: Callable[[str], Any] = print) -> Sweep:
    """Replace `gpu: auto` by 1/n, n the fewest parallel trials within 5 % of the best throughput; by 0 without a GPU."""
    if sweep.resources.gpu != "auto":
        return sweep
    if not most_on_a_node("GPU"):
        say("resources.gpu auto: Ray has no GPU here, trials run on CPUs")
        return replace(sweep, resources=replace(sweep.resources, gpu=0.0))
    cpu = sweep.resources.cpu
    probes = measure(configs, cpu, 1.0)
    distinct = {(network(config), pixels_key(config)): config for config in configs}.values()
    share, largest = max(((share_of(c, probes[network(c)]), c) for c in distinct), key=lambda pair: pair[0])
    together = max(1, min(int(1 / share), trials_on_gpu(cpu, 1 / MOST_TRIALS)))
    rates = speeds(largest, cpu, together)
    number = fewest(rates)
    measured = ", ".join(f"{rate:.0f} with {count}" for count, rate in rates.items())
    say(f"resources.gpu auto: a GPU has room for {max(rates)} trials; images/s of all of them, measured: {measured}")
    say(f"resources.gpu auto: {number} trials on each GPU")
    return replace(sweep, resources=replace(sweep.resources, gpu=1 / number))


def share_of(config: TrainConfig, probe: Probe) -> float:
    """Return the share of a GPU's memory that a trial takes, with its training images where it caches them there."""
    images = len(usable(request(config, "train")).entries) * config.prepared_size**2 * 3
    on_host = config.cache == "host" or (config.cache == "auto" and images > SHARE * probe.memory)
    return (probe.peak * MARGIN + (0 if on_host else images)) / probe.memory


def speeds(config: TrainConfig, cpu: float, together: int) -> dict[int, float]:
    """Measure images/s of all trials on a GPU, by how many train at once: 1, 2, 4 and so on, and `together`."""
    with probers(config, cpu, 1 / together, together) as actors:
        counts = [2**i for i in range(len(actors).bit_length()) if 2**i < len(actors)] + [len(actors)]
        return {n: sum(results([actor.speed.remote(MEASURED) for actor in actors[:n]])) for n in counts}


def fewest(rates: dict[int, float]) -> int:
    """Return the fewest trials at once that reach 95 % of the most images/s."""
    return min(count for count, rate in rates.items() if rate >= 0.95 * max(rates.values()))
