"""The workload of a sweep: its configurations, their repeats over seeds and folds, and how many runs they are."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from bel.config import TrainConfig
from bel.run_layout import Outcome
from launch.runs import SweepRuns
from launch.schedule.guide import WarmStart
from launch.spec.combinations import Plan
from launch.spec.sampling import draw, plans_by_protocol
from launch.spec.sweep_file import Sweep
from results.analysis.ranking import grouped, mean_by_decoder


def on_folds(sweep: Sweep, config: TrainConfig) -> list[TrainConfig]:
    """Return a config on each fold; the last epoch is kept, so that nothing is selected on the fold."""
    count = sweep.search.folds or 0
    return [replace(config, val_fraction=None, folds=count, fold=fold, selection="last") for fold in range(count)]


def on_seeds(sweep: Sweep, config: TrainConfig) -> list[TrainConfig]:
    """Return a config with each of the seeds, from its own on."""
    return [config, *(replace(config, seed=config.seed + number) for number in range(1, sweep.search.seeds or 1))]


def repeats(sweep: Sweep, config: TrainConfig) -> list[TrainConfig]:
    """Return the runs of a configuration: each seed, on each fold where there are folds."""
    seeds = on_seeds(sweep, config)
    return [fold for seed in seeds for fold in on_folds(sweep, seed)] if sweep.search.folds else seeds


def contender_key(config: TrainConfig, tuned: str) -> tuple[tuple[str, str], ...]:
    """Return the fields of a config without the one that is tuned, as text."""
    return tuple((name, str(value)) for name, value in config.as_dict().items() if name != tuned)


def best_of(sweep: Sweep, contender: list[TrainConfig], sweep_runs: SweepRuns) -> list[TrainConfig]:
    """Return a contender's config of least mean error on the hold-out by any decoder, if finished with every seed; or none."""
    errors = []
    for config in contender:
        runs = [sweep_runs.run(seed) for seed in on_seeds(sweep, config)]
        if all(run.outcome == Outcome.FINISHED for run in runs):
            by_decoder = mean_by_decoder([run.by_decoder(sweep.search.objectives[0]) for run in runs])
            errors.append((min(by_decoder.values()), config))
    return [min(errors, key=lambda one: one[0])[1]] if errors else []


class Workload:
    """The runs of a sweep."""

    def __init__(
        self,
        sweep: Sweep,
        plan: Plan,
        sweep_runs: SweepRuns,
        begun: Mapping[str, int] = MappingProxyType({}),
        warm_start: WarmStart | None = None,
    ) -> None:
        self.sweep, self.plan, self.sweep_runs = sweep, plan, sweep_runs
        self.begun = begun  # by key of a run: epochs of the one that it goes on from
        self.warm_start = warm_start  # what the searcher is told of other sweeps
        self.plans = plans_by_protocol(sweep, plan)
        lists = [] if sweep.method.suggests else [draw(sweep, protocol_plan) for protocol_plan in self.plans]
        self.drawn = [[plan.config(sweep, values) for values in drawn] for drawn in lists]
        self.added: list[list[TrainConfig]] = [[] for _ in self.plans]  # by a user while the sweep ran

    @property
    def configs(self) -> list[TrainConfig]:
        """Return the configurations that are known before any has run."""
        return [config for number in range(len(self.plans)) for config in self.listed(number)]

    def listed(self, number: int) -> list[TrainConfig]:
        """Return the known configurations of the plan `number`: those that were drawn, and those that a user added."""
        drawn = self.drawn[number] if self.drawn else []
        if not self.added[number]:
            return list(drawn)
        return list({str(config): config for config in (*drawn, *self.added[number])}.values())

    def add(self, config: TrainConfig) -> int | None:
        """Enter a configuration and return the number of its plan; None where it is there already."""
        number = self.number_of(config)
        if str(config) in map(str, self.listed(number)):
            return None
        self.added[number].append(config)
        return number

    def number_of(self, config: TrainConfig) -> int:
        """Return the number of the plan that a configuration belongs to, by its protocol."""
        protocols = [{one.protocol_name for one in plan.configs} for plan in self.plans]
        return next((n for n, names in enumerate(protocols) if config.protocol_name in names), 0)

    def is_added(self, run: TrainConfig) -> bool:
        """Return whether a run is a repeat of a configuration that a user added."""
        return any(str(run) in map(str, self.repeats(config)) for configs in self.added for config in configs)

    def set_trials(self, trials: int) -> None:
        """Change the number of trials; of random draws those that were made stay the first ones."""
        self.sweep = replace(self.sweep, search=replace(self.sweep.search, trials=trials))
        if self.drawn:
            lists = [draw(self.sweep, plan) for plan in self.plans]
            self.drawn = [
                [plan.config(self.sweep, v) for v in drawn] for plan, drawn in zip(self.plans, lists, strict=True)
            ]

    def repeats(self, config: TrainConfig) -> list[TrainConfig]:
        """Return the runs of a configuration; in a tuned sweep on the folds only where it is on the first one."""
        on_hold_out = self.sweep.search.tune and config.folds is None
        return (on_seeds if on_hold_out else repeats)(self.sweep, config)

    def contenders(self, number: int) -> list[list[TrainConfig]]:
        """Return the configurations of the plan `number` of a tuned sweep, by contender."""
        tune = self.sweep.search.tune
        assert tune is not None
        return list(grouped(self.drawn[number], lambda config: contender_key(config, tune)).values())

    def best_on_folds(self, contender: list[TrainConfig]) -> list[TrainConfig]:
        """Return a contender's best configuration on the first fold; none where no value has finished with every seed."""
        return [on_folds(self.sweep, config)[0] for config in best_of(self.sweep, contender, self.sweep_runs)]

    @property
    def total(self) -> int:
        """Return how many runs the sweep has, if no scheduler stops a first repeat and the budget suffices."""
        if self.drawn:
            total = len(self.all_runs)
        else:
            one = self.repeats(self.plan.configs[0])
            trials = self.sweep.search.trials or 0
            total = sum(
                self.most(plan, added, trials) for plan, added in zip(self.plans, self.added, strict=True)
            ) * len(one)
        return min(total, self.sweep.budget.trials or total)

    def most(self, plan: Plan, added: list[TrainConfig], trials: int) -> int:
        """Return how many configurations a search tries of a plan, with those that a user added."""
        if self.sweep.intervals:
            return trials + len(added)
        inside = len({*map(str, plan.configs)} & {*map(str, added)})
        return min(trials + inside, len(plan.combinations)) + len(added) - inside

    @property
    def all_runs(self) -> list[TrainConfig]:
        """Return the runs of all configurations; for a search those of every valid combination, as an estimate."""
        configs = self.configs if self.drawn else self.plan.configs
        runs = [run for config in configs for run in self.repeats(config)]
        if tune := self.sweep.search.tune:
            contenders = {contender_key(config, tune): config for config in configs}
            runs += [fold for config in contenders.values() for fold in repeats(self.sweep, config)]
        return runs

    def epochs(self, config: TrainConfig) -> int:
        """Return how many epochs a run is to train: all, or those after the ones of the run that it goes on from."""
        key = self.sweep_runs.identify(config, self.sweep_runs.facts_of(config)) if self.begun else ""
        return config.epochs - self.begun.get(key, 0)

    @property
    def done(self) -> int:
        """Return how many trials earlier calls have decided."""
        return sum(not reused for _, _, reused in self.sweep_runs.known.values())

    @property
    def reused(self) -> int:
        """Return how many of the known trials other sweeps have finished."""
        runs = self.all_runs if self.drawn else []
        keys = {self.sweep_runs.identify(config, self.sweep_runs.facts_of(config)) for config in runs}
        return sum(known[2] for known in map(self.sweep_runs.find_decided, keys) if known)

    @property
    def left(self) -> int:
        """Return how many trials are to run."""
        return max(self.total - self.done - self.reused, 0)

    @property
    def longest(self) -> int:
        """Return the most epochs that a run takes."""
        return max(config.epochs for config in self.plan.upper_configs(self.sweep))
