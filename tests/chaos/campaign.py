"""One sweep under faults: its command is started again whenever it ends too early, as a user would."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.chaos.processes import MARK, Process, alive, is_gcs, is_raylet, is_worker, kill, ours
from tests.chaos.server import Server

PROJECT = Path(__file__).parents[2]
PATIENCE = 240.0  # seconds after which training must go on
STEP = 0.2
GO_ON = "same command goes on"  # what a driver that was interrupted has to say
IDLE = 8  # starts in a row in which no epoch begins, before it is no use


class Note(NamedTuple):
    """What a worker noted of an epoch."""

    time: float
    key: str
    epoch: int
    pid: int
    what: str


@dataclass
class Fault:
    """One fault, and what came of it."""

    kind: str
    at: int | None = None  # epochs of the sweep that are kept before it strikes; None: by its share
    share: float = 0.0  # of its part of the epochs that are left, after which it strikes
    struck: float = 0.0  # time.time()
    over: float = 0.0  # when training went on
    hit: str = ""
    cut: tuple[str, int] | None = None  # the trial and epoch that it hit, where it is one
    ended: float = 0.0  # when the driver was gone, where it ended
    in_training: int = 0  # epochs that it may have cut
    codes: list[int] = field(default_factory=list)  # exit codes of the driver until training went on
    said: str = ""  # how to go on, or the driver's last line, where it ended
    orphans: float = 0.0  # seconds until the last process of a dead driver was gone
    hung: bool = False


class Campaign:
    """A sweep, its driver's present process, and the faults that are to strike it."""

    def __init__(
        self, path: Path, uri: str, faults: list[Fault], random: Random, epochs: int, server: Server | None = None
    ) -> None:
        self.path, self.uri, self.faults, self.random, self.server = path, uri, faults, random, server
        self.epochs = epochs  # of all trials together
        self.folder = path.parent
        self.notes_path = self.folder / "notes.txt"
        self.driver: subprocess.Popen[bytes] | None = None
        self.starts = self.idle = 0  # idle: starts in a row in which no epoch began
        self.code: int | None = None  # the driver's last exit code
        self.began = time.time()
        self.took = 0.0

    def run(self, strikes: Mapping[str, Callable[[Campaign, Fault], None]], say: Callable[[str], None]) -> None:
        """Start the sweep, let the faults strike, each by its kind, and see it end."""
        try:
            self.start()
            for place, fault in enumerate(self.faults):
                due = self.due(place)
                self.wait(lambda due=due: len(self.kept()) >= due and bool(self.training()), 10 * PATIENCE)
                if self.code == 0:
                    break
                fault.struck, fault.in_training = time.time(), len(self.training(0))
                strikes[fault.kind](self, fault)
                fault.hung = not self.settle(fault)
                fault.over = time.time()
                say(f"{fault.struck - self.began:6.0f} s  {fault.kind:<22} {outcome(fault)}")
            self.wait(lambda: False, 10 * PATIENCE)
        finally:
            self.took = time.time() - self.began
            self.clear()

    def due(self, place: int) -> int:
        """After how many epochs a fault strikes; those in which the store is away take the time of several others."""
        fault, kept = self.faults[place], len(self.kept())
        parts = sum(4 if other.kind.startswith(("lock", "server", "database")) else 1 for other in self.faults[place:])
        return kept + int(fault.share * (0.92 * self.epochs - kept) / parts) if fault.at is None else fault.at

    def start(self) -> None:
        """Type the command."""
        self.starts += 1
        self.mark = uuid.uuid4().hex
        self.started = time.time()
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        environment |= {
            MARK: self.mark,
            "BEL_CHAOS_NOTES": str(self.notes_path),
            "MLFLOW_TRACKING_URI": self.uri,
            "PYTHONPATH": os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "RAY_TMPDIR": str(ray_folder(self.folder)),
        }
        command = [sys.executable, str(PROJECT / "tests" / "chaos" / "driver.py"), str(self.path)]
        with self.log.open("wb") as log:
            self.driver = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def log(self) -> Path:
        """What the present driver says."""
        return self.folder / f"driver-{self.starts:02}.log"

    @property
    def said(self) -> str:
        """What the present driver has said."""
        return self.log.read_text(errors="replace")

    def processes(self) -> dict[int, Process]:
        """All that the present driver has started."""
        assert self.driver is not None
        return ours(self.mark, self.driver.pid)

    def notes(self) -> list[Note]:
        """All that workers noted so far."""
        if not self.notes_path.exists():
            return []
        rows = [line.split() for line in self.notes_path.read_text().splitlines()]
        return [Note(float(at), key, int(epoch), int(pid), what) for at, key, epoch, pid, what in rows]

    def kept(self) -> set[tuple[str, int]]:
        """Epochs whose state is on disk."""
        return {(note.key, note.epoch) for note in self.notes() if note.what == "kept"}

    def training(self, since: float = 0.3) -> list[Note]:
        """Epochs that are being trained, for some seconds already."""
        last = {note.pid: note for note in self.notes() if note.time > self.started}
        now, running = time.time(), alive()
        return [n for n in last.values() if n.what == "begun" and n.time < now - since and n.pid in running]

    def wait(self, until: Callable[[], bool], seconds: float, fault: Fault | None = None) -> bool:
        """Watch the driver until something is so or the sweep is over; False where neither comes in time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.code == 0 or until():
                return True
            if self.driver is not None and (code := self.driver.poll()) is not None:
                self.ended(code, fault)
                if code == 0:
                    continue
                self.idle = 0 if any(note.time > self.started for note in self.notes()) else self.idle + 1
                if self.idle > IDLE:
                    raise RuntimeError(f"the sweep does not begin any more: see {self.log}")
                self.start()
            time.sleep(STEP)
        return False

    def ended(self, code: int, fault: Fault | None) -> None:
        """The driver has ended: what it leaves behind goes by itself, or has to be killed."""
        self.code, gone = code, time.time()
        at = time.monotonic()
        while any(counts(p) for p in self.processes().values()) and time.monotonic() < at + 20:
            time.sleep(STEP)
        orphans = time.monotonic() - at
        for pid in self.processes():
            kill(pid)
        self.driver = None
        fault = fault or max((f for f in self.faults if f.struck), key=lambda f: f.struck, default=None)
        if fault is not None and code:
            fault.codes.append(code)
            fault.ended = fault.ended or gone
            fault.orphans = max(fault.orphans, orphans)
            lines = [line.strip() for line in self.said.splitlines() if line.strip()]
            fault.said = next((line for line in lines if GO_ON in line), lines[-1] if lines else "")

    def settle(self, fault: Fault) -> bool:
        """Wait until an epoch begins after a fault; where none does, the driver is killed and started anew."""
        since, old = time.time(), {note.pid for note in self.notes()}

        def goes_on() -> bool:
            begun = [n for n in self.notes() if n.what == "begun" and n.time > max(since, self.started)]
            if fault.kind in ("raylet SIGKILL", "gcs SIGKILL"):  # present workers may begin one before they die
                begun = [note for note in begun if note.pid not in old]
            cut = fault.cut if fault.cut not in self.kept() else None  # a worker may have been killed a moment too late
            return any(cut is None or note.key == cut[0] for note in begun)

        if self.wait(goes_on, PATIENCE, fault):
            return True
        if self.driver is not None:
            kill(self.driver.pid, signal.SIGUSR2)  # it says where it hangs
            time.sleep(1)
        self.clear()
        self.start()
        self.wait(lambda: any(n.time > self.started for n in self.notes()), PATIENCE)
        return False

    def clear(self) -> None:
        """Kill what is left of the present driver."""
        if self.driver is not None:
            for pid in self.processes():
                kill(pid)
            self.driver.kill()
            self.driver.wait()
            self.driver = None
        shutil.rmtree(ray_folder(self.folder), ignore_errors=True)


def counts(process: Process) -> bool:
    """Whether a dead driver's process may still do something; Ray's agents are left for a minute, and only wait."""
    return is_worker(process) or is_raylet(process) or is_gcs(process)


def ray_folder(folder: Path) -> Path:
    """A folder for Ray's sessions with a path short enough for its sockets."""
    short = Path(tempfile.gettempdir()) / f"bc{zlib.crc32(str(folder).encode()):08x}"
    short.mkdir(exist_ok=True)
    return short


def outcome(fault: Fault) -> str:
    """What a fault hit and what came of it, in a line."""
    if not fault.struck:
        return "the sweep was over before"
    codes = ", ".join(map(str, fault.codes))
    ends = f"driver ended with {codes} in {fault.ended - fault.struck:.0f} s" if codes else "driver went on"
    if any(code < 0 for code in fault.codes):
        ends += f", its Ray {fault.orphans:.1f} s later"
    hung = " after it hung and was killed" if fault.hung else ""
    return f"{fault.hit:<36} {ends}{hung}; training again after {fault.over - fault.struck:.0f} s"
