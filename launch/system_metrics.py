"""Use of the machine that a trial trains on, measured by its worker, under the names of MLflow's System metrics.

MLflow's own monitor writes into the store from a thread of its own; here the driver alone writes, and on a cluster the worker
alone is on the trial's machine. So these are metrics of an epoch like any other.
"""

import importlib
import os
from contextlib import suppress
from typing import Any

import torch

PREFIX = "system/"  # by which MLflow's UI knows them
MB = 1e6


def psutil() -> Any:
    """Return the module psutil, which comes with Ray."""
    import ray  # noqa: F401 - it puts psutil on the path

    return importlib.import_module("psutil")


class SystemMetrics:
    """Measures the machine of this process, epoch by epoch, from when it is made; for one thread."""

    def __init__(self) -> None:
        self.psutil = psutil()
        self.samples: list[dict[str, float]] = []
        self.network = self.psutil.net_io_counters()
        self.psutil.cpu_percent()  # the next call measures from here

    def sample(self) -> None:
        """Note what has a value at one moment: memory, and the GPU."""
        memory = self.psutil.virtual_memory()
        used = {"system_memory_usage_megabytes": memory.used / MB}
        used |= {"system_memory_usage_percentage": memory.used / memory.total * 100}
        self.samples.append(used | gpu())

    def of_epoch(self) -> dict[str, float]:
        """Return the metrics since the last call: the CPU's mean, means of the samples, disk and network as they are now.

        The network's are megabytes since the object was made, as MLflow has them.
        """
        self.sample()
        samples, self.samples = self.samples, []
        found = {name: sum(one[name] for one in samples) / len(samples) for name in samples[-1]}
        disk, network = self.psutil.disk_usage(os.sep), self.psutil.net_io_counters()
        found |= {
            "cpu_utilization_percentage": self.psutil.cpu_percent(),
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / MB,
            "disk_available_megabytes": disk.free / MB,
            "network_receive_megabytes": (network.bytes_recv - self.network.bytes_recv) / MB,
            "network_transmit_megabytes": (network.bytes_sent - self.network.bytes_sent) / MB,
        }
        return {PREFIX + name: round(float(value), 1) for name, value in found.items()}


def gpu() -> dict[str, float]:
    """Return the use of the GPU that this process computes on: memory, with nvidia-ml-py load and power, too; else nothing."""
    if not torch.cuda.is_initialized():
        return {}
    free, total = torch.cuda.mem_get_info()
    found = {"gpu_0_memory_usage_megabytes": (total - free) / MB}
    found |= {"gpu_0_memory_usage_percentage": (total - free) / total * 100}
    with suppress(Exception):  # without nvidia-ml-py, or where the driver does not tell
        found |= {"gpu_0_utilization_percentage": torch.cuda.utilization()}
        found |= {"gpu_0_power_usage_watts": torch.cuda.power_draw() / 1000}
    return found
