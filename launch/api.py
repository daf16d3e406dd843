"""A sweep for scripts and notebooks: the same as `bel-sweep`, and its events as they come.

>>> from launch import Sweep
>>> sweep = Sweep("demo", {"epochs": 2})
>>> for event in sweep.iterate("epoch"):
...     print(event["name"], event["epoch"], event["metrics"]["val/mae_groups"])
>>> sweep.results.leaderboard()
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from bel.errors import UserError, one_of
from bel.output import Collected, Report
from launch.console.events import KINDS, Event
from launch.driver.background import Background
from launch.driver.estimate import plan
from launch.driver.preparation import ReadySweep, Where, no_bar, prepare
from launch.extend.candidates import TOP
from launch.extend.extending import extended
from launch.running import silent
from launch.spec.sweep_file import make_sweep
from launch.steering import client
from launch.steering.status import status
from launch.steering.targets import Target, find_target
from results import Results


class Sweep:
    """A sweep that can be planned, run and watched; nothing is printed."""

    def __init__(
        self,
        source: str | os.PathLike[str] | Mapping[str, Any],
        overrides: Mapping[str, Any] | None = None,
        *,
        address: str | None = None,
        storage: str | os.PathLike[str] = "runs",
    ) -> None:
        """Read a sweep file, one that comes with the project by its name, or a mapping of the same keys.

        `overrides` are as `--set`: `{"epochs": 1, "search.trials": 4}`; `address` and `storage` as those options of
        `bel-sweep`. Raises `UserError` naming the wrong key.
        """
        self.spec = make_sweep(source, overrides or {})
        self.where = Where(address, os.fspath(storage))
        self.ended: Report | None = None  # of the last call: what `bel-sweep` prints, and its JSON in `values`
        self.sweep_id: str | None = None  # id of its parent run in MLflow, once it has begun

    def __repr__(self) -> str:
        return f"Sweep({self.name!r})"

    @property
    def name(self) -> str:
        """Its name, that of its experiment in MLflow."""
        return self.spec.name

    def plan(self, fresh: bool = False) -> Report:
        """Say what would run, how long it takes and what it needs, as `bel-sweep --plan`; train nothing.

        Raises `UserError` for what would fail later.
        """
        answer = Collected()
        ready = prepare(self.spec, self.where, False, fresh, answer.say, no_bar)
        answer.values = plan(ready, answer.say)
        return answer.report

    def run(self, fresh: bool = False) -> Results:
        """Run the sweep, or go on with it, and return its results; `fresh` trains every trial anew.

        Ctrl-C ends it after the present epochs, a second one at once. What went wrong, as a trial that failed, is a
        warning. Raises `UserError` for what cannot run.
        """
        for _ in self.iterate(fresh=fresh):
            pass
        return self.results

    def iterate(self, *kinds: str, fresh: bool = False) -> Iterator[Event]:
        """Run the sweep as `run` does, and yield its events of some kinds, by default all, as they come.

        The kinds, and the keys of an event, are those of `bel-sweep --progress json`. Leaving the loop ends the sweep as
        Ctrl-C does: the next call goes on with it. Raises `UserError` for an unknown kind.
        """
        for kind in kinds:
            one_of("a kind of event", kind, KINDS)
        return self._events(kinds or KINDS, lambda: prepare(self.spec, self.where, True, fresh, silent, no_bar))

    def extend(self, epochs: int, top: int = TOP, from_start: bool = False) -> Results:
        """Train the best configurations on to more epochs, as `bel-sweep extend`, and return the results of both.

        It is of the sweep that this object ran, else of the latest one of its name. `from_start` trains a trial whose state
        is not kept from its first epoch. Raises `UserError` for what cannot go on.
        """
        name = self.sweep_id or self.name
        ready = partial(extended, name, top, epochs, from_start, self.where, True, silent, no_bar)
        for _ in self._events(KINDS, ready):
            pass
        return self.results

    def _events(self, kinds: tuple[str, ...], prepared: Callable[[], ReadySweep]) -> Iterator[Event]:
        ready = prepared()
        self.ended, self.sweep_id, driver = None, ready.store.parent_id, Background(ready)
        try:
            yield from (event for event in driver if event["event"] in kinds)
        finally:
            driver.end()
            self.ended = driver.answer.report
        for problem in driver.problems:
            warnings.warn(f"sweep {self.name}: {problem}", stacklevel=2)

    def status(self) -> Report:
        """Say what the sweep is doing, from the store: in this process, in another one, or not at all any more."""
        return status(self._target().parent)

    def stop(self, trial: str | None = None, *, now: bool = False) -> Report:
        """End a trial, or without one the sweep, after the present epochs; with `now` a sweep at once.

        A trial is its run id, 4 or more digits of its beginning, or its name. As the others below, it asks the driver,
        which may be another process on another host, and returns its answer. Raises `UserError` where it is refused.
        """
        if now and trial:
            raise UserError("now is of a sweep: a trial stops after its present epoch")
        return client.ask(self._target(trial), client.STOP, {"now": True} if now else {})

    def pause(self, trial: str | None = None) -> Report:
        """Let a trial wait after its present epoch, or without one all of them, so that none begins."""
        return client.ask(self._target(trial), client.PAUSE)

    def resume(self, trial: str | None = None) -> Report:
        """Let a trial, or without one the sweep, go on that was paused."""
        return client.ask(self._target(trial), client.RESUME)

    def prioritise(self, trial: str) -> Report:
        """Let a trial begin before all others."""
        return client.ask(self._target(trial), client.PRIORITISE)

    def add(
        self, values: Mapping[str, Any] | None = None, *, value: Mapping[str, Any] | None = None, **fields: Any
    ) -> Report:
        """Add a configuration, by its fields over the base, or with `value={field: value}` another value of a list."""
        given = {**(values or {}), **fields}
        if (value is None) == (not given) or (value is not None and len(value) != 1):
            raise UserError("add takes the fields of a configuration, or value={field: value} of one list")
        return client.ask(self._target(), client.ADD, {"values": given} if value is None else {"value": dict(value)})

    def set(self, *, trials: int | None = None, at_once: int | str | None = None) -> Report:
        """Change the number of trials of a search, or how many run at most at once ("none": as many as fit)."""
        given = {name: value for name, value in {"trials": trials, "at_once": at_once}.items() if value is not None}
        if not given:
            raise UserError("set takes trials or at_once")
        return client.ask(self._target(), client.SET, given)

    def _target(self, trial: str | None = None) -> Target:
        """Return the sweep in the store, or one of its trials."""
        sweep = self.sweep_id or self.name
        return find_target(sweep) if trial is None else find_target(trial, sweep)

    @property
    def results(self) -> Results:
        """Its results, those so far while it runs. Raises `UserError` before the first run of this object."""
        if self.sweep_id is None:
            raise UserError(f"sweep {self.name} was not run by this object: run it, or use Results({self.name!r})")
        return Results(self.sweep_id)
