"""Out-of-fold errors of a tuned sweep: every training image predicted by a network that has not seen its group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean
from typing import Any

import torch
from mlflow.entities import Run
from torch import Tensor

from bel.config import TrainConfig
from bel.data.groups import group_means
from bel.data.loading import load, split
from bel.errors import UserError
from bel.run_layout import BY_IMAGE
from bel.text import is_number
from bel.training.evaluate import Evaluation, evaluate, overall
from results.analysis.configurations import error_of, ranked
from results.analysis.ranking import configuration_name, rank_key
from results.retest.subject import fetch_state, load_test, open_subject, repeat
from results.store.runs import on_fold, section_of, trials

# What may differ among the runs of one contender: how its groups are divided, and where its files lie.
APART = {
    "fold", "folds", "val_fraction", "selection", "data_root", "cache_dir", "cache", "boxes", "weights",
}  # fmt: skip
OWN = {f.name for f in fields(TrainConfig)} - APART | {"weights_digest"}  # parameters that identify a contender


@dataclass(frozen=True)
class Tuned:
    """What the hold-out decided for a contender: field and best value, whether at an end of the values, and the runs."""

    field: str
    value: str
    at_end: bool
    runs: list[Run]


@dataclass(frozen=True)
class Contender:
    """A configuration on all folds: its runs, its out-of-fold predictions, and those of each fold's network on test."""

    name: str
    tuned: Tuned
    runs: list[Run]
    out_of_fold: Evaluation
    tests: list[Evaluation]

    def by_group(self) -> dict[str, Tensor]:
        """Mean out-of-fold errors (axes,) in units of each group, in order of the groups' names."""
        held = self.out_of_fold
        return dict(zip(sorted(set(held.groups)), held.group_errors(held.headline), strict=True))

    def geodesic(self) -> float:
        """Mean out-of-fold angle between rotations in degrees, mean over groups."""
        held = self.out_of_fold
        return float(group_means(held.rotation_angles(held.headline)[0], held.groups).mean())

    def group_maes(self) -> Tensor:
        """Mean absolute out-of-fold error (groups,) over all axes of each group."""
        values = [overall(errors, self.out_of_fold.axes) for errors in self.by_group().values()]
        return torch.tensor(values, dtype=torch.float64)

    @property
    def mae(self) -> float:
        """Mean over groups, each counted once."""
        return self.group_maes().mean().item()

    @property
    def test_maes(self) -> list[float]:
        """MAE of each fold's network on the test split."""
        return [test.mae(test.headline) for test in self.tests]

    def test_errors(self) -> Tensor:
        """Absolute errors (n, axes) in units on the test split, mean over the folds' networks."""
        return torch.stack([test.errors(test.headline) for test in self.tests]).mean(0)


def contenders(parent: Run, changes: dict[str, Any], say: Callable[[str], None]) -> list[Contender]:
    """The contenders of a tuned sweep that have all their folds, the best first; each run's logged error is repeated.

    Those without are said. Raises `UserError` where there is none, or where an error does not repeat.
    """
    found = [contender(tuned, runs, changes, say) for tuned, runs in tuned_runs(parent) if complete(tuned, runs, say)]
    if not found:
        raise UserError(f"run {parent.info.run_id} has no contender with all its folds: run the sweep again to go on")
    return in_order(found)


def in_order(found: list[Contender]) -> list[Contender]:
    """Contenders as a leaderboard has them: by the mean over the seeds of each, then by their own error."""
    seeds: dict[str, list[float]] = {}
    for one in found:
        seeds.setdefault(configuration_name(one.name), []).append(one.mae)
    most = max(map(len, seeds.values()))
    places = {name: rank_key(fmean(maes), name, len(maes) < most) for name, maes in seeds.items()}
    return sorted(found, key=lambda one: (places[configuration_name(one.name)], rank_key(one.mae, one.name)))


def tuned_runs(parent: Run) -> list[tuple[Tuned, list[Run]]]:
    """Each contender of a tuned sweep with its runs on folds, in order of the folds; one a seed, where there are several.

    The best value has the least mean over seeds of what the sweep was told to minimise. Raises `UserError` for another run.
    """
    search = section_of(parent, "search")
    name = search.get("tune")
    objectives = search.get("objective")
    if not isinstance(name, str) or not isinstance(objectives, list):
        raise UserError(
            f"run {parent.info.run_id} is no tuned sweep: give the parent of one whose file says search.tune"
        )
    hold_out: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    on_folds: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in sorted(filter(ranked, trials([parent])), key=lambda run: rank_key(error_of(run), run.info.run_name)):
        who = tuple(sorted((key, value) for key, value in run.data.params.items() if key in OWN - {name, "seed"}))
        (on_folds if on_fold(run) else hold_out).setdefault(who, []).append(run)
    paired = []
    for who, runs in hold_out.items():
        by_value: dict[str, list[float]] = {}
        for run in runs:
            error = run.data.metrics[BY_IMAGE] if objectives[:1] == ["val/mae"] else error_of(run)
            by_value.setdefault(run.data.params[name], []).append(error)
        most = max(map(len, by_value.values()))
        best = min(by_value, key=lambda value: (len(by_value[value]) < most, round(fmean(by_value[value]), 9)))
        values = sorted({float(run.data.params[name]) for run in runs}) if is_number(best) else []
        at_end = len(values) > 1 and float(best) in (values[0], values[-1])
        for seed in sorted({run.data.params["seed"] for run in runs}, key=int):
            chosen = {name: best, "seed": seed}
            folds = [run for run in on_folds.get(who, []) if chosen.items() <= run.data.params.items()]
            of_seed = [run for run in runs if run.data.params["seed"] == seed]
            folds.sort(key=lambda run: int(run.data.params["fold"]))
            paired.append((Tuned(name, best, at_end, of_seed), folds))
    return paired


def complete(tuned: Tuned, runs: list[Run], say: Callable[[str], None]) -> bool:
    """Whether a contender has every fold once; says where it has not."""
    present = [int(run.data.params["fold"]) for run in runs]
    if runs and present == list(range(int(runs[0].data.params["folds"]))):
        return True
    say(
        f"left out: {tuned.runs[0].info.run_name} is finished on the folds {present} only: run the sweep again to go on"
    )
    return False


def contender(tuned: Tuned, runs: list[Run], changes: dict[str, Any], say: Callable[[str], None]) -> Contender:
    """A contender from its runs, one a fold."""
    measured = [measure(run, changes, say) for run in runs]
    name = runs[0].info.run_name.partition(" fold=")[0]
    return Contender(name, tuned, runs, joined([held for held, _ in measured]), [test for _, test in measured])


def measure(run: Run, changes: dict[str, Any], say: Callable[[str], None]) -> tuple[Evaluation, Evaluation]:
    """A fold's held-out images and the test split, as its network predicts them.

    Raises `UserError` where the held-out error is not the logged one.
    """
    subject = open_subject(fetch_state(run), changes, run)
    again = repeat(subject, split(subject.config, load(subject.config, "train")))
    if not again.holds:
        raise UserError(
            f"run {run.info.run_id} does not repeat its logged error: {again.difference:.1e} apart, allowed "
            f"{again.allowed:.0e}: the checkpoint, the data or the code is not what was logged"
        )
    test = load_test(subject.config)
    tested = evaluate(subject.model, test, torch.arange(len(test)), subject.config)
    say(
        f"{run.info.run_name:<40} out of fold {again.evaluation.mae(again.evaluation.headline):7.3f} repeats "
        f"({again.difference:.0e})  test {tested.mae(tested.headline):7.3f}"
    )
    return again.evaluation, tested


def joined(parts: Sequence[Evaluation]) -> Evaluation:
    """Evaluations of different images in one. Raises `UserError` where an image is in two of them."""
    names = [name for part in parts for name in part.names]
    if len(set(names)) < len(names):
        raise UserError("the folds hold an image twice: they are not of one sweep")
    return replace(
        parts[0],
        names=names,
        groups=[group for part in parts for group in part.groups],
        targets=torch.cat([part.targets for part in parts]),
        predictions={name: torch.cat([part.predictions[name] for part in parts]) for name in parts[0].predictions},
        posterior={},
        wrong_bits={},
    )
