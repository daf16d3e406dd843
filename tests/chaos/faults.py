"""The faults: what each does to a sweep while it trains, and how the driver may end of it."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from random import Random

from tests.chaos.campaign import Campaign, Fault
from tests.chaos.commands import command
from tests.chaos.processes import is_gcs, is_raylet, kill

LOCK = 30.0  # seconds


def driver(campaign: Campaign, fault: Fault) -> None:
    """Kill the driver."""
    assert campaign.driver is not None
    fault.hit, fault.in_training = f"driver {campaign.driver.pid}", len(campaign.training(0))
    kill(campaign.driver.pid)
    campaign.driver.wait()


def worker(campaign: Campaign, fault: Fault) -> None:
    """Kill a worker within an epoch."""
    campaign.wait(lambda: bool(campaign.training()), 60)
    note = campaign.random.choice(campaign.training())
    fault.hit, fault.cut, fault.in_training = f"{note.key[:8]} in epoch {note.epoch}", (note.key, note.epoch), 1
    kill(note.pid)


def raylet(campaign: Campaign, fault: Fault) -> None:
    """Kill Ray's daemon of the node."""
    daemon = next(p for p in campaign.processes().values() if is_raylet(p))
    fault.hit = f"raylet {daemon.pid}"
    kill(daemon.pid)


def gcs(campaign: Campaign, fault: Fault) -> None:
    """Kill Ray's server."""
    daemon = next(p for p in campaign.processes().values() if is_gcs(p))
    fault.hit = f"gcs_server {daemon.pid}"
    kill(daemon.pid)


def interrupt(campaign: Campaign, fault: Fault) -> None:
    """Ctrl-C: the terminal signals the whole foreground group."""
    assert campaign.driver is not None
    fault.hit = f"group {campaign.driver.pid}"
    os.killpg(campaign.driver.pid, signal.SIGINT)
    ends_now(campaign, fault)


def interrupt_twice(campaign: Campaign, fault: Fault) -> None:
    """Ctrl-C, and again before the epochs have ended."""
    assert campaign.driver is not None
    fault.hit = f"group {campaign.driver.pid}"
    os.killpg(campaign.driver.pid, signal.SIGINT)
    time.sleep(0.4)
    os.killpg(campaign.driver.pid, signal.SIGINT)
    ends_now(campaign, fault)


def ends_now(campaign: Campaign, fault: Fault) -> None:
    """Wait for the end of a driver that was told to end."""
    assert campaign.driver is not None
    end = time.monotonic() + 60
    while campaign.driver.poll() is None and time.monotonic() < end:
        time.sleep(0.1)


def lock(campaign: Campaign, fault: Fault, seconds: float = LOCK) -> None:
    """Let another process hold the database."""
    store = sqlite3.connect(campaign.folder / "mlflow.db", timeout=30, isolation_level=None)
    store.execute("BEGIN EXCLUSIVE")
    fault.struck = time.time()
    epochs = meanwhile(campaign, fault, seconds)
    fault.hit = f"mlflow.db, {seconds:.0f} s, {epochs} epochs meanwhile"
    store.execute("ROLLBACK")
    store.close()


def meanwhile(campaign: Campaign, fault: Fault, seconds: float) -> int:
    """Let the sweep go on for a while; how many epochs it does."""
    before = len(campaign.kept())
    end = time.time() + seconds
    campaign.wait(lambda: time.time() > end, seconds + 1, fault)
    return len(campaign.kept()) - before


def lock_and_driver(campaign: Campaign, fault: Fault) -> None:
    """The database is held, the driver dies with what it could not write, and the next one finds it still held."""
    store = sqlite3.connect(campaign.folder / "mlflow.db", timeout=30, isolation_level=None)
    store.execute("BEGIN EXCLUSIVE")
    fault.struck = time.time()
    epochs = meanwhile(campaign, fault, 12)
    driver(campaign, fault)
    fault.hit += f", {epochs} epochs meanwhile"
    meanwhile(campaign, fault, LOCK)
    store.execute("ROLLBACK")
    store.close()


def short_lock(campaign: Campaign, fault: Fault) -> None:
    """The same for longer than SQLite's own patience, for a test that is to be short."""
    lock(campaign, fault, 8.0)


def server(campaign: Campaign, fault: Fault) -> None:
    """SweepStopper the MLflow server, one way or the other, and start it again later."""
    assert campaign.server is not None
    number = campaign.random.choice([signal.SIGTERM, signal.SIGKILL])
    seconds = campaign.random.uniform(10, 20)
    campaign.server.stop(number)
    epochs = meanwhile(campaign, fault, seconds)
    fault.hit = f"{number.name}, away {seconds:.0f} s, {epochs} epochs meanwhile"
    campaign.server.start()


def server_and_driver(campaign: Campaign, fault: Fault) -> None:
    """The server stops, the driver dies with what it could not write, and both come back."""
    assert campaign.server is not None
    campaign.server.stop()
    epochs = meanwhile(campaign, fault, campaign.random.uniform(10, 20))
    driver(campaign, fault)
    fault.hit += f", {epochs} epochs meanwhile"
    campaign.server.start()


def database(campaign: Campaign, fault: Fault) -> None:
    """The database behind the server loses its power, and is there again later; the server stays."""
    postgres = campaign.server.postgres  # type: ignore[union-attr]  # of a team's server
    postgres.stop()
    fault.struck = time.time()
    epochs = meanwhile(campaign, fault, campaign.random.uniform(10, 20))
    fault.hit = f"PostgreSQL, {epochs} epochs meanwhile"
    postgres.start()


def command_and_driver(campaign: Campaign, fault: Fault) -> None:
    """A user gives a command, and the driver dies before or after it has heard it."""
    command(campaign, fault, driver)


STRIKES: dict[str, Callable[[Campaign, Fault], None]] = {
    "driver SIGKILL": driver,
    "worker SIGKILL": worker,
    "raylet SIGKILL": raylet,
    "gcs SIGKILL": gcs,
    "Ctrl-C": interrupt,
    "Ctrl-C twice": interrupt_twice,
    "lock": lock,
    "lock, driver SIGKILL": lock_and_driver,
    "short lock": short_lock,
    "server restart": server,
    "server, driver SIGKILL": server_and_driver,
    "database restart": database,
    "command": command,
    "command, driver SIGKILL": command_and_driver,
}
ENDS: dict[str, Callable[[list[int]], bool]] = {  # whether a driver's exit codes are what a fault should lead to
    "driver SIGKILL": lambda codes: codes == [-9],
    "worker SIGKILL": lambda codes: not codes,
    "raylet SIGKILL": lambda codes: len(codes) <= 1,
    "gcs SIGKILL": lambda codes: len(codes) <= 1,
    "Ctrl-C": lambda codes: codes == [130],
    "Ctrl-C twice": lambda codes: codes == [130],
    "lock": lambda codes: not codes,
    "lock, driver SIGKILL": lambda codes: codes == [-9],
    "short lock": lambda codes: not codes,
    "server restart": lambda codes: not codes,
    "server, driver SIGKILL": lambda codes: codes == [-9],
    "database restart": lambda codes: not codes,
    "command": lambda codes: not codes,
    "command, driver SIGKILL": lambda codes: codes == [-9],
}
SPARE = (
    "Ctrl-C",
    "lock",
    "short lock",
    "server restart",
    "database restart",
    "command",
)  # kinds that cut no epoch short
ANYWHERE = ["driver SIGKILL", "worker SIGKILL", "raylet SIGKILL", "gcs SIGKILL", "Ctrl-C", "Ctrl-C twice"]
KINDS = {
    "sqlite": [*ANYWHERE, "lock", "lock, driver SIGKILL"],
    "server": [*ANYWHERE, "server restart", "server, driver SIGKILL"],
}


def draw(random: Random, kinds: list[str], count: int) -> list[Fault]:
    """So many faults of these kinds, each as often as the next, in any order and at random moments."""
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += random.sample(kinds, len(kinds))
    drawn = drawn[:count]
    random.shuffle(drawn)
    return [Fault(kind, share=random.random()) for kind in drawn]
