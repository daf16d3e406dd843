"""An MLflow server of one's own, which can be stopped and started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
import uuid
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM

from tests.chaos.processes import MARK, kill, ours
from tests.services.ports import free_ports


class Server:
    """`mlflow server` on a port of its own, with store and artifacts in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.process = folder, None
        (self.port,) = free_ports(1)
        self.uri = f"http://127.0.0.1:{self.port}"
        self.store, self.options, self.variables = f"sqlite:///{folder / 'server.db'}", [], {}

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.mark = uuid.uuid4().hex
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TRACKING")}
        environment |= {MARK: self.mark, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | self.variables
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", self.store, *self.options]
        command += ["--artifacts-destination", str(self.folder / "served")]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        for _ in range(240):
            with suppress(OSError):
                urllib.request.urlopen(f"{self.uri}/health", timeout=2).close()
                return
            time.sleep(0.25)
        raise RuntimeError(f"the MLflow server does not start: see {self.folder / 'server.log'}")

    def stop(self, number: int = SIGTERM) -> None:
        """Signal all of its processes, and kill those that are there ten seconds later."""
        if self.process is None:
            return
        for pid in ours(self.mark, self.process.pid):
            kill(pid, number)
        end = time.monotonic() + 10
        while ours(self.mark, self.process.pid) and time.monotonic() < end:
            self.process.poll()
            time.sleep(0.1)
        for pid in ours(self.mark, self.process.pid):
            kill(pid, SIGKILL)
        self.process.wait()
        self.process = None
