"""NVIDIA's multi-process service (MPS): lets kernels of trials that share a GPU run at once; else they take turns."""

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
TIMEOUT = 30.0  # seconds for an answer of the service, or of a program that uses it
TEST_PROGRAM = """
import ctypes
cuda, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
assert cuda.cuInit(0) == 0 and cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
"""  # what each trial does first
SEES_GPU = """
import ctypes
cuda, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
assert cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value
"""  # also where other processes leave it no memory on the GPU


def start_mps() -> str:
    """Start MPS for the processes that this one starts; return why that failed, or an empty text.

    A service that the user started, or that a killed driver left, is used; ours ends with the last driver of this user.
    It sees all GPUs, because CUDA_VISIBLE_DEVICES of a trial counts those of the service.
    """
    if not torch.cuda.device_count() or PIPES in os.environ:
        return ""
    if not shutil.which(CONTROL):
        return f"there is no {CONTROL}"
    if (WHOLE_MACHINE / "control").exists() and ask("get_server_list") is not None:
        return ""
    folder = our_folder()
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = (folder / "drivers").open("w")
    fcntl.flock(lock, fcntl.LOCK_SH)
    os.environ |= {PIPES: str(folder), "CUDA_MPS_LOG_DIRECTORY": str(folder)}
    start_service()
    if not serves():
        stop_mps(lock)
        del os.environ[PIPES], os.environ["CUDA_MPS_LOG_DIRECTORY"]
        return "it does not start, or no GPU is reached through it"
    atexit.register(stop_mps, lock)
    return ""


def our_folder() -> Path:
    """Return the folder of the service that drivers of this user share."""
    return Path(tempfile.gettempdir()) / f"bel-mps-{os.getuid()}"


def start_service() -> None:
    """Start the service for all GPUs; it says no where it runs."""
    everything = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    quiet = subprocess.DEVNULL
    subprocess.run([CONTROL, "-d"], env=everything, stdin=quiet, stdout=quiet, stderr=quiet)


def ask(line: str) -> str | None:
    """Return what the service answers to a line; None where there is no service."""
    try:
        done = subprocess.run([CONTROL], input=f"{line}\n", capture_output=True, text=True, timeout=TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def serves() -> bool:
    """Whether a process reaches a GPU through the service, and not past it."""
    return succeeds(TEST_PROGRAM) and bool((ask("get_server_list") or "").strip())


def succeeds(program: str) -> bool:
    """Whether a process that starts now can run a program of Python."""
    try:
        tried = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return False
    return tried.returncode == 0


def restore_gpu() -> bool:
    """Return whether a process sees a GPU, if need be after our service was started again, which somebody may have stopped."""
    if succeeds(SEES_GPU):
        return True
    if os.environ.get(PIPES) != str(our_folder()):
        return False
    start_service()
    return succeeds(SEES_GPU)


def stop_mps(lock: IO[str]) -> None:
    """Stop the service after the last trial, unless another driver of this user uses it."""
    ray.shutdown()
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    ask("quit")
    lock.close()
