"""The store as channel: a command sets a tag of the parent run, and the sweep's driver reads it and sets another one."""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from bel.run_layout import ANSWER, COMMAND
from launch.steering.commands import Answer, Command, answers_in, as_tag, commands_in
from launch.tracking.lease import is_free
from launch.tracking.writer import Lost

PERIOD = 1.0  # seconds between two looks of a driver for commands
POLL = 0.5  # seconds between two looks of a command for its answer


class Channel:
    """The driver's side: commands that nobody has answered arrive in `arrived`, and answers are written, in a thread.

    A store that is away is tried again. `guard` raises `Lost` where the sweep is not this driver's any more.
    """

    def __init__(self, parent_id: str, tags: Mapping[str, str], guard: Callable[[], None]) -> None:
        self.parent_id, self.guard = parent_id, guard
        self.arrived: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self.seen = set(answers_in(tags))  # ids of commands that are answered, or have arrived
        self.unwritten: dict[str, Answer] = {}  # by the ids of their commands
        self.over = threading.Event()
        self.receive(tags)
        self.thread = threading.Thread(target=self.work, daemon=True, name="steering")

    def start(self) -> None:
        """Begin to look for commands."""
        self.thread.start()

    def receive(self, tags: Mapping[str, str]) -> None:
        """Let the commands among a parent run's tags arrive that did not before."""
        for id, command in commands_in(tags).items():
            if id not in self.seen:
                self.seen.add(id)
                self.arrived.put(command)

    def reply(self, id: str, answer: Answer) -> None:
        """Have the answer to a command written."""
        self.unwritten[id] = answer

    def work(self) -> None:
        """Write answers and read commands, until the driver ends or has lost its sweep."""
        client = MlflowClient()
        with suppress(Lost):
            while not self.over.wait(PERIOD):
                with suppress(Exception):  # the store is away, or refuses an answer
                    self.write(client)
                with suppress(Exception):
                    self.receive(client.get_run(self.parent_id).data.tags)

    def write(self, client: MlflowClient) -> None:
        """Write the answers that are not written yet. Raises `Lost`, and what the store raises."""
        for id, answer in list(self.unwritten.items()):
            self.guard()
            client.set_tag(self.parent_id, ANSWER + id, as_tag(answer))
            del self.unwritten[id]

    def close(self, patience: float) -> None:
        """End the thread, and write the answers that are left, for `patience` seconds at most."""
        self.over.set()
        if self.thread.is_alive():
            self.thread.join(patience)
        end = time.monotonic() + patience
        with suppress(Lost):
            while self.unwritten and not self.thread.is_alive() and time.monotonic() < end:
                with suppress(Exception):  # the store is away
                    self.write(MlflowClient())
                time.sleep(POLL if self.unwritten else 0)


def send(client: MlflowClient, parent_id: str, command: Command) -> None:
    """Set the tag of a command."""
    client.set_tag(parent_id, COMMAND + command.id, as_tag(command))


def await_answer(client: MlflowClient, parent: Run, command: Command, seconds: float) -> Answer | None:
    """Return the answer to a command; None where the sweep's driver ends without one, or gives none for so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        now = client.get_run(parent.info.run_id)
        if answer := answers_in(now.data.tags).get(command.id):
            return answer
        if is_free(now):
            return None
        time.sleep(POLL)
    return None
