"""What is known of every run of a sweep while it goes on: its epochs, how it ended, which configuration it repeats."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mlflow.entities import Run as Logged

from bel.config import TrainConfig
from bel.run_layout import DECIDED, Outcome
from launch.identity import Facts, data_key
from launch.spec.search import Objective
from results.analysis.ranking import pooled_mean

Known = Mapping[str, tuple[Logged, Outcome, bool]]  # key -> run, its outcome, whether another sweep trained it
Identify = Callable[[TrainConfig, dict[str, str]], str]
Entry = dict[str, float]  # metrics of an epoch, its number ("epoch") and when it ended ("time")


@dataclass
class Run:
    """One training run: what is trained, and what came of it so far.

    The driver's thread alone changes it, by methods of `SweepRuns` alone; other threads get a copy.
    """

    key: str
    config: TrainConfig
    name: str
    facts: dict[str, str]
    group: str  # key of the first repeat of its configuration
    history: list[Entry] = field(default_factory=list)
    outcome: Outcome = Outcome.WAITING
    reason: str = ""
    machine: dict[str, str] = field(default_factory=dict)
    deaths: int = 0  # workers that died with it since its last epoch
    run_id: str | None = None  # MLflow's, once all is written
    begun: float = 0.0  # when it started, in this call
    resumed: int = 0  # epochs that earlier calls did
    kept: bool = True  # whether its checkpoint is
    logged: Logged | None = None  # what MLflow has of it, where it was decided before this call
    reused: bool = False  # by another sweep that trained the very same

    @property
    def epoch(self) -> int:
        """Epochs that are done."""
        return int(self.history[-1]["epoch"]) if self.history else 0

    @property
    def judged(self) -> bool:
        """Whether early stopping may end it: the first repeat of a configuration."""
        return self.key == self.group

    @cached_property
    def configuration(self) -> str:
        """What it has in common with its repeats, those that the space itself asks for too."""
        return str({name: value for name, value in vars(self.config).items() if name not in ("seed", "fold")})

    @property
    def before(self) -> bool:
        """Whether it was decided before this call."""
        return self.logged is not None

    @property
    def metrics(self) -> Entry:
        """Metrics of the last epoch."""
        return self.history[-1] if self.history else {}

    def value(self, objective: Objective) -> float:
        """What is compared; infinity, in the bad direction, where there is none yet."""
        worst = math.inf if objective.direction == "minimize" else -math.inf
        return self.metrics.get(objective.metric, worst)


class SweepRuns:
    """All runs of a sweep by key, in the order in which they were met."""

    def __init__(
        self,
        facts: Facts,
        find: Callable[[list[TrainConfig]], Facts],
        label: Callable[[TrainConfig], str],
        identify: Identify,
        known: Known,
        fetchable: Callable[[Logged, Outcome], bool] = lambda run, outcome: True,
    ) -> None:
        self.facts, self.find, self.label, self.identify = facts, find, label, identify
        self.known, self.fetchable = dict(known), fetchable
        self.by_key: dict[str, Run] = {}

    def facts_of(self, config: TrainConfig) -> dict[str, str]:
        """What is known of the images that a config trains and selects on; prepared here, where an interval needs others."""
        if data_key(config) not in self.facts:
            self.facts |= self.find([config])
        return self.facts[data_key(config)]

    def repeats(self, configs: list[TrainConfig]) -> list[Run]:
        """The runs of one configuration."""
        runs = [self.run(config) for config in configs]
        for run in runs:
            run.group = runs[0].key
        return runs

    def run(self, config: TrainConfig) -> Run:
        """The run of a config: a new one, or as MLflow knows it."""
        facts = self.facts_of(config)
        key = self.identify(config, facts)
        if key not in self.by_key:
            run = Run(key, config, self.label(config), facts, group=key)
            if known := self.decided(key):
                run.logged, run.outcome, run.reused = known
                run.history, run.run_id = (
                    [dict(run.logged.data.metrics)],
                    None if run.reused else run.logged.info.run_id,
                )
            self.by_key[key] = run
        return self.by_key[key]

    def decided(self, key: str) -> tuple[Logged, Outcome, bool] | None:
        """What MLflow has of a run that need not be trained; another sweep's is lent where its files can be fetched."""
        known = self.known.get(key)
        if known and known[2] and key not in self.by_key and not self.fetchable(known[0], known[1]):
            del self.known[key]
            return None
        return known

    def recall(self, configs: list[TrainConfig]) -> None:
        """Enter the runs of a configuration, if one of them was decided in an earlier call."""
        found = [self.known.get(self.identify(config, self.facts_of(config))) for config in configs]
        noted = any(self.identify(config, self.facts_of(config)) in self.by_key for config in configs)
        if noted or any(known and not known[2] for known in found):
            self.repeats(configs)

    def enter(self, key: str, result: Mapping[str, Any]) -> Run:
        """A run with the epochs that its worker tells of, each once."""
        run = self.by_key[key]
        for entry in result["past"]:
            if entry["epoch"] > run.epoch:
                run.history.append(entry)
                run.deaths = 0
        if not run.machine:  # the first word of it: all but the last epoch were done before
            run.resumed = max(run.epoch - 1, 0)
        run.machine = {name: result[name] for name in ("host", "device")}
        run.reason = result.get("reason", "")
        return run

    def begin(self, key: str, now: float) -> Run:
        """A run whose worker begins, or goes on."""
        run = self.by_key[key]
        run.outcome, run.begun = Outcome.RUNNING, run.begun or now
        return run

    def end(self, run: Run, outcome: Outcome, reason: str | None = None) -> None:
        """A run has ended."""
        run.outcome, run.reason = outcome, run.reason if reason is None else reason

    def wait(self, run: Run) -> None:
        """A run goes out again, after its worker died if it had begun."""
        run.deaths += run.outcome != Outcome.WAITING
        run.outcome = Outcome.WAITING

    def drop(self, run: Run) -> None:
        """A run's checkpoint is no longer kept."""
        run.kept = False

    def restore(self, config: TrainConfig, ending: Mapping[str, Any]) -> Run:
        """A run as it ended in an earlier call that did not come to write it."""
        run = self.run(config)
        for name, value in ending.items():
            setattr(run, name, Outcome(value) if name == "outcome" else value)
        return run

    def written(self, ids: Mapping[str, str]) -> None:
        """All runs have their ids of MLflow."""
        for run in self:
            run.run_id = ids.get(run.key, run.run_id)

    def __iter__(self) -> Iterator[Run]:
        """Runs in the order in which they were met."""
        return iter(list(self.by_key.values()))

    def having(self, *outcomes: Outcome) -> list[Run]:
        """Runs of these outcomes."""
        return [run for run in self if run.outcome in outcomes]

    @property
    def ended(self) -> list[Run]:
        """Runs that need not run again, and those that failed."""
        return self.having(*DECIDED, Outcome.FAILED)


def by_configuration(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs of each configuration."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    return groups


def mean(runs: Iterable[Run], objective: Objective) -> float:
    """Mean of an objective over the repeats of a configuration: over folds that of all their groups."""
    runs = list(runs)
    return pooled_mean([run.value(objective) for run in runs], [float(run.facts["val_groups"]) for run in runs])
