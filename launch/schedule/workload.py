"""The workload of a sweep: its configurations, their repeats, and how many runs they are."""

from bel.config import TrainConfig
from launch.runs import SweepRuns
from launch.schedule.repeats import count_fold_runs, on_seeds, repeats
from launch.spec.sampling import Plan, draw, plans_by_protocol
from launch.spec.sweep_file import Sweep


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
            total = sum(len(self.repeats(config)) for config in self.configs) + count_fold_runs(
                self.sweep, self.configs
            )
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
        if self.sweep.search.tune:
            contenders = configs[:: len(self.sweep.finite[self.sweep.search.tune])]
            runs += [fold for config in contenders for fold in repeats(self.sweep, config)]
        return runs

    @property
    def done(self) -> int:
        """Return how many trials earlier calls have decided."""
        return sum(not reused for _, _, reused in self.sweep_runs.known.values())

    @property
    def reused(self) -> int:
        """Return how many of the known trials other sweeps have finished."""
        keys = (
            {self.sweep_runs.identify(c, self.sweep_runs.facts_of(c)) for c in self.all_runs} if self.drawn else set()
        )
        return sum(known[2] for known in map(self.sweep_runs.decided, keys) if known)

    @property
    def longest(self) -> int:
        """Return the most epochs that a run takes."""
        return max(config.epochs for config in self.plan.upper_configs(self.sweep))
