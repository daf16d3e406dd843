"""Ray: started here or reached at an address, its GPUs and CPUs against what a trial asks for."""

from __future__ import annotations

import gc
import os
import secrets
import signal
import socket
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from bel.errors import UserError
from launch.driver.mps import start_mps
from launch.spec.sweep_file import Sweep

TOLD = ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "TORCH_HOME")  # variables that workers get from the driver
SECONDS = 5.0  # to reach the head of a cluster
DAEMONS = ("raylet", "gcs_server")  # of the Ray that is started here; no trial outlives one of them
LOOK = 5.0  # seconds until a cluster that was joined is looked at again
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
HERE: dict[str, Any] = QUIET | {"address": "local", "include_dashboard": False}
LONGEST = 39  # bytes of a folder's path, below which Ray makes sockets; the system allows them 107 in all
PACKAGES = [str(Path(__file__).parents[2] / name) for name in ("bel", "launch")]


def start_ray(sweep: Sweep, address: str | None) -> None:
    """Connect to the cluster at an address, or start Ray here; workers elsewhere get this very code.

    Raises `UserError` where it is not reached, or no node can hold a trial, which would wait for ever.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if not ray.is_initialized():
        if address and address != "local":
            join_ray(address)
        else:
            if sweep.resources.shared and sweep.resources.mps and (why := start_mps()):
                print(f"trials on a GPU take turns, NVIDIA's MPS is not used: {why}")
            start_here()
    refuse_impossible(sweep)


def join_ray(address: str) -> None:
    """Connect to the cluster at an address. Raises `UserError` where that fails."""
    refuse_unreachable(address)
    told = {name: os.environ[name] for name in TOLD if name in os.environ}
    try:
        ray.init(address=address, runtime_env={"py_modules": PACKAGES, "env_vars": told}, **QUIET)
    except (ConnectionError, ValueError, RuntimeError, RayError) as error:
        raise UserError(
            f"cannot join the Ray cluster at {address}: {str(error).splitlines()[0]}; where its head asks for a token, as "
            "`ray start` then says, set RAY_AUTH_MODE=token (on its own machine, --address auto does without)"
        ) from error


def start_here(**more: Any) -> None:
    """Start Ray for this process: its daemons listen on loopback, to who knows its token. Raises `UserError` where it fails.

    A daemon listens on all interfaces unless its node's address is that of loopback, which Ray gives a node only where no
    others may join it. The token is kept in no file: there may be no home folder to write it into.
    """
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        ray.init(**HERE, _temp_dir=files_folder(), **more)
    except (OSError, ValueError, RuntimeError, RayError) as error:
        raise UserError(
            f"cannot start Ray here: {str(error).splitlines()[0]}; where that is about its files, set RAY_TMPDIR to a "
            f"folder that may be written, has room, and a path of at most {LONGEST} bytes"
        ) from error


def files_folder() -> str | None:
    """A folder for Ray's sockets and logs where that of TMPDIR cannot be it; None: Ray's own choice."""
    chosen = os.environ.get("TMPDIR", "")
    if not chosen or "RAY_TMPDIR" in os.environ:
        return None
    usable = len(os.fsencode(chosen)) <= LONGEST and os.path.isdir(chosen) and os.access(chosen, os.W_OK | os.X_OK)
    return None if usable else "/tmp/ray"


class RayDied(BaseException):
    """Gets the driver out of Tune, which after an `Exception` would ask a dead Ray to clean up, and wait for a minute."""


def ray_died(now: bool = False) -> bool:
    """Whether a daemon of the Ray that this process started is dead, or of its node of a cluster; Tune would wait for ever.

    A cluster's is looked for now and then, or `now`.
    """
    node = ray._private.worker._global_node
    if node is None:
        return False
    if not joined():
        return any(kind in DAEMONS for kind, _ in node.dead_processes())
    if now:
        answers.cache_clear()
    return not answers(tick())


def joined() -> bool:
    """Whether Ray is a cluster that somebody else started."""
    node = ray._private.worker._global_node
    return node is not None and not node.all_processes


def restart_ray() -> None:
    """Start Ray here anew, after what is left of the dead one's objects; what Ctrl-C does stays as it is."""
    gc.collect()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    start_here()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def refuse_unreachable(address: str) -> None:
    """Raise `UserError` where nobody listens at an address, for which Ray itself would wait for minutes."""
    if "://" in address:
        raise UserError(
            f"the Ray address must be HOST:PORT or auto, got {address!r}: the sweep runs on a node of the cluster "
            "(on its head, or by `ray job submit`), not through a client"
        )
    host, colon, port = address.rpartition(":")
    if not colon:
        if address != "auto":
            raise UserError(f"the Ray address must be HOST:PORT, auto or local, got {address!r}")
        return
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(
            f"no Ray cluster answers at {address} ({error}): start its head with `ray start --head`, or leave "
            "--address and RAY_ADDRESS out to run on this machine"
        ) from error


def tick() -> int:
    """A number that is another one after a while."""
    return int(time.monotonic() / LOOK)


@lru_cache(maxsize=1)
def answers(tick: int) -> bool:
    """Whether the daemon of this node is there, asked once a tick; where the cluster's head dies, Ray ends this process."""
    with socket.socket(socket.AF_UNIX) as daemon:
        return daemon.connect_ex(ray._private.worker._global_node.raylet_socket_name) == 0


@lru_cache(maxsize=1)
def alive(tick: int) -> list[dict[str, Any]]:
    """The nodes of the cluster that are there, asked for once a tick."""
    return [node for node in ray.nodes() if node["Alive"]]


def most(name: str) -> float:
    """The most of a resource that a node of the cluster has."""
    return max((node["Resources"].get(name, 0.0) for node in alive(tick())), default=0.0)


def lacking(sweep: Sweep) -> list[tuple[str, float]]:
    """What a trial asks for and no node of the cluster has: names and numbers of resources."""
    asked = {"GPU": sweep.resources.gpu, "CPU": sweep.resources.cpu}
    return [(name, n) for name, n in asked.items() if isinstance(n, float | int) and n > most(name)]


def refuse_impossible(sweep: Sweep) -> None:
    """Raise `UserError` where no node has what one trial asks for."""
    alive.cache_clear()
    for name, wanted in lacking(sweep):
        if not most(name):
            raise UserError(
                f"resources.{name.lower()} asks for {wanted:g} {name} a trial, and Ray sees none: set it to 0"
            )
        raise UserError(
            f"resources.{name.lower()} asks for {wanted:g} {name} a trial, and Ray has at most {most(name):g} on a "
            f"machine: set resources.{name.lower()} to at most {most(name):g}"
        )
