"""The configurations of a sweep while it runs: users add some, change their number, and name the trials they mean."""

from collections.abc import Callable, Mapping
from typing import Any

from bel.config import TrainConfig
from bel.errors import UserError
from launch.runs import Run
from launch.schedule.control import Control
from launch.schedule.suggestions import ListSource, Source, StudySource
from launch.schedule.workload import Workload
from launch.spec.combinations import Values, make_plan
from launch.spec.sampling import plans_by_protocol
from launch.steering.checks import check_at_once, check_configuration, check_trials, inside, points_of, widen


class Lists:
    """Changes a workload and the source of the present stage. `admit` raises `UserError` for a config that cannot train."""

    def __init__(self, workload: Workload, admit: Callable[[TrainConfig], None]) -> None:
        self.workload, self.admit = workload, admit
        self.file_trials = workload.sweep.search.trials  # of the sweep file
        self.source: Source | None = None
        self.number = 0  # of the stage
        self.over = False  # whether the present stage is
        self.later: set[int] = set()  # stages that are over and have trials again
        self.points: dict[str, Values] = {}  # by config: values of added configurations from which a search may learn

    def begin_stage(self, source: Source, number: int) -> None:
        """Give the stage the configurations that were added before it."""
        self.source, self.number, self.over = source, number, False
        if isinstance(source, StudySource):
            for config in self.workload.added[number]:
                source.add(config, self.points.get(str(config)))

    def run_later(self, *numbers: int) -> None:
        """Have stages run again after the present one where they are over and have trials again."""
        self.later |= {number for number in numbers if number < self.number or (self.over and number == self.number)}

    def find(self, trial: Mapping[str, str]) -> Run | None:
        """Find a trial by its key or its name, entered or not. Raises `UserError` for a name of several."""
        runs = self.workload.sweep_runs
        if (key := trial.get("key")) in runs.by_key:
            return runs.by_key[str(key)]
        found = {run.key: run for run in runs if run.name == trial.get("name") and key is None}
        for config in self.workload.configs if not found else []:
            repeats = self.workload.repeats(config)
            if any(self.is_called(one, trial) for one in repeats):
                found |= {run.key: run for run in runs.repeats(repeats) if self.is_called(run.config, trial)}
        if len(found) > 1:
            raise UserError(
                f"{trial['name']!r} is {len(found)} trials of this sweep: give the run id of one that has begun"
            )
        return next(iter(found.values()), None)

    def is_called(self, config: TrainConfig, trial: Mapping[str, str]) -> bool:
        """Return whether a config is that of a trial, by its key, else by its name."""
        runs = self.workload.sweep_runs
        if "key" in trial:
            return runs.identify(config, runs.facts_of(config)) == trial["key"]
        return runs.label(config) == trial["name"]

    def config_of(self, run: Run) -> TrainConfig:
        """Return the configuration of which a run is a repeat."""
        for config in self.workload.configs:
            if any(str(one) == str(run.config) for one in self.workload.repeats(config)):
                return config
        return run.config

    def take(self, run: Run) -> bool:
        """Return whether a trial's configuration is left in a list, which does not give it any more."""
        return not isinstance(self.source, StudySource | None) and self.source.take(self.config_of(run))

    def add(self, arguments: Mapping[str, Any], again: bool = False) -> str:
        """Add a configuration, or a value of a list with every combination of the others; return what is said about it.

        Raises `UserError`, but not `again` for what is there already.
        """
        if "value" in arguments:
            ((name, value),) = arguments["value"].items()
            return self.add_value(name, value)
        values, config = check_configuration(self.workload.sweep, arguments["values"])
        fits = inside(self.workload.sweep, values)
        if fits and self.workload.sweep.method.suggests:
            self.points[str(config)] = points_of(self.workload.sweep, values)
        name = self.add_config(config)
        if name is None and not again:
            raise UserError(
                f"{self.workload.sweep_runs.label(config)} is a trial of this sweep already: nothing is added"
            )
        unseen = (
            ""
            if fits or not self.workload.sweep.method.suggests
            else ", of which the search is not told: it is outside the space"
        )
        return f"{name} is added{unseen}"

    def add_config(self, config: TrainConfig) -> str | None:
        """Add a configuration and return its trial's name; None where it is there already."""
        self.admit(config)
        known = isinstance(self.source, StudySource) and str(config) in self.source.seen
        if known or (number := self.workload.add(config)) is None:
            return None
        if number == self.number and isinstance(self.source, StudySource):
            self.source.add(config, self.points.get(str(config)))
        self.update_list()
        self.run_later(number)
        return self.workload.sweep_runs.label(config)

    def most(self, number: int) -> int:
        """Return how many configurations a search may suggest in a stage."""
        return (self.workload.sweep.search.trials or 0) + len(self.workload.added[number])

    def update_list(self) -> None:
        """Let a list that is being worked off know what was added or taken away."""
        if isinstance(self.source, ListSource):
            self.source.update(self.workload.listed(self.number))

    def add_value(self, name: str, value: Any) -> str:
        """Add a value of a list: all combinations with it, or for a search the choice of it."""
        wider, combinations = widen(self.workload.sweep, name, value)
        if not wider.method.suggests:
            plan = make_plan(wider)
            configs = [plan.config(wider, values) for values in combinations]
            for config in configs:
                self.admit(config)
            self.workload.sweep = wider
            return (
                f"{sum(self.add_config(c) is not None for c in configs)} configurations with {name} {value} are added"
            )
        for values in combinations:
            self.admit(make_plan(wider).config(wider, values))
        self.workload.sweep = wider
        self.workload.plan = make_plan(wider)
        self.workload.plans = plans_by_protocol(wider, self.workload.plan)
        if isinstance(self.source, StudySource):
            self.source.sweep, self.source.plan = wider, self.workload.plans[self.number]
            self.source.most = self.most(self.number)
        self.run_later(*range(self.number + 1))
        return (
            f"the search chooses {name} among {list(wider.finite[name])} from now on, and begins anew to learn about it"
        )

    def set(self, control: Control, name: str, value: Any) -> str:
        """Change the number of trials, or how many run at once. Raises `UserError`."""
        if name == "at_once":
            control.at_once = check_at_once(value)
            most = f"at most {control.at_once}" if control.at_once else "as many as fit"
            return f"{most} run at once; those beyond pause after their present epoch"
        trials = check_trials(self.workload.sweep, value)
        self.workload.set_trials(trials)
        if isinstance(self.source, StudySource):
            self.source.most = self.most(self.number)
        self.update_list()
        self.run_later(*range(self.number + 1))
        return f"{trials} trials"
