"""What the configurations of a sweep differ in, as columns of values, and what matters of it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import optuna
from numpy.typing import NDArray

from bel.config import TrainConfig
from results.analysis.configurations import APART, Configuration

ENCODING = "encoding"
LEAST = 10  # configurations, below which nothing is said of what matters
TOP = 5  # configurations that the best share holds at least
BEST = 0.1  # share of the configurations that counts as good, where it has so many


def encoding(params: Mapping[str, str]) -> str:
    """How a run encodes its labels: its code, or a head's name where that has none."""
    return params.get("code") or params["head"]


@dataclass(frozen=True)
class Field:
    """A config field that varies, with its value for each configuration; None where a configuration has no such field."""

    name: str
    values: Sequence[str | None]

    @cached_property
    def known(self) -> list[str]:
        """The different values, numbers in their order."""
        found = {value for value in self.values if value is not None}
        return sorted(found, key=float) if all(map(is_number, found)) else sorted(found)

    @property
    def numeric(self) -> bool:
        """Whether it is a number."""
        return all(map(is_number, self.known))

    @property
    def logarithmic(self) -> bool:
        """Whether its numbers span so much that they are seen on a logarithmic scale only."""
        if not self.numeric or float(self.known[0]) <= 0:
            return False
        return "lr" in self.name.split("_") or float(self.known[-1]) >= 20 * float(self.known[0])

    @property
    def conditional(self) -> bool:
        """Whether some configurations have no such field."""
        return None in self.values

    def numbers(self) -> NDArray[np.float64]:
        """Numbers (n,), on a logarithmic scale their logarithms; else the position among the values; NaN for None."""
        if not self.numeric:
            return np.array([np.nan if v is None else self.known.index(v) for v in self.values], np.float64)
        plain = np.array([np.nan if v is None else float(v) for v in self.values], np.float64)
        return np.log10(plain) if self.logarithmic else plain

    def distribution(self) -> optuna.distributions.BaseDistribution:
        """As Optuna describes it."""
        if not self.numeric:
            return optuna.distributions.CategoricalDistribution(self.known)
        low, high = float(self.known[0]), float(self.known[-1])
        return optuna.distributions.FloatDistribution(low, high, log=self.logarithmic)


def is_number(text: str) -> bool:
    """Whether a logged value is a finite number."""
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def varied(found: Sequence[Configuration]) -> list[Field]:
    """The fields in which configurations differ, in the order of a config; head and code as one, the encoding."""
    params = [one.params for one in found]
    columns: dict[str, list[str | None]] = {ENCODING: [encoding(p) for p in params]}
    columns |= {f.name: [p.get(f.name) for p in params] for f in fields(TrainConfig)}
    names = [name for name in columns if name not in APART and name not in ("head", "code")]
    return [Field(name, columns[name]) for name in names if len(set(columns[name]) - {None}) > 1]


def importance(found: Sequence[Configuration], columns: Sequence[Field]) -> dict[str, float]:
    """Shares of what decides whether a configuration is among the best, by PED-ANOVA (Watanabe et al., IJCAI 2023).

    A field that Optuna does not treat, in older releases one that some configurations lack, is not in it.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize")
    for i, one in enumerate(found):
        own = [column for column in columns if column.values[i] is not None]
        study.add_trial(
            optuna.trial.create_trial(
                params={c.name: float(c.values[i] or 0) if c.numeric else c.values[i] for c in own},
                distributions={c.name: c.distribution() for c in own},
                value=one.mae,
            )
        )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=best_share(len(found)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a condition that few configurations meet
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def best_share(count: int) -> float:
    """The share of configurations that counts as good: a tenth, more where that would be less than five."""
    return min(0.5, max(BEST, TOP / count))
