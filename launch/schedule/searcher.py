"""What runs next: a configuration at a time, from a list or a search, each with its repeats over seeds and folds."""

import math
from collections import deque
from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from bel.config import TrainConfig
from bel.run_layout import DECIDED, Outcome
from launch.runs import Run, SweepRuns, mean
from launch.schedule.halving import Halving
from launch.schedule.racing import Race
from launch.schedule.stopper import SweepStopper
from launch.schedule.suggestions import Source
from launch.spec.sweep_file import Sweep

MAX_DEATHS = 5  # of workers with one run since its last epoch, before it counts as failed


class TrialSearcher(Searcher):
    """Tune's searcher. With a scheduler the other repeats of a configuration are queued once its first repeat has finished.

    So a scheduler compares runs on the same seed and fold, and a search is told the mean of all repeats or that there is none.
    With a race they are queued round by round once all first repeats have ended, of which a search is told.
    """

    def __init__(
        self,
        sweep: Sweep,
        source: Source,
        repeats: Callable[[TrainConfig], list[TrainConfig]],
        sweep_runs: SweepRuns,
        stop: SweepStopper,
        adopt: Callable[[Run], None],
        order: Callable[[Run], dict[str, Any]],
        fit_at_once: Callable[[], int],
        halving: Halving | None = None,
        end: Callable[[Run, Outcome], None] | None = None,
        heed: Callable[[], None] = lambda: None,
        race: Race | None = None,
    ) -> None:
        self.objective = sweep.search.objectives[0]
        super().__init__(metric=self.objective.metric, mode=self.objective.direction[:3])
        self.source, self.repeats, self.scheduled, self.budget = source, repeats, sweep.scheduler.compares, sweep.budget
        self.sweep_runs, self.stop, self.adopt, self.order = sweep_runs, stop, adopt, order
        self.fit_at_once = fit_at_once  # how many trials
        self.halving, self.end = halving, end  # `end` ends a run that the halving stops
        self.race = race  # decides which repeats run after the first ones
        self.heed, self.control = heed, stop.control  # does what users ask for; what they asked for
        self.exhausted = False  # the source has no more configurations, or the budget is spent
        self.over: dict[str, tuple[TrainConfig, list[Run]]] = {}  # configurations that have ended and are not told yet
        self.queue: deque[Run] = deque()
        self.in_tune: set[str] = set()  # keys of runs that Tune has, begun or not
        self.groups: dict[str, tuple[TrainConfig, list[Run]]] = {}  # configurations with a run that has not ended
        self.best = min(source.past, default=math.inf)
        # configurations since the best one
        self.without_better = len(source.past) - source.past.index(self.best) - 1 if source.past else 0

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: it stays in this process, though Tune copies all that it is given."""
        return {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return Tune's `config` of the next run; None while more runs may follow, `FINISHED` where none will."""
        self.heed()  # Tune asks each second where nothing runs, and makes no step then
        if self.stop.reason:
            return self.FINISHED
        if self.enough():
            return None
        filled = False
        with self.stop.on_full_disk():
            filled = self.fill_queue()
        if self.stop.reason:
            return self.FINISHED
        if filled:
            run = min(self.ready, key=self.control.rank)
            self.queue.remove(run)
            self.sweep_runs.resume(run)
            self.in_tune.add(run.key)
            return self.order(run) | {"until": self.halving.until(run) if self.halving else None}
        held = self.queue and not self.in_tune  # only trials that somebody paused are left
        more = self.groups or (self.race and self.in_tune)
        return None if more and not held else self.FINISHED

    @property
    def ready(self) -> list[Run]:
        """The runs of the queue that may begin: nobody has paused them."""
        return [run for run in self.queue if run.key not in self.control.held]

    def enough(self) -> bool:
        """Return whether Tune has what fits at once and a run more, which takes over the first worker that is free.

        Not more, so that a search knows the latest results. Where more fits than was counted, or runs pause, one waits. Where
        a user said how many run at once, Tune has no more, because it begins all that it has.
        """
        if self.control.paused or len(self.in_tune) >= (self.control.at_once or math.inf):
            return True
        waiting = any(self.sweep_runs.by_key[key].outcome == Outcome.WAITING for key in self.in_tune)
        return waiting and len(self.in_tune) > self.fit_at_once()

    def fill_queue(self) -> bool:
        """Queue the next runs unless there are some, and return whether there are; decided configurations are skipped."""
        while not self.ready:
            config = self.next_config()
            if config is None:
                return self.halve() or self.race_on()
            self.enter(config)
        return True

    def enter(self, config: TrainConfig) -> None:
        """Queue the runs of a configuration that may run now."""
        runs = self.sweep_runs.repeats(self.repeats(config))
        for run in runs:
            if run.reused:
                self.adopt(run)
        self.groups[runs[0].group] = config, runs
        if self.halving:
            self.halving.add(runs[0])
        self.queue_repeats(runs[0].group)

    def next_config(self) -> TrainConfig | None:
        """Return the next configuration, if one may run now."""
        if self.exhausted or self.closed:
            return None
        config = None if self.budget_spent() else self.source.ask()
        self.exhausted = config is None and self.halving is not None
        return config

    @property
    def closed(self) -> bool:
        """Whether no configuration may begin before those that halve together have ended."""
        return self.halving is not None and self.halving.closed

    def more(self) -> None:
        """Ask the source again, though it had no configuration left."""
        self.exhausted = False

    def halve(self) -> bool:
        """Stop or queue runs whose cohort has met at a rung, begin the next one after it; return whether a run may begin."""
        if not self.halving:
            return False
        self.halving.closed = self.halving.closed or self.exhausted
        alive, stopped = self.halving.decide()
        assert self.end
        for run, why in ((self.sweep_runs.by_key[key], why) for key, why in stopped.items()):
            if run.outcome == Outcome.PAUSED:
                self.sweep_runs.stop(run, why)
                self.end(run, Outcome.STOPPED)
        for run in alive:
            if (
                run.outcome == Outcome.PAUSED
                and run not in self.queue
                and run.epoch < (self.halving.until(run) or math.inf)
            ):
                self.sweep_runs.wait(run)
                self.queue.append(run)
        if all(run.group in self.over for run in self.halving.cohort):
            for run in self.halving.cohort:
                self.tell(*self.over.pop(run.group))
            self.halving.begin()
            return not self.exhausted and self.fill_queue()
        return bool(self.ready)

    def race_on(self) -> bool:
        """Queue the repeats of the present round of a race, once all first repeats have ended; return whether one may begin."""
        if self.race and not self.groups and not self.over:
            due = [run for run in self.race.next_round() if run.outcome == Outcome.WAITING]
            new = [run for run in due if run not in self.queue and run.key not in self.in_tune]
            self.queue.extend(new[: self.trials_left])
        return bool(self.ready)

    @property
    def trials_left(self) -> int | None:
        """Return how many trials the budget still allows; None for any number."""
        if self.budget.trials is None:
            return None
        ran = {run.key for run in self.sweep_runs if run.outcome != Outcome.WAITING and not run.reused} | self.in_tune
        return max(self.budget.trials - len(ran), 0)

    def budget_spent(self) -> bool:
        """Return whether the budget allows no further configuration."""
        patience = self.budget.patience
        return self.trials_left == 0 or (patience is not None and self.without_better >= patience)

    def queue_repeats(self, group: str) -> None:
        """Queue the repeats that may run now, or tell the source of the group where all of them have ended."""
        config, runs = self.groups[group]
        first = self.race or (self.scheduled and runs[0].outcome != Outcome.FINISHED)
        turn = runs[:1] if first else runs
        waiting = [run for run in turn if run.outcome == Outcome.WAITING and run.key not in self.in_tune]
        self.queue.extend(run for run in waiting if run not in self.queue)
        if all(run.outcome in (*DECIDED, Outcome.FAILED) for run in turn):
            del self.groups[group]
            if self.race:
                self.race.add(runs)
            if self.halving and runs[0] in self.halving.cohort:
                self.over[group] = config, turn
            else:
                self.tell(config, turn)

    def tell(self, config: TrainConfig, runs: list[Run]) -> None:
        """Tell the source the results of a configuration, and count it for budget.patience."""
        self.source.tell(config, runs)
        value = mean(runs, self.objective) if all(run.outcome == Outcome.FINISHED for run in runs) else math.inf
        self.without_better = 0 if value < self.best else self.without_better + 1
        self.best = min(self.best, value)

    def run_ended(self, run: Run) -> None:
        """Go on with the group of a run that is decided or failed."""
        self.in_tune.discard(run.key)
        if run.group in self.groups:  # else a race has let it run
            self.queue_repeats(run.group)

    def pause(self, run: Run) -> None:
        """Let a run wait for the others of its cohort; one that a user or the number of places halted is queued."""
        self.sweep_runs.pause(run)
        self.in_tune.discard(run.key)
        if run.halted:
            self.queue.appendleft(run)

    def resubmit(self, run: Run) -> bool:
        """Queue a run again after its worker died; return False after too many deaths in one epoch."""
        self.sweep_runs.wait(run)
        if run.deaths > MAX_DEATHS:
            return False
        self.in_tune.discard(run.key)
        self.queue.appendleft(run)
        return True

    def give_back(self, run: Run) -> None:
        """Queue a run again that Tune has and did not begin."""
        self.in_tune.discard(run.key)
        self.queue.appendleft(run)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: `SweepCallback` calls `run_ended` or `resubmit`."""

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: trials' folders, the study and MLflow hold what a later call needs."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing, as for `save`."""
