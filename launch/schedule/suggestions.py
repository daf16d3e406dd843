"""Where configurations come from: a list, or a search by Optuna whose study is kept in a journal."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, islice

import numpy as np
import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from bel.config import TrainConfig
from bel.run_layout import Outcome
from launch.runs import Run, mean
from launch.schedule.guide import Guide, Told
from launch.schedule.studies import FROM_SOURCES, VALUES, sampler
from launch.spec.combinations import Plan, Values
from launch.spec.sampling import as_parameters, points, suggest
from launch.spec.sweep_file import Sweep

MAX_DUPLICATES = 20  # suggestions in a row that were made before, after which an unseen one is drawn


class ListSource:
    """Configurations of a list, in order."""

    past: Sequence[float] = ()  # values of the first objective that were told in earlier calls
    ended: Sequence[TrainConfig] = ()  # the configurations of these

    def __init__(self, configs: Iterable[TrainConfig]) -> None:
        self.before = list(configs)
        self.left = deque(self.before)
        self.asked: set[str] = set()  # configurations that were given

    def ask(self) -> TrainConfig | None:
        """Return the next configuration."""
        config = self.left.popleft() if self.left else None
        self.asked.add(str(config))
        return config

    def upcoming(self, most: int) -> list[TrainConfig]:
        """Return the next configurations, so many at most."""
        return list(islice(self.left, most))

    def take(self, config: TrainConfig) -> bool:
        """Return whether a configuration is left, which is not given any more."""
        found = [other for other in self.left if str(other) == str(config)]
        for other in found:
            self.left.remove(other)
            self.asked.add(str(other))
        return bool(found)

    def update(self, configs: Iterable[TrainConfig]) -> None:
        """Go on with another list: what it lacks is not given any more, and what is new comes in its order."""
        self.left = deque(config for config in configs if str(config) not in self.asked)

    def tell(self, config: TrainConfig, runs: list[Run]) -> None:
        """Do nothing: a list does not depend on results."""


class TunedSource:
    """Configurations of a tuned sweep, contender by contender: each value on the hold-out, and the best of them on all folds.

    `decide` gives the best configuration of a contender, on its first fold; none where no value has finished. A contender is
    decided once its last value is; those after it go on meanwhile.
    """

    past: Sequence[float] = ()
    ended: Sequence[TrainConfig] = ()

    def __init__(
        self, contenders: Sequence[list[TrainConfig]], decide: Callable[[list[TrainConfig]], list[TrainConfig]]
    ) -> None:
        self.before = [config for contender in contenders for config in contender]
        self.left, self.decide = deque(self.before), decide
        self.on_folds: deque[TrainConfig] = deque()
        self.undecided = [(contender, {str(config) for config in contender}) for contender in contenders]

    def upcoming(self, most: int) -> list[TrainConfig]:
        """Return the next configurations, so many at most."""
        return list(islice(chain(self.on_folds, self.left), most))

    def take(self, config: TrainConfig) -> bool:
        """Return whether a configuration is left, which is not given any more."""
        for source in (self.on_folds, self.left):
            found = [other for other in source if str(other) == str(config)]
            for other in found:
                source.remove(other)
            if found:
                return True
        return False

    def ask(self) -> TrainConfig | None:
        """Return the next configuration: of the contenders that are decided first."""
        source = self.on_folds or self.left
        return source.popleft() if source else None

    def tell(self, config: TrainConfig, runs: list[Run]) -> None:
        """Queue the best configuration of a contender on its folds, once all its values on the hold-out have ended."""
        for contender, waiting in self.undecided:
            if str(config) in waiting:
                waiting.remove(str(config))
                self.on_folds.extend([] if waiting else self.decide(contender))


class StudySource:
    """At most `most` configurations that an Optuna study suggests; trials that an earlier driver left open come first."""

    def __init__(
        self,
        sweep: Sweep,
        plan: Plan,
        study: optuna.Study,
        most: int,
        told: Sequence[Told] = (),
        at_once: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.sweep, self.plan, self.study, self.most = sweep, plan, study, most
        self.at_once = at_once  # keeps what the study writes meanwhile as a whole or not at all
        self.guide = Guide(told)
        self.open: dict[str, Trial] = {}  # by config
        self.beside: deque[TrainConfig] = deque()  # configurations outside the space, of which the study is not told
        asked = [trial for trial in study.get_trials(deepcopy=False) if VALUES in trial.user_attrs]
        configs = {trial.number: self.config(trial) for trial in asked}
        self.before = list(configs.values())
        self.seen = {str(config) for config in self.before}
        self.left_open = deque(trial for trial in asked if trial.state == TrialState.RUNNING)
        ended = [trial for trial in asked if trial.state.is_finished()]
        self.ended = [configs[trial.number] for trial in ended]
        self.past = [trial.values[0] if trial.state == TrialState.COMPLETE else np.inf for trial in ended]
        for values in points(sweep, plan):
            study.enqueue_trial(as_parameters(sweep, plan, values), skip_if_exists=True)

    @staticmethod
    def config(trial: FrozenTrial) -> TrainConfig:
        """Return the config of a trial of the study."""
        return TrainConfig.make(json.loads(trial.user_attrs[VALUES]))

    def add(self, config: TrainConfig, values: Values | None) -> None:
        """Have a configuration tried next, beyond the number of trials: by its `values`, or beside the study without them."""
        self.before.append(config)
        if values is None:
            self.beside.append(config)
            self.seen.add(str(config))
            self.most += 1
        else:
            self.study.enqueue_trial(as_parameters(self.sweep, self.plan, values), skip_if_exists=True)
            self.most += 1

    def upcoming(self, most: int) -> list[TrainConfig]:
        """Return the next configurations that are known, so many at most."""
        return list(islice(chain(self.beside, map(self.config, self.left_open)), most))

    def ask(self) -> TrainConfig | None:
        """Return an open configuration or a new one; in a space of lists none comes twice."""
        if self.beside:
            return self.beside.popleft()
        if self.left_open:
            frozen = self.left_open.popleft()
            self.open[str(self.config(frozen))] = Trial(self.study, frozen._trial_id)
            return self.config(frozen)
        with self.at_once():
            return self.suggestion()

    def suggestion(self) -> TrainConfig | None:
        """Return a new configuration; None where the number is reached, or the space is exhausted."""
        duplicates: list[Trial] = []
        try:
            while len(self.seen) < self.most and (len(duplicates) < MAX_DUPLICATES or self.draw_unseen()):
                trial = self.ask_study(self.draw_seed(len(duplicates)))
                config = self.plan.config(self.sweep, suggest(self.sweep, self.plan, trial))
                if str(config) not in self.seen:
                    trial.set_user_attr(VALUES, json.dumps(config.as_dict()))
                    self.seen.add(str(config))
                    self.open[str(config)] = trial
                    return config
                duplicates.append(trial)
            self.most = len(self.seen)  # the space is exhausted
            return None
        finally:  # open until now, so that the sampler looks elsewhere; one that failed does not count
            for trial in duplicates:
                self.study.tell(trial, state=TrialState.FAIL)

    def ask_study(self, seed: int) -> Trial:
        """Return the next trial of the study: one that waits, or a new one, for which trials of other sweeps count, too."""
        box = self.sweep.search.method in FROM_SOURCES
        sources = self.guide.ranked(self.sweep, self.plan) if box else []
        self.study.sampler = sampler(self.sweep, seed, sources)
        if self.guide.told and not box and not self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            values = self.guide.suggest(self.sweep, self.plan, self.study, self.study.sampler)
            self.study.enqueue_trial(as_parameters(self.sweep, self.plan, values))
        return self.study.ask()

    def draw_seed(self, tried: int) -> int:
        """Return the seed of a suggestion, which depends on the number of those before: an interruption changes none."""
        place = (self.sweep.search.seed or 0, len(self.seen), tried)
        return int(np.random.SeedSequence(place).generate_state(1)[0])

    def draw_unseen(self) -> bool:
        """Enqueue a combination of lists that was not suggested yet; return whether one is left."""
        if self.sweep.intervals:  # whole numbers, few enough to be exhausted
            return False
        left = [v for v in self.plan.combinations if str(self.plan.config(self.sweep, v)) not in self.seen]
        if not left:
            return False
        values = left[np.random.default_rng(len(self.seen)).integers(len(left))]
        self.study.enqueue_trial(as_parameters(self.sweep, self.plan, values))
        return True

    def tell(self, config: TrainConfig, runs: list[Run]) -> None:
        """Tell the means of the repeats; else prune the trial, with the epochs of the first repeat where it was stopped.

        Where one failed, which says nothing about its configuration, the trial stays open: the next call tries it again.
        """
        trial = self.open.get(str(config))
        if trial is None or any(run.outcome == Outcome.FAILED for run in runs):  # without: it is beside the study
            return
        objectives = self.sweep.search.objectives
        if all(run.outcome == Outcome.FINISHED for run in runs):
            self.study.tell(trial, [mean(runs, objective) for objective in objectives])
        else:
            stopped = runs[0].outcome == Outcome.STOPPED and len(objectives) == 1  # Optuna takes no reports of several
            for entry in runs[0].history if stopped else ():
                trial.report(entry[objectives[0].metric], int(entry["epoch"]))
            self.study.tell(trial, state=TrialState.PRUNED)  # without a report it ranks last
        del self.open[str(config)]


Source = ListSource | TunedSource | StudySource
