"""The workload of a sweep: its configurations, their repeats over seeds and folds, and how many runs they are."""

from dataclasses import replace

from bel.config import TrainConfig
from bel.run_layout import Outcome
from launch.runs import SweepRuns, mean
from launch.spec.combinations import Plan
from launch.spec.sampling import draw, plans_by_protocol
from launch.spec.sweep_file import Sweep


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


def best_per_contender(sweep: Sweep, configs: list[TrainConfig], sweep_runs: SweepRuns) -> list[TrainConfig]:
    """Return each contender's config with the least mean error on the hold-out, among those that finished with every seed."""
    assert sweep.search.tune is not None
    objective = sweep.search.objectives[0]
    best: dict[tuple[tuple[str, str], ...], tuple[float, TrainConfig]] = {}
    for config in configs:
        runs = [sweep_runs.run(seed) for seed in on_seeds(sweep, config)]
        if all(run.outcome == Outcome.FINISHED for run in runs):
            key, error = contender_key(config, sweep.search.tune), round(mean(runs, objective), 9)
            if key not in best or error < best[key][0]:
                best[key] = error, config
    return [config for _, config in best.values()]


class Workload:
    """The runs of a sweep."""

    def __init__(self, sweep: Sweep, plan: Plan, sweep_runs: SweepRuns) -> None:
        self.sweep, self.plan, self.sweep_runs = sweep, plan, sweep_runs
        self.plans = plans_by_protocol(sweep, plan)
        lists = [] if sweep.method.suggests else [draw(sweep, protocol_plan) for protocol_plan in self.plans]
        self.drawn = [[plan.config(sweep, values) for values in drawn] for drawn in lists]

    @property
    def configs(self) -> list[TrainConfig]:
        """Return the configurations that are known before any has run."""
        return [config for drawn in self.drawn for config in drawn]

    def repeats(self, config: TrainConfig) -> list[TrainConfig]:
        """Return the runs of a configuration; without folds in a tuned sweep, which runs them last."""
        return (on_seeds if self.sweep.search.tune else repeats)(self.sweep, config)

    @property
    def total(self) -> int:
        """Return how many runs the sweep has, if no scheduler stops a first repeat and the budget suffices."""
        if self.drawn:
            total = len(self.all_runs)
        else:
            one = self.repeats(self.plan.configs[0])
            trials = self.sweep.search.trials or 0
            most = [trials if self.sweep.intervals else min(trials, len(plan.combinations)) for plan in self.plans]
            total = sum(most) * len(one)
        return min(total, self.sweep.budget.trials or total)

    @property
    def all_runs(self) -> list[TrainConfig]:
        """Return the runs of all configurations; for a search those of every valid combination, as an estimate."""
        configs = self.configs or self.plan.configs
        runs = [run for config in configs for run in self.repeats(config)]
        if tune := self.sweep.search.tune:
            contenders = {contender_key(config, tune): config for config in configs}
            runs += [fold for config in contenders.values() for fold in repeats(self.sweep, config)]
        return runs

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
    def longest(self) -> int:
        """Return the most epochs that a run takes."""
        return max(config.epochs for config in self.plan.upper_configs(self.sweep))
