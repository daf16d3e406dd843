"""Ray: start it on this machine or join a cluster, see whether it is alive, and whether its nodes can hold a trial."""

import gc
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from bel.errors import UserError
from launch.driver.mps import start_mps
from launch.spec.sweep_file import Resources, Sweep

PASSED_ON = (
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",
    "TORCH_HOME",
)  # environment variables that workers get from the driver
TIMEOUT = 5.0  # seconds to reach the head of a cluster
DAEMONS = ("raylet", "gcs_server")  # of the Ray that is started here; no trial outlives one of them
POLL_SECONDS = 5.0  # between two checks of a cluster that was joined
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
LOCAL: dict[str, Any] = QUIET | {"address": "local", "include_dashboard": False}
MOST_PATH_BYTES = 39  # in the path of a folder for Ray's sockets; the system allows 107 with the names that Ray adds
PACKAGES = [str(Path(__file__).parents[2] / name) for name in ("bel", "launch")]


def start_ray(sweep: Sweep, address: str | None, say: Callable[[str], Any] = print) -> None:
    """Connect to the cluster at an address, or start Ray on this machine; workers elsewhere get a copy of this source.

    Raises `UserError` where the cluster is not reached, or no node has the resources of a trial, which would wait for ever.
    """
    if not ray.is_initialized():
        if cluster := cluster_address(address):
            join_ray(cluster)
        else:
            if sweep.resources.shared and sweep.resources.mps and (why := start_mps()):
                say(f"trials on a GPU take turns, NVIDIA's MPS is not used: {why}")
            start_local_ray()
    refuse_impossible(sweep)


def cluster_address(address: str | None) -> str | None:
    """Return the address of the cluster that is asked for, by an option or RAY_ADDRESS; None for this machine."""
    found = address or os.environ.get("RAY_ADDRESS")
    return None if found == "local" else found or None


def join_ray(address: str) -> None:
    """Connect to the cluster at an address. Raises `UserError` where that fails."""
    refuse_unreachable(address)
    variables = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    try:
        ray.init(address=address, runtime_env={"py_modules": PACKAGES, "env_vars": variables}, **QUIET)
    except (ConnectionError, ValueError, RuntimeError, RayError) as error:
        raise UserError(
            f"cannot join the Ray cluster at {address}: {str(error).splitlines()[0]}; where its head asks for a token, as "
            "`ray start` then says, set RAY_AUTH_MODE=token (on its own machine, --address auto does without)"
        ) from error


def start_local_ray(**more: Any) -> None:
    """Start Ray for this process; its daemons listen on loopback alone, and want a token. Raises `UserError` where it fails.

    A daemon listens on all interfaces unless its node's address is that of loopback, which Ray gives a node only where no
    others may join it. The token is not written into a file, because there may be no home folder.
    """
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        ray.init(**LOCAL, _temp_dir=sockets_folder(), **more)
    except (OSError, ValueError, RuntimeError, RayError) as error:
        raise UserError(
            f"cannot start Ray here: {str(error).splitlines()[0]}; where that is about its files, set RAY_TMPDIR to a "
            f"folder that may be written, has room, and a path of at most {MOST_PATH_BYTES} bytes"
        ) from error


def sockets_folder() -> str | None:
    """Return a folder for Ray's sockets and logs where TMPDIR cannot be used; None lets Ray choose."""
    chosen = os.environ.get("TMPDIR", "")
    if not chosen or "RAY_TMPDIR" in os.environ:
        return None
    usable = (
        len(os.fsencode(chosen)) <= MOST_PATH_BYTES and os.path.isdir(chosen) and os.access(chosen, os.W_OK | os.X_OK)
    )
    return None if usable else "/tmp/ray"


class RayDied(BaseException):
    """Leaves Tune without its cleanup, which would wait for a dead Ray for a minute after an `Exception`."""


def ray_died(now: bool = False) -> bool:
    """Whether a daemon of Ray on this node is dead; Tune itself would wait for ever.

    That of a cluster that was joined is asked every `POLL_SECONDS`, or `now`.
    """
    node = ray._private.worker._global_node
    if node is None:
        return False
    if not on_cluster():
        return any(kind in DAEMONS for kind, _ in node.dead_processes())
    if now:
        raylet_answers.cache_clear()
    return not raylet_answers(poll())


def on_cluster() -> bool:
    """Whether this process joined a cluster of Ray that was running before."""
    node = ray._private.worker._global_node
    return node is not None and not node.all_processes


def restart_ray() -> None:
    """Start Ray on this machine again after it died, and keep the signal handlers that Ray replaces."""
    gc.collect()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    start_local_ray()
    if threading.current_thread() is not threading.main_thread():  # in which neither Ray nor anyone else can set one
        return
    for number, handler in handlers.items():
        signal.signal(number, handler)


def refuse_unreachable(address: str) -> None:
    """Raise `UserError` where nothing listens at an address; Ray itself would wait for minutes."""
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
        socket.create_connection((host, int(port)), timeout=TIMEOUT).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(
            f"no Ray cluster answers at {address} ({error}): start its head with `ray start --head`, or leave "
            "--address and RAY_ADDRESS out to run on this machine"
        ) from error


def poll() -> int:
    """Number of the present interval of `POLL_SECONDS`; as an argument it lets a cached answer expire."""
    return int(time.monotonic() / POLL_SECONDS)


@lru_cache(maxsize=1)
def raylet_answers(poll: int) -> bool:
    """Whether the raylet of this node accepts connections; where the cluster's head dies, Ray ends this process itself."""
    with socket.socket(socket.AF_UNIX) as daemon:
        return daemon.connect_ex(ray._private.worker._global_node.raylet_socket_name) == 0


@lru_cache(maxsize=1)
def live_nodes(poll: int) -> list[dict[str, Any]]:
    """Return the nodes of the cluster that are alive, as Ray describes them."""
    return [node for node in ray.nodes() if node["Alive"]]


def most_on_a_node(resource: str) -> float:
    """Return the largest amount of a resource that a node of the cluster has."""
    return max((node["Resources"].get(resource, 0.0) for node in live_nodes(poll())), default=0.0)


def trials_at_once(resources: Resources) -> int:
    """Return how many trials fit on the cluster at once, 1 at least; a trial never has parts of two GPUs."""
    count, gpu = 0, resources.gpu
    for node in (node["Resources"] for node in live_nodes(poll())):
        fits = node.get("CPU", 0) / resources.cpu
        if gpu and not isinstance(gpu, str):
            on_one = int(1 / gpu + 1e-9) or 1 / gpu
            fits = min(fits, node.get("GPU", 0) * on_one)
        count += int(fits + 1e-9)
    return max(count, 1)


def missing_resources(sweep: Sweep) -> list[tuple[str, float]]:
    """Return name and amount of each resource of which a trial asks for more than any node has."""
    asked = {"GPU": sweep.resources.gpu, "CPU": sweep.resources.cpu}
    return [(name, n) for name, n in asked.items() if isinstance(n, float | int) and n > most_on_a_node(name)]


def refuse_impossible(sweep: Sweep) -> None:
    """Raise `UserError` where no node has the resources of a trial."""
    live_nodes.cache_clear()
    for name, wanted in missing_resources(sweep):
        if not (most := most_on_a_node(name)):
            raise UserError(
                f"resources.{name.lower()} asks for {wanted:g} {name} a trial, and Ray sees none: set it to 0"
            )
        raise UserError(
            f"resources.{name.lower()} asks for {wanted:g} {name} a trial, and Ray has at most {most:g} on a "
            f"machine: set resources.{name.lower()} to at most {most:g}"
        )
