"""`python launch/sweep.py`, but each worker notes in the file that BEL_CHAOS_NOTES names which epochs it really trains."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
from typing import Any

from launch import sweep
from launch.driver import stage
from launch.driver.trainable import Trial


class Noted(Trial):
    """A trial whose worker notes the beginning of an epoch, and that its state is on disk."""

    def start(self, config: dict[str, Any]) -> None:
        """Know the key, by which the notes name the trial."""
        self.noted = config["key"]
        super().start(config)

    def advance(self) -> None:
        """Train an epoch between two notes."""
        epoch = len(self.history) + 1
        self.note(epoch, "begun")
        super().advance()
        self.note(epoch, "kept")

    def note(self, epoch: int, what: str) -> None:
        """Append a line in one write, which no other worker's can come between."""
        file = os.open(os.environ["BEL_CHAOS_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{time.time():.3f} {self.noted} {epoch} {os.getpid()} {what}\n".encode())
        os.close(file)


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR2)  # where a driver hangs
    stage.Trial = Noted  # type: ignore[misc]
    sys.exit(sweep.main())
