"""The trials of a sweep put together: one entry for each configuration, over its seeds and folds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from mlflow.entities import Run

from bel import run_layout
from bel.text import in_a_word
from results.analysis.ranking import complete_seeds, configuration_name, grouped, pooled_mean
from results.analysis.statistics import mean_interval
from results.store.predictions import Floats, Predictions, concatenated
from results.store.runs import fetch_predictions, outcome

# Parameters in which the runs of one configuration may differ: seed and fold, what follows from them, where files are, and
# how steps are launched.
REPEAT = ("seed", "fold")
MAY_DIFFER = {
    *REPEAT, run_layout.SPLIT_HASH, run_layout.TRAIN_IMAGES, run_layout.VAL_IMAGES, run_layout.VAL_GROUPS,
    run_layout.HELD_DIGEST, "data_root", "cache_dir", "cache", "boxes", "weights", "plugins", "cuda_graph",
}  # fmt: skip


@dataclass(frozen=True)
class Configuration:
    """What was trained: its runs with an error, one for each seed and fold, and its predictions by seed.

    With folds the predictions of a seed are out of fold, of all training images. Errors are of `decoder`. Without
    predictions, as in older sweeps, only the logged errors are known.
    """

    name: str
    runs: tuple[Run, ...]
    seeds: tuple[Predictions, ...] = ()
    decoder: str = ""
    lacking: tuple[str, ...] = ()

    @property
    def params(self) -> dict[str, str]:
        """The parameters of its first run."""
        return dict(self.runs[0].data.params)

    @cached_property
    def images(self) -> str:
        """Digest of the images it is measured on with groups, targets and axes; without predictions, of the split."""
        if not self.seeds:
            return "split " + " ".join(sorted({run.data.params[run_layout.SPLIT_HASH] for run in self.runs}))
        first = self.seeds[0]
        listed = "\n".join([*first.names, *first.groups, json.dumps(first.meaning["axes"])])
        content = listed.encode() + first.values["target"].tobytes()
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
        """Mean error over groups, each counted once; without predictions the logged one, over what `mean` says."""
        if self.seeds:
            return float(self.group_errors.mean())
        return self.logged(run_layout.OBJECTIVE, run_layout.VAL_GROUPS) if self.mean == "groups" else self.image_mae

    def mae_without(self, groups: Sequence[str]) -> float:
        """Mean error over the groups that are not among these."""
        return float(self.group_errors[~np.isin(self.seeds[0].group_names, groups)].mean())

    @property
    def mean(self) -> str:
        """What counts once in `mae`: `groups`, or `images` where an earlier version logged nothing else."""
        return (
            "groups" if self.seeds or all(run_layout.OBJECTIVE in run.data.metrics for run in self.runs) else "images"
        )

    def logged(self, metric: str, count: str) -> float:
        """Return a logged metric of its runs, weighted by the parameter `count`: their number of groups or images."""
        counts = [float(run.data.params[count]) for run in self.runs]
        return pooled_mean([run.data.metrics.get(metric, np.nan) for run in self.runs], counts)

    @cached_property
    def image_mae(self) -> float:
        """Mean error over images, each counted once."""
        return float(self.errors.mean()) if self.seeds else self.logged(run_layout.BY_IMAGE, run_layout.VAL_IMAGES)

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
        prefix, count = (
            (f"{run_layout.OBJECTIVE}_", run_layout.VAL_GROUPS)
            if self.mean == "groups"
            else (f"{run_layout.BY_IMAGE}_", run_layout.VAL_IMAGES)
        )
        names = [name for name in self.runs[0].data.metrics if name.startswith(prefix)]
        return {name.removeprefix(prefix): self.logged(name, count) for name in names}

    @property
    def scale(self) -> dict[str, float]:
        """Factors from the unit of each axis to the unit of `mae`; empty without predictions."""
        return {axis["name"]: axis["width"] for seed in self.seeds[:1] for axis in seed.meaning["axes"]}

    @property
    def seed_count(self) -> int:
        """Number of seeds."""
        return len({run.data.params["seed"] for run in self.runs})

    @property
    def stopped(self) -> bool:
        """Whether the scheduler stopped one of its runs, so that its error is of fewer epochs than planned."""
        return any(outcome(run) == run_layout.Outcome.STOPPED for run in self.runs)

    @property
    def lost_race(self) -> bool:
        """Whether it has no more repeats because all of them would have shown it as worse (`search.race`)."""
        return any(run_layout.RACED in run.data.tags for run in self.runs)

    def metric(self, name: str) -> float | None:
        """Return the mean of a metric over its runs; None where one lacks it."""
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


def is_ranked(run: Run) -> bool:
    """Return whether a trial has a finite error that a table can rank."""
    return outcome(run) in run_layout.RANKED and bool(np.isfinite(run.data.metrics.get(run_layout.BY_IMAGE, np.nan)))


def error_of(run: Run) -> float:
    """Return the error that ranks a run: over groups as logged or by its predictions, else over images."""
    if run_layout.OBJECTIVE in run.data.metrics:
        return float(run.data.metrics[run_layout.OBJECTIVE])
    found = fetch_predictions(run, bits=False)  # of a run that an earlier version logged
    return float(found.by_group(found.mean_errors()).mean() if found else run.data.metrics[run_layout.BY_IMAGE])


def identity(run: Run) -> tuple[tuple[str, str], ...]:
    """Return the parameters that all runs of a configuration have in common, and the version of the code."""
    params = run.data.params | {run_layout.CODE_VERSION: run.data.tags.get(run_layout.CODE_VERSION, "")}
    clamped = tuple(run_layout.CLAMPED.values())
    shared = [key for key in params if key not in MAY_DIFFER and not key.startswith(clamped)]
    return tuple((key, params[key]) for key in sorted(shared))


def configurations(runs: Iterable[Run]) -> list[Configuration]:
    """Group the runs that have a finite error into configurations with the predictions of their seeds."""
    groups = grouped(filter(is_ranked, runs), identity)
    found = [once for group in groups.values() for once in divided_by_sweep(group)]
    return distinct_names([configuration_of(sorted(group, key=seed_and_fold)) for group in found])


def divided_by_sweep(runs: list[Run]) -> list[list[Run]]:
    """Return the runs of a configuration; by sweep where two have one seed and fold, as of `pbt`."""
    if len({seed_and_fold(run) for run in runs}) == len(runs):
        return [runs]
    return list(grouped(runs, lambda run: run.data.tags.get(run_layout.PARENT, "")).values())


def distinct_names(found: list[Configuration]) -> list[Configuration]:
    """Add the parameters that differ to equal names, which sweeps over different fields may have."""
    named = grouped(found, lambda one: one.name)
    common = {name: set.intersection(*(set(identity(one.runs[0])) for one in ones)) for name, ones in named.items()}
    return [one if len(named[one.name]) == 1 else distinct_name(one, common[one.name]) for one in found]


def distinct_name(one: Configuration, common: set[tuple[str, str]]) -> Configuration:
    """Add to the name of one of several configurations the parameters that are not `common` to all."""
    own = "".join(f" {key}={in_a_word(value)}" for key, value in identity(one.runs[0]) if (key, value) not in common)
    return replace(one, name=one.name + own)


def seed_and_fold(run: Run) -> tuple[int, ...]:
    """Return seed and fold."""
    return tuple(int(run.data.params.get(name, 0)) for name in REPEAT)


def configuration_of(runs: list[Run]) -> Configuration:
    """Make a configuration of its runs in order of seed and fold; a seed without all folds is in `lacking` alone."""
    folds = int(runs[0].data.params.get("folds", 1))
    by_seed = grouped(runs, lambda run: run.data.params["seed"])
    whole = complete_seeds(by_seed, folds)
    lacking = tuple(f"seed {seed}: {len(by_seed[seed])} of {folds} folds" for seed in by_seed if seed not in whole)
    used = [run for group in whole.values() for run in group] or runs
    parts = [[fetch_predictions(run, bits=False) for run in group] for group in whole.values()]
    seeds = [sorted_by_name([one for one in part if one]) for part in parts if all(part)]
    if len(seeds) < len(parts) or len({one.names.tobytes() for one in seeds}) > 1:
        seeds = []  # not of the same images, or not all there
    decoder = seeds[0].decoders[0] if seeds else ""
    return Configuration(configuration_name(runs[0].info.run_name), tuple(used), tuple(seeds), decoder, lacking)


def sorted_by_name(parts: list[Predictions]) -> Predictions:
    """Join the predictions of a seed's folds, or of its one run, in order of the images' names."""
    whole = concatenated(parts) if len(parts) > 1 else parts[0]
    return whole.take(np.argsort(whole.names, kind="stable"))
