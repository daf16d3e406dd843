"""The driver's side: does what users ask of the sweep, between two steps of Tune, and answers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mlflow.tracking import MlflowClient

from bel.config import TrainConfig
from bel.errors import UserError, sentence
from bel.run_layout import DECIDED, Outcome
from launch.runs import Run
from launch.schedule.searcher import TrialSearcher
from launch.schedule.stopper import INTERRUPTED, SweepStopper
from launch.schedule.suggestions import Source
from launch.schedule.workload import Workload
from launch.steering.channel import Channel
from launch.steering.client import ADD, OF_SWEEPS, PAUSE, PRIORITISE, RESUME, SET, STOP
from launch.steering.commands import Answer, Command, answers_in, commands_in, now
from launch.steering.lists import Lists
from launch.tracking.store import Store
from results.store.connect import retry

ENDED = (*DECIDED, Outcome.FAILED)
Done = tuple[
    str, dict[str, Any]
]  # what is said about a command that was done, and what a later driver needs to do it again


class Steering:
    """Does commands of users. `begun` says whether a trial has a state in its folder; `end` ends one that is not running."""

    def __init__(
        self,
        workload: Workload,
        store: Store,
        stopper: SweepStopper,
        admit: Callable[[TrainConfig], None],
        begun: Callable[[str], bool],
        say: Callable[[str], None],
    ) -> None:
        self.workload, self.stopper, self.control, self.begun, self.say = workload, stopper, stopper.control, begun, say
        self.lists = Lists(workload, admit)
        self.driver = store.lease.number if store.lease else 0
        self.searcher: TrialSearcher | None = None  # of the present stage
        self.end: Callable[[Run, Outcome], None] = lambda run, outcome: None
        self.tags = tags = dict(retry(lambda: MlflowClient().get_run(store.parent_id)).data.tags)
        self.channel = Channel(store.parent_id, tags, store.lease.check if store.lease else lambda: None)
        answers, commands = answers_in(tags), commands_in(tags)
        self.number = max((answer.number for answer in answers.values()), default=0)
        self.accepted = [(commands[id], one) for id, one in answers.items() if one.accepted and id in commands]

    def start(self) -> None:
        """Do again what was accepted in earlier calls and lasts, and begin to listen."""
        self.redo()
        self.channel.start()

    def redo(self) -> None:
        """Do again what was accepted in earlier calls and lasts."""
        for command, answer in self.accepted:
            if command.what in REDO:  # else of a later version
                REDO[command.what](self, command, answer.facts)
        if self.control.paused:
            self.say("the sweep is paused: no trial begins until `bel-sweep resume`")

    def foresee(self) -> None:
        """Do, for a plan, what no driver has answered yet and changes the number of trials; no answer is written."""
        while not self.channel.arrived.empty():
            command = self.channel.arrived.get()
            if command.what in OF_SWEEPS:
                self.say(f"no driver has answered yet: {command.by}: {command.what}: {self.do(command)[1]}")

    def begin_stage(self, source: Source, number: int) -> None:
        """Give the source of a stage what was added to it."""
        self.lists.begin_stage(source, number)

    def end_stage(self) -> set[int]:
        """Do what was asked meanwhile and return the stages, by number, that have trials again."""
        self.lists.over = True
        self.heed()
        later, self.lists.later = self.lists.later, set()
        for run in self.workload.sweep_runs.having(Outcome.PAUSED):
            if run.key not in self.control.held:
                self.workload.sweep_runs.wait(run)
                later.add(self.workload.number_of(run.config))
        return later

    def take_stage(self, searcher: TrialSearcher) -> None:
        """Steer a stage, whose trials of first rank begin first."""
        self.searcher = searcher
        for key in reversed(self.control.first):
            if run := self.lists.find({"key": key}):
                self.pull(run)

    @property
    def held(self) -> list[Run]:
        """The trials that have not ended because somebody paused them."""
        return [run for run in self.workload.sweep_runs if run.key in self.control.held and run.outcome not in ENDED]

    def heed(self) -> bool:
        """Do the commands that arrived and return whether there were some.

        Raises `KeyboardInterrupt` where the sweep is to stop at once.
        """
        self.stopper.check()
        before = self.number
        while not self.channel.arrived.empty():
            command = self.channel.arrived.get()
            accepted, text, facts = self.do(command)
            self.number += 1
            self.channel.reply(command.id, Answer(accepted, text, now(), self.number, facts))
            self.say(f"{command.by}: {command.what}: {text}")
        return self.number > before

    def do(self, command: Command) -> tuple[bool, str, dict[str, Any]]:
        """Do a command and return whether it was accepted, what is said, and what a later driver needs to do it again."""
        try:
            if command.what not in DO:
                raise UserError(f"this driver has no command {command.what}: it has {list(DO)}")
            return True, *DO[command.what](self, command)
        except UserError as error:
            return False, sentence(error), {}
        except Exception as error:  # of a client of another version, or a store that is away: the sweep goes on
            return False, f"it failed: {sentence(error)}", {}

    def trial(self, command: Command) -> Run:
        """Return the trial that a command means. Raises `UserError` where the sweep has none, or it has ended."""
        run = self.lists.find(command.trial)
        if run is None:
            raise UserError(f"no trial of this sweep is called {command.trial.get('name')!r}: see `bel-sweep status`")
        if run.outcome in ENDED:
            raise UserError(f"{run.name} has ended as {run.outcome}, after epoch {run.epoch}: nothing is done")
        return run

    def pull(self, run: Run) -> None:
        """Queue a trial's configuration now, where it is left in a list."""
        if self.searcher and not (self.searcher.closed or self.searcher.budget_spent()) and self.lists.take(run):
            self.searcher.enter(self.lists.config_of(run))

    def stop(self, command: Command) -> Done:
        """End a trial, or the sweep, after the present epochs."""
        if command.trial:
            return self.stop_trial(self.trial(command), command)
        if command.driver != self.driver:
            raise UserError("the driver that this was for has ended: nothing is done")
        self.stopper.request(INTERRUPTED, f"stopped by {command.by}")
        if command.arguments.get("now"):
            self.stopper.at_once = True
            return "it ends at once", {}
        return "it ends after the present epochs", {}

    def stop_trial(self, run: Run, command: Command) -> Done:
        """End a trial after its present epoch, or at once where it waits after one."""
        if run.outcome != Outcome.RUNNING and not run.history and not self.begun(run.key):
            raise UserError(f"{run.name} has no epoch yet, and so no error to keep: pause it, or stop it after one")
        facts = {"key": run.key}
        if run.outcome == Outcome.PAUSED and run.history:
            self.control.held.discard(run.key)
            self.workload.sweep_runs.stop(run, {"by": command.by, "epoch": run.epoch})
            if self.searcher and run in self.searcher.queue:
                self.searcher.queue.remove(run)
            self.end(run, Outcome.STOPPED)
            return f"{run.name} is stopped after epoch {run.epoch}", facts
        self.redo_stop(command, facts)
        return f"{run.name} stops after its {'present' if run.outcome == Outcome.RUNNING else 'next'} epoch", facts

    def redo_stop(self, command: Command, facts: Mapping[str, Any]) -> None:
        """Note that a trial is to end after an epoch; a sweep's stop was for the driver of then."""
        if "key" in facts:
            self.control.held.discard(facts["key"])
            self.control.stops[facts["key"]] = command.by

    def pause(self, command: Command) -> Done:
        """Let a trial wait after its present epoch, or all of them, so that none begins."""
        run = self.trial(command) if command.trial else None
        facts = {"key": run.key} if run else {}
        self.redo_pause(command, facts)
        self.control.recall = True
        if run is None:
            running = len(self.workload.sweep_runs.having(Outcome.RUNNING))
            return f"no trial begins until it is resumed; {running} running pause after their present epoch", facts
        if run.outcome == Outcome.RUNNING:
            return f"{run.name} pauses after its present epoch", facts
        return f"{run.name} pauses before it {'goes on' if run.history or self.begun(run.key) else 'begins'}", facts

    def redo_pause(self, command: Command, facts: Mapping[str, Any]) -> None:
        """Note a pause."""
        if "key" in facts:
            self.control.held.add(facts["key"])
            self.control.stops.pop(facts["key"], None)
        else:
            self.control.paused = True

    def resume(self, command: Command) -> Done:
        """Let a trial or the sweep go on. Raises `UserError` where it is not paused."""
        if not command.trial:
            if not self.control.paused:
                raise UserError("it is not paused: trials that are paused by themselves are resumed by their name")
            self.redo_resume(command, {})
            return "it goes on", {}
        run = self.trial(command)
        if run.key not in self.control.held:
            raise UserError(f"{run.name} is not paused: nothing is done")
        facts = {"key": run.key}
        self.redo_resume(command, facts)
        return f"{run.name} goes on" + (" once the sweep is resumed" if self.control.paused else ""), facts

    def redo_resume(self, command: Command, facts: Mapping[str, Any]) -> None:
        """Note that a pause is over."""
        if "key" in facts:
            self.control.held.discard(facts["key"])
        else:
            self.control.paused = False

    def prioritise(self, command: Command) -> Done:
        """Let a trial begin before all others. Raises `UserError` for one that runs."""
        run = self.trial(command)
        if run.outcome == Outcome.RUNNING:
            raise UserError(f"{run.name} is running: there is nothing to begin")
        if self.searcher and self.searcher.budget_spent() and run not in self.searcher.queue:
            raise UserError(f"the budget of the sweep allows no further trial, so that {run.name} does not begin")
        self.redo_prioritise(command, {"key": run.key})
        self.pull(run)
        self.control.recall = True
        held = " once it is resumed" if run.key in self.control.held else ""
        return f"{run.name} is the next trial to begin{held}", {"key": run.key}

    def redo_prioritise(self, command: Command, facts: Mapping[str, Any]) -> None:
        """Note the trial of first rank."""
        self.control.prioritise(facts["key"])

    def add(self, command: Command) -> Done:
        """Add a configuration, or every combination of the other lists with a value."""
        said = self.lists.add(command.arguments)
        self.ask_again()
        return said, dict(command.arguments)

    def ask_again(self) -> None:
        """Let the searcher know that there may be more configurations."""
        if self.searcher:
            self.searcher.more()

    def redo_add(self, command: Command, facts: Mapping[str, Any]) -> None:
        """Add it again to the lists of this call."""
        self.lists.add(facts, again=True)

    def set(self, command: Command) -> Done:
        """Change the number of trials, or how many run at once."""
        texts = [self.lists.set(self.control, name, value) for name, value in command.arguments.items()]
        self.ask_again()
        self.control.recall = True
        return "; ".join(texts), dict(command.arguments) | {"file_trials": self.lists.file_trials}

    def redo_set(self, command: Command, facts: Mapping[str, Any]) -> None:
        """Set it again, unless the sweep file has another number of trials since."""
        for name, value in facts.items():
            if name == "at_once" or (name == "trials" and facts["file_trials"] == self.lists.file_trials):
                self.lists.set(self.control, name, value)

    def close(self, patience: float) -> None:
        """Write the answers that are left."""
        self.channel.close(patience)


DO: dict[str, Callable[[Steering, Command], Done]] = {
    STOP: Steering.stop,
    PAUSE: Steering.pause,
    RESUME: Steering.resume,
    PRIORITISE: Steering.prioritise,
    ADD: Steering.add,
    SET: Steering.set,
}
REDO: dict[str, Callable[[Steering, Command, Mapping[str, Any]], None]] = {
    STOP: Steering.redo_stop,
    PAUSE: Steering.redo_pause,
    RESUME: Steering.redo_resume,
    PRIORITISE: Steering.redo_prioritise,
    ADD: Steering.redo_add,
    SET: Steering.redo_set,
}
