"""Out-of-fold errors of a tuned sweep: every training image predicted by a network that has not seen its group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from mlflow.entities import Run
from torch import Tensor

from bel.data.prepared import load
from bel.data.splits import split
from bel.errors import UserError
from bel.evaluate import Evaluation, evaluate, overall
from results.runs import children, on_fold
from results.subject import fetch_state, load_test, open_subject, repeat

APART = ("fold", "split_hash", "train_images", "val_images", "val_groups")  # parameters in which folds of one differ


@dataclass(frozen=True)
class Contender:
    """A configuration on all folds: its runs, its out-of-fold predictions, and those of each fold's network on test."""

    name: str
    runs: list[Run]
    out_of_fold: Evaluation
    tests: list[Evaluation]

    def by_group(self) -> dict[str, Tensor]:
        """Mean out-of-fold errors (axes,) in units of each group, in order of the groups' names."""
        errors = self.out_of_fold.errors(self.out_of_fold.headline)
        groups = self.out_of_fold.groups
        rows: dict[str, list[int]] = {}
        for i, group in enumerate(groups):
            rows.setdefault(group, []).append(i)
        return {group: errors[rows[group]].mean(0) for group in sorted(rows)}

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
    """The contenders of a tuned sweep, the best first; every run's logged error is repeated on the way.

    Raises `UserError` where folds are missing, or an error does not repeat.
    """
    grouped: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in children(parent):
        if on_fold(run):
            who = tuple(sorted((key, value) for key, value in run.data.params.items() if key not in APART))
            grouped.setdefault(who, []).append(run)
    if not grouped:
        raise UserError(
            f"run {parent.info.run_id} has no finished trials on folds: give a sweep whose file says search.tune"
        )
    found = [contender(runs, changes, say) for runs in grouped.values()]
    return sorted(found, key=lambda one: one.mae)


def contender(runs: list[Run], changes: dict[str, Any], say: Callable[[str], None]) -> Contender:
    """A contender from its runs, one a fold. Raises `UserError` where a fold is missing."""
    runs = sorted(runs, key=lambda run: int(run.data.params["fold"]))
    name, folds = runs[0].info.run_name.partition(" fold=")[0], int(runs[0].data.params["folds"])
    if [int(run.data.params["fold"]) for run in runs] != list(range(folds)):
        raise UserError(f"{name} has {len(runs)} of {folds} folds: run the sweep again, it goes on where it stopped")
    measured = [measure(run, changes, say) for run in runs]
    return Contender(name, runs, joined([held for held, _ in measured]), [test for _, test in measured])


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
    )
