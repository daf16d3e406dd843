"""One driver per sweep, whatever its host: a lease on the parent run with a heartbeat, taken over when that stands still.

Tags of MLflow can be overwritten by anyone, params of a run are written once: in a database by its primary key. So
`driver.N`, the N-th driver of a parent run, is whoever wrote it first. Nobody's clock is compared with another's.
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
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from bel.errors import UserError
from bel.run_layout import HEARTBEAT
from launch.tracking.writer import Lost, is_away, patiently
from results.store.faults import sqlite_path
from results.store.sqlite_file import HEARTBEAT_SECONDS

ENDED = "ended"  # HEARTBEAT says its driver's number, and a word that changes or is this
STALE = 60.0  # seconds without a beat, after which another driver takes over
NO_STORE = re.compile("no such table|relation .* does not exist|database .* does not exist")


def driver(pid: int) -> str:
    """What identifies a process: its host, number, when it began and on which start of which machine."""
    return f"{socket.gethostname()} {pid} {began(pid)} {boot()}"


def boot() -> str:
    """What identifies this start of this machine, and of a container on it, which numbers its own processes."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + "/" + os.readlink("/proc/self/ns/pid")
    except OSError:
        return "?"


def began(pid: int) -> str:
    """When a process began, in ticks since the machine did; "" for one that is gone, or dead and waits for its parent."""
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


def alive(holder: str) -> bool | None:
    """Whether a driver's process is there; None for one of another host, of which only its heartbeat tells."""
    host, pid, start, machine = [*holder.split(), *4 * [""]][:4]
    if (host, machine) != (socket.gethostname(), boot()):
        return None
    return began(int(pid)) == start


def latest(parent: Run) -> tuple[int, str]:
    """The number of a parent's last driver and what identifies it; 0 for none."""
    numbers = [int(name.partition(".")[2]) for name in parent.data.params if re.fullmatch(r"driver\.\d+", name)]
    number = max(numbers, default=0)
    return number, parent.data.params.get(f"driver.{number}", "")


def left(parent: Run) -> bool:
    """Whether a parent's last driver has ended, or is dead for certain."""
    number, holder = latest(parent)
    return not number or parent.data.tags.get(HEARTBEAT) == f"{number} {ENDED}" or alive(holder) is False


def clock() -> float:
    """Seconds that go on while a machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Lease:
    """That this process, and none but it, drives the sweep of a parent run, until it ends or another one takes over."""

    def __init__(self, parent_id: str, number: int) -> None:
        self.parent_id, self.number = parent_id, number
        self.uri = mlflow.get_tracking_uri()
        self.file = self.identity()
        self.why = ""  # it was lost
        self.confirmed = self.ticked = clock()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.keep, daemon=True, name="lease")
        self.thread.start()

    def identity(self) -> tuple[int, int] | None:
        """What tells the file of a local store from another one in its place; None for another store, or where it is gone."""
        path = sqlite_path(self.uri)
        with suppress(OSError):
            return (path.stat().st_dev, path.stat().st_ino) if path else None
        return None

    def keep(self) -> None:
        """Beat until it is over or lost."""
        client = MlflowClient(self.uri)
        while not self.over.wait(HEARTBEAT_SECONDS) and not self.why:
            with suppress(Lost, Exception):  # it is noted, or the store is away
                self.confirm(client)
            self.ticked = clock()

    def confirm(self, client: MlflowClient) -> None:
        """See that the lease is still ours, and say so. Raises `Lost` where it is not, or its store is gone."""
        at = clock()
        if self.identity() != self.file:
            self.lose(f"the MLflow store {self.uri} is gone, or another one is in its place")
        try:
            parent = client.get_run(self.parent_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST" or NO_STORE.search(str(error)):
                self.lose(
                    f"the MLflow store {self.uri} is gone, or is another one: it knows no parent run {self.parent_id}"
                )
            raise
        if parent.info.lifecycle_stage != "active":
            self.lose(f"the parent run {self.parent_id} was deleted in the MLflow store {self.uri}")
        number, holder = latest(parent)
        if number != self.number:
            host, pid = holder.split()[:2]
            self.lose(f"process {pid} on {host} has taken this sweep over, because this one did not answer")
        client.set_tag(self.parent_id, HEARTBEAT, f"{number} {uuid.uuid4().hex[:8]}")
        self.confirmed = at

    def lose(self, why: str) -> None:
        """Note why the lease is lost. Raises `Lost`."""
        self.why = why
        raise Lost(why)

    def check(self) -> None:
        """Raise `Lost` where the lease is lost; asked before each write, and after this process stood still."""
        if not self.why and (self.identity() != self.file or clock() - self.confirmed > STALE / 2):
            self.confirm(MlflowClient(self.uri))
        if self.why:
            raise Lost(self.why)

    def awake(self) -> None:
        """`check` where this process stood still; a store that is away keeps none from training."""
        if self.why or clock() - self.ticked > STALE / 2:
            try:
                self.check()
            except Exception as error:
                if not is_away(error):
                    raise

    def __enter__(self) -> Lease:
        """Hold it."""
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: Any) -> None:
        """Let the next driver begin at once."""
        self.over.set()
        self.thread.join(HEARTBEAT_SECONDS)
        if not self.why:
            with suppress(Exception):  # the next one waits for a while
                client = MlflowClient(self.uri)
                if kind:
                    client.set_terminated(self.parent_id, "KILLED")
                client.set_tag(self.parent_id, HEARTBEAT, f"{self.number} {ENDED}")


def take(client: MlflowClient, parent_id: str, say: Callable[[str], Any]) -> Lease:
    """The lease on a parent run, after a driver that does not beat any more. Raises `UserError` where one is at work."""
    while True:
        parent = patiently(lambda: client.get_run(parent_id))
        number = latest(parent)[0]
        if not left(parent):
            refuse_alive(client, parent, say)
        mine = f"{driver(os.getpid())} {uuid.uuid4().hex}"
        with suppress(MlflowException):  # another one was first, or no answer came: what is there now says which
            client.log_param(parent_id, f"driver.{number + 1}", mine)
        if patiently(lambda: client.get_run(parent_id)).data.params.get(f"driver.{number + 1}") == mine:
            return Lease(parent_id, number + 1)


def refuse_alive(client: MlflowClient, parent: Run, say: Callable[[str], Any]) -> None:
    """Raise `UserError` where a parent's last driver is there, or beats while it is watched; return where it does not."""
    (number, holder), since = latest(parent), time.monotonic()
    host, pid = holder.split()[:2]
    while alive(holder) is None and time.monotonic() - since < STALE:
        if time.monotonic() - since < HEARTBEAT_SECONDS:
            say(f"process {pid} on {host} ran this sweep last: seeing whether it still does, for {STALE:g} s at most")
        time.sleep(HEARTBEAT_SECONDS)
        now = patiently(lambda: client.get_run(parent.info.run_id))
        if latest(now)[0] != number or left(now):
            return
        if now.data.tags.get(HEARTBEAT) != parent.data.tags.get(HEARTBEAT):
            break
    else:
        if alive(holder) is not True:
            return
    raise UserError(
        f"process {pid} on {host} is running this very sweep (parent run {parent.info.run_id}): wait for it or stop it"
    )
