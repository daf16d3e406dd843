"""A driver in a thread of its own, for a caller that follows its events."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from bel.output import Collected
from bel.run_layout import Outcome
from launch.console.events import Event
from launch.driver.driver import Driver
from launch.driver.preparation import ReadySweep


class Background:
    """Runs a sweep from its creation on; `answer` has what it came to, after `end`."""

    def __init__(self, ready: ReadySweep) -> None:
        self.ready, self.answer = ready, Collected()
        self.events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()  # None: it has ended
        self.error: BaseException | None = None
        self.driver = Driver(ready, self.answer, emit=self.events.put)
        self.thread = threading.Thread(target=self.work, daemon=True, name="sweep")
        self.thread.start()

    def work(self) -> None:
        """Run the driver, and keep what it raises."""
        try:
            with self.ready.held():
                self.driver.run()
        except BaseException as error:
            self.error = error
        finally:
            self.events.put(None)

    def __iter__(self) -> Iterator[Event]:
        """Yield events until the sweep has ended. Raises what ended it."""
        while (event := self.events.get()) is not None:
            yield event
        self.thread.join()
        if self.error:
            raise self.error

    def end(self) -> None:
        """Stop the sweep after the present epochs, or at once on Ctrl-C meanwhile, and wait for its end."""
        interrupted = False
        while self.thread.is_alive():
            self.driver.stopper.interrupt()
            try:
                self.thread.join()
            except KeyboardInterrupt:
                interrupted = True
        if interrupted:
            raise KeyboardInterrupt

    @property
    def problems(self) -> list[str]:
        """What went wrong: of trials that failed, and of the sweep."""
        failed = [one for one in self.answer.values["unranked"] if one["outcome"] == Outcome.FAILED]
        return [f"{one['name']} failed: {one['reason']}" for one in failed] + self.answer.warnings
