"""NVIDIA's multi-process service: kernels of trials that share a GPU run side by side; without it processes take turns."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import ray
import torch

CONTROL = "nvidia-cuda-mps-control"
PIPES = "CUDA_MPS_PIPE_DIRECTORY"
WHOLE_MACHINE = Path("/tmp/nvidia-mps")  # the service's own default
SECONDS = 30.0  # for an answer of the service, or of a program that uses it
TRY = """
import ctypes
cuda, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
assert cuda.cuInit(0) == 0 and cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
"""  # what each trial does first


def start_mps() -> str:
    """Start the service for the processes that this one begins, until the last driver of this user ends; why not, if so.

    One that the user started is taken as it is, and one that a killed driver left behind is used again. It sees all GPUs,
    because what CUDA_VISIBLE_DEVICES says to a trial counts those of the service.
    """
    if not torch.cuda.device_count() or PIPES in os.environ:
        return ""
    if not shutil.which(CONTROL):
        return f"there is no {CONTROL}"
    if (WHOLE_MACHINE / "control").exists() and ask("get_server_list") is not None:
        return ""
    folder = Path(tempfile.gettempdir()) / f"bel-mps-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = (folder / "drivers").open("w")
    fcntl.flock(lock, fcntl.LOCK_SH)
    os.environ |= {PIPES: str(folder), "CUDA_MPS_LOG_DIRECTORY": str(folder)}
    everything = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    quiet = subprocess.DEVNULL
    subprocess.run([CONTROL, "-d"], env=everything, stdin=quiet, stdout=quiet, stderr=quiet)  # says no where it runs
    if not serves():
        stop_mps(lock)
        del os.environ[PIPES], os.environ["CUDA_MPS_LOG_DIRECTORY"]
        return "it does not start, or no GPU is reached through it"
    atexit.register(stop_mps, lock)
    return ""


def ask(line: str) -> str | None:
    """What the service answers; None where there is none."""
    try:
        done = subprocess.run([CONTROL], input=f"{line}\n", capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def serves() -> bool:
    """Whether a process reaches a GPU, and through the service: without one it would reach it all the same."""
    try:
        tried = subprocess.run([sys.executable, "-c", TRY], capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return tried.returncode == 0 and bool((ask("get_server_list") or "").strip())


def stop_mps(lock: IO[str]) -> None:
    """SweepStopper the service after the last trial, unless another driver of this user has it."""
    ray.shutdown()
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    ask("quit")
    lock.close()
