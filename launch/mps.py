"""NVIDIA's multi-process service: kernels of trials that share a GPU run side by side; without it processes take turns."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ray
import torch

CONTROL = "nvidia-cuda-mps-control"
DIRECTORY = "CUDA_MPS_PIPE_DIRECTORY"
SECONDS = 30.0  # for an answer of the service, or of a program that uses it
CONTEXT = """
import ctypes
cuda, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
assert cuda.cuInit(0) == 0 and cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
"""  # what each trial does first


def start_mps() -> bool:
    """Start the service for the processes that this one begins, until it ends; whether trials have it.

    One that the user started is taken as it is. A service of ours that a killed driver left behind is used again. It sees
    all GPUs, because what CUDA_VISIBLE_DEVICES says to a trial counts those of the service.
    """
    if DIRECTORY in os.environ:
        return True
    if not shutil.which(CONTROL) or not torch.cuda.device_count():
        return False
    folder = Path(tempfile.gettempdir()) / f"bel-mps-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    own = {DIRECTORY: str(folder), "CUDA_MPS_LOG_DIRECTORY": str(folder)}
    others = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    answered(None, "-d", env=others | own)  # says no where it runs already
    if not works(others | own):
        return False
    os.environ |= own
    atexit.register(stop_mps)
    return True


def answered(line: str | None, *arguments: str, env: dict[str, str] | None = None) -> str:
    """What the service's control program prints; nothing where there is no service."""
    try:
        done = subprocess.run(
            [CONTROL, *arguments], input=line, env=env, capture_output=True, text=True, timeout=SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def works(environment: dict[str, str]) -> bool:
    """Whether a process reaches a GPU through the service."""
    try:
        return not subprocess.run(
            [sys.executable, "-c", CONTEXT], env=environment, capture_output=True, timeout=SECONDS
        ).returncode
    except subprocess.TimeoutExpired:
        return False


def stop_mps() -> None:
    """Stop the service after the last trial, unless another sweep of this user has trials in it."""
    ray.shutdown()
    servers = answered("get_server_list\n").split()
    if not any(answered(f"get_client_list {server}\n").split() for server in servers):
        answered("quit\n")
