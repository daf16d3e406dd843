"""The trials of a sweep put together: one entry for each configuration, over its seeds and folds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from mlflow.entities import Run

from bel.run_layout import (
    BY_IMAGE,
    CLAMPED,
    CODE_VERSION,
    HELD_DIGEST,
    OBJECTIVE,
    PARENT,
    RANKED,
    SPLIT_HASH,
    TRAIN_IMAGES,
    VAL_GROUPS,
    VAL_IMAGES,
    Outcome,
)
from bel.text import in_a_word
from results.analysis.ranking import complete_seeds, configuration_name, pooled_mean
from results.analysis.statistics import mean_interval
from results.store.artifacts import fetch_predictions
from results.store.predictions import Floats, Predictions, concatenated
from results.store.runs import outcome

# Parameters in which the runs of one configuration differ: its repeats, what follows from them, where files lie, and how steps
# are launched.
REPEAT = ("seed", "fold")
APART = {
    *REPEAT, SPLIT_HASH, TRAIN_IMAGES, VAL_IMAGES, VAL_GROUPS, HELD_DIGEST,
    "data_root", "cache_dir", "cache", "boxes", "weights", "cuda_graph",
}  # fmt: skip


@dataclass(frozen=True)
class Configuration:
    """What was trained: its runs that came to an error, one for each seed and fold, and its predictions by seed.

    Out of fold where there are folds: then each seed's predictions are of all training images. `decoder` is the one
    whose errors count. Without predictions (of an older sweep) only the logged errors are known.
    """

    name: str
    runs: tuple[Run, ...]
    seeds: tuple[Predictions, ...] = ()
    decoder: str = ""
    lacking: tuple[str, ...] = field(default=())

    @property
    def params(self) -> dict[str, str]:
        """The parameters of its first run."""
        return dict(self.runs[0].data.params)

    @cached_property
    def images(self) -> str:
        """Digest of the images that it is measured on, their groups, targets, axes; of the split alone without predictions."""
        if not self.seeds:
            return "split " + " ".join(sorted({run.data.params[SPLIT_HASH] for run in self.runs}))
        first = self.seeds[0]
        said = "\n".join([*first.names, *first.groups, json.dumps(first.meaning["axes"])])
        content = said.encode() + first.values["target"].tobytes()
        return hashlib.sha256(content).hexdigest()[:12]

    @cached_property
    def axis_errors(self) -> Floats:
        """Absolute errors (n, axes) of every image, mean over seeds, in units."""
        return np.mean([one.errors(self.decoder) for one in self.seeds], 0)

    @cached_property
    def errors(self) -> Floats:
        """Absolute errors (n,) over all axes of every image, mean over seeds."""
        return np.mean([one.mean_errors(self.decoder) for one in self.seeds], 0)

    @cached_property
    def group_errors(self) -> Floats:
        """Errors (groups,), mean over the images of each group and over seeds."""
        return self.seeds[0].by_group(self.errors)

    @cached_property
    def mae(self) -> float:
        """Mean error over groups, each counted once; the logged one, of what `mean` says, where there are no predictions."""
        if self.seeds:
            return float(self.group_errors.mean())
        return self.logged(OBJECTIVE, VAL_GROUPS) if self.mean == "groups" else self.image_mae

    @property
    def mean(self) -> str:
        """What counts once in `mae`: `groups`; `images` where an earlier version logged no more than that."""
        return "groups" if self.seeds or all(OBJECTIVE in run.data.metrics for run in self.runs) else "images"

    def logged(self, metric: str, count: str) -> float:
        """A metric of its runs in MLflow, mean over the groups or images, whose number is the parameter `count`."""
        counts = [float(run.data.params[count]) for run in self.runs]
        return pooled_mean([run.data.metrics.get(metric, np.nan) for run in self.runs], counts)

    @property
    def image_mae(self) -> float:
        """Mean error over images, each counted once."""
        return float(self.errors.mean()) if self.seeds else self.logged(BY_IMAGE, VAL_IMAGES)

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of `mae` over groups; None where there are too few."""
        return mean_interval(self.group_errors).interval if self.seeds else None

    @property
    def seed_spread(self) -> float | None:
        """Standard deviation of the errors of the seeds; None for one."""
        values = [float(one.by_group(one.mean_errors(self.decoder)).mean()) for one in self.seeds]
        return float(np.std(values, ddof=1)) if len(values) > 1 else None

    @cached_property
    def by_axis(self) -> dict[str, float]:
        """Mean error of each axis in units, of what `mean` says."""
        if self.seeds:
            means = self.seeds[0].by_group(self.axis_errors).mean(0)
            return dict(zip(self.seeds[0].axes, map(float, means), strict=True))
        prefix, count = (f"{OBJECTIVE}_", VAL_GROUPS) if self.mean == "groups" else (f"{BY_IMAGE}_", VAL_IMAGES)
        names = [name for name in self.runs[0].data.metrics if name.startswith(prefix)]
        return {name.removeprefix(prefix): self.logged(name, count) for name in names}

    @property
    def scale(self) -> dict[str, float]:
        """What makes errors of each axis comparable, where there are predictions."""
        return {axis["name"]: axis["width"] for seed in self.seeds[:1] for axis in seed.meaning["axes"]}

    @property
    def seed_count(self) -> int:
        """How many seeds it was trained with."""
        return len({run.data.params["seed"] for run in self.runs})

    @property
    def stopped(self) -> bool:
        """Whether early stopping ended one of its runs, so that its error is of fewer epochs than planned."""
        return any(outcome(run) == Outcome.STOPPED for run in self.runs)

    def metric(self, name: str) -> float | None:
        """Mean of a metric over its runs; None where one lacks it."""
        values = [run.data.metrics.get(name) for run in self.runs]
        return None if None in values else float(np.mean([value for value in values if value is not None]))

    @property
    def hours(self) -> float | None:
        """Hours of training and validation of all its runs."""
        metrics = [run.data.metrics for run in self.runs]
        if any("seconds" not in m or "epoch" not in m for m in metrics):
            return None
        return sum(m["seconds"] * m["epoch"] for m in metrics) / 3600

    def by_decoder(self) -> list[Configuration]:
        """Return it once for each of its decoders."""
        if not self.seeds:
            return [self]
        return [replace(self, name=f"{self.name} · {name}", decoder=name) for name in self.seeds[0].decoders]


def ranked(run: Run) -> bool:
    """Whether a trial came to an error, which a table can rank."""
    return outcome(run) in RANKED and bool(np.isfinite(run.data.metrics.get(BY_IMAGE, np.nan)))


def error_of(run: Run) -> float:
    """The error that ranks a run: over groups as logged, or by its predictions; over images where there is neither."""
    if OBJECTIVE in run.data.metrics:
        return float(run.data.metrics[OBJECTIVE])
    found = fetch_predictions(run, bits=False)  # of a run that an earlier version logged
    return float(found.by_group(found.mean_errors()).mean() if found else run.data.metrics[BY_IMAGE])


def identity(run: Run) -> tuple[tuple[str, str], ...]:
    """The parameters that the runs of one configuration have in common, and the version of the code that trained them."""
    params = run.data.params | {CODE_VERSION: run.data.tags.get(CODE_VERSION, "")}
    return tuple(
        sorted(
            (key, value)
            for key, value in params.items()
            if key not in APART and not key.startswith(tuple(CLAMPED.values()))
        )
    )


def configurations(runs: Iterable[Run]) -> list[Configuration]:
    """The configurations of the runs that came to a finite error, each with the predictions of its seeds."""
    groups: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in runs:
        if ranked(run):
            groups.setdefault(identity(run), []).append(run)
    found = [once for group in groups.values() for once in each_once(group)]
    return told_apart([assembled(sorted(group, key=repeat)) for group in found])


def each_once(runs: list[Run]) -> list[list[Run]]:
    """The runs of a configuration; by sweep where several have trained the same repeats, as population-based ones do."""
    if len({repeat(run) for run in runs}) == len(runs):
        return [runs]
    by_sweep: dict[str, list[Run]] = {}
    for run in runs:
        by_sweep.setdefault(run.data.tags.get(PARENT, ""), []).append(run)
    return list(by_sweep.values())


def told_apart(found: list[Configuration]) -> list[Configuration]:
    """Those of one name, which sweeps that vary different fields may give, named also by the parameters that differ."""
    named: dict[str, list[Configuration]] = {}
    for one in found:
        named.setdefault(one.name, []).append(one)
    return [told_from(one, named[one.name]) for one in found]


def told_from(one: Configuration, others: list[Configuration]) -> Configuration:
    """One of several of a name, named also by the parameters that are not the same in all of them."""
    if len(others) == 1:
        return one
    common = set.intersection(*(set(identity(other.runs[0])) for other in others))
    own = "".join(f" {key}={in_a_word(value)}" for key, value in identity(one.runs[0]) if (key, value) not in common)
    return replace(one, name=one.name + own)


def repeat(run: Run) -> tuple[int, ...]:
    """Seed and fold."""
    return tuple(int(run.data.params.get(name, 0)) for name in REPEAT)


def assembled(runs: list[Run]) -> Configuration:
    """A configuration from its runs, in order of seed and fold; a seed without all its folds is left out, and said."""
    folds = int(runs[0].data.params.get("folds", 1))
    by_seed: dict[str, list[Run]] = {}
    for run in runs:
        by_seed.setdefault(run.data.params["seed"], []).append(run)
    whole = complete_seeds(by_seed, folds)
    lacking = tuple(
        f"seed {seed}: {len(group)} of {folds} folds" for seed, group in by_seed.items() if seed not in whole
    )
    used = [run for group in whole.values() for run in group] or runs
    parts = [[fetch_predictions(run, bits=False) for run in group] for group in whole.values()]
    seeds = [sorted_by_name([one for one in part if one]) for part in parts if all(part)]
    if len(seeds) < len(parts) or len({one.names.tobytes() for one in seeds}) > 1:
        seeds = []  # not of the same images, or not all there
    decoder = seeds[0].decoders[0] if seeds else ""
    return Configuration(configuration_name(runs[0].info.run_name), tuple(used), tuple(seeds), decoder, lacking)


def sorted_by_name(parts: list[Predictions]) -> Predictions:
    """The predictions of a seed's folds, or of its one run, in order of the images' names."""
    whole = concatenated(parts) if len(parts) > 1 else parts[0]
    return whole.take(np.argsort(whole.names, kind="stable"))
