"""The processes of one driver or server, found in /proc; no other one is ever looked at for long, or killed."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "BEL_CHAOS"  # environment variable that what we start carries, and hands on to all that it starts


@dataclass(frozen=True)
class Process:
    """A process that is alive."""

    pid: int
    parent: int
    session: int
    title: str


def alive() -> dict[int, Process]:
    """Every process that is no zombie, by id."""
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                state, parent, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                if state not in "ZX":
                    found[int(folder.name)] = Process(int(folder.name), int(parent), int(session), title)
    return found


def marked(pid: int, mark: str) -> bool:
    """Whether a process has our mark in its environment; a worker's title may be written over it."""
    with suppress(OSError):
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return False


def ours(mark: str, session: int) -> dict[int, Process]:
    """What we started with a mark: of its session, marked, or a child of such a one."""
    processes = alive()
    mine = {p.pid for p in processes.values() if p.session == session or marked(p.pid, mark)}
    while more := {p.pid for p in processes.values() if p.parent in mine} - mine:
        mine |= more
    return {pid: processes[pid] for pid in mine - {os.getpid()}}


def is_raylet(process: Process) -> bool:
    """Whether it is Ray's daemon of a node."""
    return "/raylet/raylet " in process.title


def is_gcs(process: Process) -> bool:
    """Whether it is Ray's server of a cluster."""
    return "/gcs/gcs_server " in process.title


def is_worker(process: Process) -> bool:
    """Whether it trains, or waits for a trial."""
    return process.title.startswith("ray::") and "Agent" not in process.title


def kill(pid: int, number: int = signal.SIGKILL) -> bool:
    """Send a signal; False where the process is gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False
