"""The runs of a sweep while it goes on: their epochs, how they ended, which configuration they repeat."""

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mlflow.entities import Run as Logged

from bel.config import TrainConfig
from bel.run_layout import DECIDED, DEVICE, HOST, VAL_GROUPS, Outcome, decoder_metric, is_by_decoder
from launch.identity import Facts, data_key
from launch.spec.search import Objective
from results.analysis.ranking import pooled_mean

Known = Mapping[str, tuple[Logged, Outcome, bool]]  # key -> run, its outcome, whether another sweep trained it
Identify = Callable[[TrainConfig, dict[str, str]], str]
Entry = dict[str, float]  # metrics of an epoch, its number ("epoch") and when it ended ("time")


@dataclass
class Run:
    """One training run: its config, and its result so far.

    Only the driver's thread changes it, through methods of `SweepRuns`; other threads get a copy.
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
    deaths: int = 0  # of workers with it since its last epoch
    run_id: str | None = None  # in MLflow, once all is written
    begun: float = 0.0  # when it started, in this call
    resumed: int = 0  # epochs of earlier calls
    kept: bool = True  # whether its checkpoint is kept
    logged: Logged | None = None  # its run in MLflow, where it was decided before this call
    reused: bool = False  # whether another sweep trained it
    halted: Outcome | None = (
        None  # how it ends after its present epoch, where a user or the number of places wants that
    )
    stopped_by: dict[str, Any] = field(default_factory=dict)  # who stopped it, after which epoch, against what value

    @property
    def epoch(self) -> int:
        """Number of epochs that are done."""
        return int(self.history[-1]["epoch"]) if self.history else 0

    @property
    def is_scheduled(self) -> bool:
        """Whether the scheduler may stop it: it is the first repeat of its configuration."""
        return self.key == self.group

    @cached_property
    def configuration(self) -> str:
        """All fields but seed and fold, in which repeats of a configuration differ."""
        return str({name: value for name, value in vars(self.config).items() if name not in ("seed", "fold")})

    @property
    def decided_earlier(self) -> bool:
        """Whether MLflow had its result before this call."""
        return self.logged is not None

    @property
    def metrics(self) -> Entry:
        """Metrics of the last epoch."""
        return self.history[-1] if self.history else {}

    def value(self, objective: Objective) -> float:
        """Return the value of an objective; before the first epoch the worst, an infinity."""
        worst = math.inf if objective.direction == "minimize" else -math.inf
        return self.metrics.get(objective.metric, worst)

    def by_decoder(self, objective: Objective) -> dict[str, float]:
        """Return the value of an error by decoder, by "" the headline's."""
        decoders = [name.split("/")[1] for name in self.metrics if is_by_decoder(name)]
        errors = {decoder: self.metrics[decoder_metric(objective.metric, decoder)] for decoder in decoders}
        return {"": self.value(objective)} | errors


class SweepRuns:
    """All runs of a sweep by key, in the order in which they were entered."""

    def __init__(
        self,
        facts: Facts,
        find: Callable[[list[TrainConfig]], Facts],
        label: Callable[[TrainConfig], str],
        identify: Identify,
        known: Known,
        has_files: Callable[[Logged, Outcome], bool] = lambda run, outcome: True,
    ) -> None:
        self.facts, self.find, self.label, self.identify = facts, find, label, identify
        self.known, self.has_files = dict(known), has_files
        self.by_key: dict[str, Run] = {}

    def facts_of(self, config: TrainConfig) -> dict[str, str]:
        """Return the facts of the data that a config trains and selects on, which is prepared here if it is new."""
        if data_key(config) not in self.facts:
            self.facts |= self.find([config])
        return self.facts[data_key(config)]

    def repeats(self, configs: list[TrainConfig]) -> list[Run]:
        """Return the runs of one configuration, entered as its repeats."""
        runs = [self.run(config) for config in configs]
        for run in runs:
            run.group = runs[0].key
        return runs

    def run(self, config: TrainConfig) -> Run:
        """Return the run of a config: as entered, as MLflow has it, or a new one."""
        facts = self.facts_of(config)
        key = self.identify(config, facts)
        if key not in self.by_key:
            run = Run(key, config, self.label(config), facts, group=key)
            if known := self.find_decided(key):
                run.logged, run.outcome, run.reused = known
                run.history, run.run_id = (
                    [dict(run.logged.data.metrics)],
                    None if run.reused else run.logged.info.run_id,
                )
            self.by_key[key] = run
        return self.by_key[key]

    def find_decided(self, key: str) -> tuple[Logged, Outcome, bool] | None:
        """Return what MLflow has of a decided run; another sweep's is reused only where its files can be fetched."""
        known = self.known.get(key)
        if known and known[2] and key not in self.by_key and not self.has_files(known[0], known[1]):
            del self.known[key]
            return None
        return known

    def restore_known(self, configs: list[TrainConfig]) -> list[Run]:
        """Enter and return the runs of a configuration if one of them was decided or noted in an earlier call."""
        keys = [self.identify(config, self.facts_of(config)) for config in configs]
        noted = any(key in self.by_key for key in keys)
        decided = any(known and not known[2] for known in map(self.known.get, keys))
        return self.repeats(configs) if noted or decided else []

    def enter(self, key: str, result: Mapping[str, Any]) -> Run:
        """Enter what a worker reports of a run: each epoch once, host and device, why it failed."""
        run = self.by_key[key]
        for entry in result["past"]:
            if entry["epoch"] > run.epoch:
                run.history.append(entry)
                run.deaths = 0
        if not run.machine:  # its first report: all but the last epoch were done before
            run.resumed = max(run.epoch - 1, 0)
        run.machine = {name: result[name] for name in (HOST, DEVICE)}
        run.reason = result.get("reason", "")
        return run

    def begin(self, key: str, now: float) -> Run:
        """Enter that a worker starts a run or goes on with it."""
        run = self.by_key[key]
        run.outcome, run.begun, run.halted, run.stopped_by = Outcome.RUNNING, run.begun or now, None, {}
        return run

    def halt(self, run: Run, outcome: Outcome) -> None:
        """Enter how a run ends that has just trained an epoch, though it could go on."""
        run.halted = outcome

    def stop(self, run: Run, stopped_by: dict[str, Any]) -> None:
        """Enter who stops a run: a scheduler or a user, `by`, after an `epoch`, with a `value` and `against` which."""
        run.stopped_by = stopped_by

    def resume(self, run: Run) -> None:
        """Enter that a run that had paused waits for a worker."""
        if run.outcome == Outcome.PAUSED:
            run.outcome = Outcome.WAITING

    def end(self, run: Run, outcome: Outcome, reason: str | None = None) -> None:
        """Enter how a run ended."""
        run.outcome, run.reason = outcome, run.reason if reason is None else reason

    def wait(self, run: Run) -> None:
        """Enter that a run waits for another worker; if it had begun, its worker died."""
        run.deaths += run.outcome == Outcome.RUNNING
        run.outcome = Outcome.WAITING

    def pause(self, run: Run) -> None:
        """Enter that a run waits without a worker."""
        run.outcome = Outcome.PAUSED

    def drop(self, run: Run) -> None:
        """Enter that a run's checkpoint is not kept."""
        run.kept = False

    def restore(self, config: TrainConfig, end: Mapping[str, Any]) -> Run:
        """Enter a run that ended in an earlier call, which did not write it."""
        run = self.run(config)
        for name, value in end.items():
            setattr(run, name, Outcome(value) if name == "outcome" else value)
        return run

    def written(self, ids: Mapping[str, str]) -> None:
        """Enter the run ids in MLflow, by key."""
        for run in self:
            run.run_id = ids.get(run.key, run.run_id)

    def __iter__(self) -> Iterator[Run]:
        """Iterate over the runs in the order in which they were entered."""
        return iter(list(self.by_key.values()))

    def having(self, *outcomes: Outcome) -> list[Run]:
        """Return the runs that have one of some outcomes."""
        return [run for run in self if run.outcome in outcomes]

    @property
    def ended(self) -> list[Run]:
        """The runs that are decided or failed."""
        return self.having(*DECIDED, Outcome.FAILED)


def by_configuration(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Group runs by the first repeat of their configuration."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    return groups


def mean(runs: Iterable[Run], objective: Objective) -> float:
    """Return the mean of an objective over the repeats of a configuration, weighted by their numbers of groups."""
    runs = list(runs)
    return pooled_mean([run.value(objective) for run in runs], [float(run.facts[VAL_GROUPS]) for run in runs])


def pareto_front(groups: Iterable[list[Run]], objectives: Sequence[Objective]) -> list[list[Run]]:
    """Return the configurations that no other dominates: as good in every objective, and better in one."""
    signs = [1 if objective.direction == "minimize" else -1 for objective in objectives]
    groups = list(groups)
    scores = [[sign * mean(g, o) for sign, o in zip(signs, objectives, strict=True)] for g in groups]
    scores = [[math.inf if math.isnan(value) else value for value in one] for one in scores]
    front: list[int] = []
    for n in sorted(range(len(groups)), key=scores.__getitem__):  # who dominates another comes before it
        if not any(scores[o] != scores[n] and all(map(operator.le, scores[o], scores[n])) for o in front):
            front.append(n)
    return [groups[n] for n in sorted(front)]
