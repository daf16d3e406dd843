"""One driver per sweep, whatever its host: a lease on the parent run, which another driver takes when its heartbeat stops.

Anyone can overwrite a tag in MLflow, but a parameter of a run is written once: by a primary key of the database. So
the N-th driver of a parent run is the one that first wrote its parameter `driver.N`. Clocks of hosts are not compared.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from bel.errors import UserError, shown
from bel.run_layout import HEARTBEAT
from launch.tracking.writer import Lost
from results.store.connect import is_away, retry
from results.store.faults import sqlite_path
from results.store.sqlite_file import HEARTBEAT_SECONDS

ENDED = "ended"  # second word of the tag HEARTBEAT once a driver has ended; before, it changes with each heartbeat
STALE = 60.0  # seconds without a heartbeat, after which another driver takes over
NO_STORE = re.compile("no such table|relation .* does not exist|database .* does not exist")


def process_identity(pid: int) -> str:
    """Return what identifies a process: its host, number, start time and the boot of the machine."""
    return f"{socket.gethostname()} {pid} {start_time(pid)} {boot_id()}"


def boot_id() -> str:
    """Return what identifies this boot of the machine, and the container, which has its own process numbers."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + "/" + os.readlink("/proc/self/ns/pid")
    except OSError:
        return "?"


def start_time(pid: int) -> str:
    """Return the start time of a process, in ticks since the boot; "" where it has ended, as a zombie has."""
    try:
        state, *values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else values[18]
    except OSError:
        if Path("/proc/self").exists():
            return ""
    with suppress(OSError):
        os.kill(pid, 0)
        return "?"
    return ""


def process_alive(holder: str) -> bool | None:
    """Whether the process of an identity is alive; None for one of another host, of which only the heartbeat is known."""
    host, pid, start, machine = [*holder.split(), *4 * [""]][:4]
    if (host, machine) != (socket.gethostname(), boot_id()):
        return None
    return start_time(int(pid)) == start


def latest_driver(parent: Run) -> tuple[int, str]:
    """Return number and identity of a parent run's last driver; number 0 where it has none."""
    numbers = [int(name.partition(".")[2]) for name in parent.data.params if re.fullmatch(r"driver\.\d+", name)]
    number = max(numbers, default=0)
    return number, parent.data.params.get(f"driver.{number}", "")


def is_free(parent: Run) -> bool:
    """Whether a parent run's last driver has ended, or is certainly dead."""
    number, holder = latest_driver(parent)
    return not number or parent.data.tags.get(HEARTBEAT) == f"{number} {ENDED}" or process_alive(holder) is False


def is_alive(parent: Run) -> bool:
    """Whether a driver runs a sweep now; one of another host is watched for a heartbeat, for some seconds."""
    if is_free(parent):
        return False
    alive = process_alive(latest_driver(parent)[1])
    if alive is None:
        time.sleep(HEARTBEAT_SECONDS * 1.5)
        now = MlflowClient().get_run(parent.info.run_id)
        alive = not is_free(now) and now.data.tags.get(HEARTBEAT) != parent.data.tags.get(HEARTBEAT)
    return alive


def clock() -> float:
    """Return seconds of a clock that runs while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """The right of this process to run the sweep of a parent run, until it ends or another driver takes over."""

    def __init__(self, parent_id: str, number: int) -> None:
        self.parent_id, self.number = parent_id, number
        self.uri = mlflow.get_tracking_uri()
        self.file = self.store_file()
        self.why_lost = ""
        self.confirmed = self.ticked = clock()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.beat, daemon=True, name="lease")
        self.thread.start()

    def store_file(self) -> tuple[int, int] | None:
        """Return device and inode of a local store's file; None for another store, or where the file is gone."""
        path = sqlite_path(self.uri)
        with suppress(OSError):
            return (path.stat().st_dev, path.stat().st_ino) if path else None
        return None

    def beat(self) -> None:
        """Write heartbeats until the lease is over or lost."""
        client = MlflowClient(self.uri)
        while not self.over.wait(HEARTBEAT_SECONDS) and not self.why_lost:
            with suppress(Lost, Exception):  # `why_lost` is set, or the store is away
                self.confirm(client)
            self.ticked = clock()

    def confirm(self, client: MlflowClient) -> None:
        """Check that the lease is still ours and write a heartbeat. Raises `Lost` where it is not, or its store is gone."""
        at = clock()
        if self.store_file() != self.file:
            self.lose(f"the MLflow store {shown(self.uri)} is gone, or another one is in its place")
        try:
            parent = client.get_run(self.parent_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST" or NO_STORE.search(str(error)):
                self.lose(
                    f"the MLflow store {shown(self.uri)} is gone, or is another one: it knows no parent run {self.parent_id}"
                )
            raise
        if parent.info.lifecycle_stage != "active":
            self.lose(f"the parent run {self.parent_id} was deleted in the MLflow store {shown(self.uri)}")
        number, holder = latest_driver(parent)
        if number != self.number:
            host, pid = holder.split()[:2]
            self.lose(f"process {pid} on {host} has taken this sweep over, because this one did not answer")
        client.set_tag(self.parent_id, HEARTBEAT, f"{number} {uuid.uuid4().hex[:8]}")
        self.confirmed = at

    def lose(self, why: str) -> None:
        """Set why the lease is lost. Raises `Lost`."""
        self.why_lost = why
        raise Lost(why)

    def check(self) -> None:
        """Raise `Lost` where the lease is lost; asked before each write, and after this process stood still."""
        if not self.why_lost and (self.store_file() != self.file or clock() - self.confirmed > STALE / 2):
            self.confirm(MlflowClient(self.uri))
        if self.why_lost:
            raise Lost(self.why_lost)

    def check_after_pause(self) -> None:
        """`check` where this process stood still; training goes on while the store is away."""
        if self.why_lost or clock() - self.ticked > STALE / 2:
            try:
                self.check()
            except Exception as error:
                if not is_away(error):
                    raise

    def __enter__(self) -> Lease:
        """Return the lease, which is held already."""
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: Any) -> None:
        """Release the lease, so that the next driver need not wait."""
        self.over.set()
        self.thread.join(HEARTBEAT_SECONDS)
        if not self.why_lost:
            with suppress(Exception):  # the next driver waits until the heartbeat is stale
                client = MlflowClient(self.uri)
                if kind:
                    client.set_terminated(self.parent_id, "KILLED")
                client.set_tag(self.parent_id, HEARTBEAT, f"{self.number} {ENDED}")


def acquire(client: MlflowClient, parent_id: str, say: Callable[[str], Any]) -> Lease:
    """Acquire the lease on a parent run. Raises `UserError` where its driver is alive or its heartbeat changes.

    Raises `MlflowException` where the store stays away, or refuses the parameter though nobody has it.
    """
    while True:
        parent = retry(lambda: client.get_run(parent_id))
        number = latest_driver(parent)[0]
        if not is_free(parent):
            refuse_running(client, parent, say)
        name, mine = f"driver.{number + 1}", f"{process_identity(os.getpid())} {uuid.uuid4().hex}"
        refused = None
        try:
            retry(partial(client.log_param, parent_id, name, mine))
        except MlflowException as error:  # perhaps as another driver was first: the parameter tells
            if is_away(error):
                raise
            refused = error
        holder = retry(lambda: client.get_run(parent_id)).data.params.get(name)
        if holder == mine:
            return Lease(parent_id, number + 1)
        if refused and holder is None:
            raise refused


def refuse_running(client: MlflowClient, parent: Run, say: Callable[[str], Any]) -> None:
    """Raise `UserError` where a parent run's last driver is alive, or its heartbeat changes within `STALE` seconds."""
    (number, holder), since = latest_driver(parent), time.monotonic()
    host, pid = holder.split()[:2]
    while process_alive(holder) is None and time.monotonic() - since < STALE:
        if time.monotonic() - since < HEARTBEAT_SECONDS:
            say(f"process {pid} on {host} ran this sweep last: seeing whether it still does, for {STALE:g} s at most")
        time.sleep(HEARTBEAT_SECONDS)
        now = retry(lambda: client.get_run(parent.info.run_id))
        if latest_driver(now)[0] != number or is_free(now):
            return
        if now.data.tags.get(HEARTBEAT) != parent.data.tags.get(HEARTBEAT):
            break
    else:
        if process_alive(holder) is not True:
            return
    raise UserError(
        f"process {pid} on {host} is running this very sweep (parent run {parent.info.run_id}): wait for it or stop it"
    )
