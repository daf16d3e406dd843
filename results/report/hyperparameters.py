"""The hyperparameters in which the configurations of a sweep differ, as columns of values, and their importance."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import optuna

from bel.config import TrainConfig
from bel.text import is_number
from results.analysis.configurations import MAY_DIFFER, Configuration
from results.store.predictions import Floats

ENCODING = "encoding"
FEWEST = 10  # configurations of which importance can be computed
TOP = 5  # configurations that count as good, at least
TOP_SHARE = 0.1  # of the configurations that counts as good, where that is more


def encoding(params: Mapping[str, str]) -> str:
    """Return the code of a run, or its head where that has no code."""
    return params.get("code") or params["head"]


@dataclass(frozen=True)
class Hyperparameter:
    """A config field with its value in each configuration; None in one that has no such field."""

    name: str
    values: Sequence[str | None]

    @cached_property
    def choices(self) -> list[str]:
        """The different values, numbers in their order."""
        found = {value for value in self.values if value is not None}
        return sorted(found, key=float) if all(map(is_finite, found)) else sorted(found)

    @property
    def numeric(self) -> bool:
        """Whether all values are finite numbers."""
        return all(map(is_finite, self.choices))

    @property
    def logarithmic(self) -> bool:
        """Whether its axis is logarithmic: it is a learning rate, or its numbers span a factor of 20."""
        if not self.numeric or float(self.choices[0]) <= 0:
            return False
        return "lr" in self.name.split("_") or float(self.choices[-1]) >= 20 * float(self.choices[0])

    @property
    def conditional(self) -> bool:
        """Whether some configurations have no such field."""
        return None in self.values

    def numbers(self) -> Floats:
        """Return numbers (n,), on a logarithmic axis their logarithms; else the index among the choices; NaN for None."""
        number = float if self.numeric else self.choices.index
        found = np.array([np.nan if value is None else number(value) for value in self.values], np.float64)
        return np.log10(found) if self.logarithmic else found

    def distribution(self) -> optuna.distributions.BaseDistribution:
        """Return its distribution for Optuna."""
        if not self.numeric:
            return optuna.distributions.CategoricalDistribution(self.choices)
        lower, upper = float(self.choices[0]), float(self.choices[-1])
        return optuna.distributions.FloatDistribution(lower, upper, log=self.logarithmic)


def is_finite(text: str) -> bool:
    """Whether a logged value is a finite number."""
    return is_number(text) and bool(np.isfinite(float(text)))


def varied_hyperparameters(found: Sequence[Configuration]) -> list[Hyperparameter]:
    """Return the fields in which configurations differ, in the order of a config; head and code as one, the encoding."""
    params = [one.params for one in found]
    names = [field.name for field in fields(TrainConfig) if field.name not in (*MAY_DIFFER, "head", "code")]
    columns = {ENCODING: [encoding(p) for p in params]} | {name: [p.get(name) for p in params] for name in names}
    return [Hyperparameter(name, values) for name, values in columns.items() if len(set(values) - {None}) > 1]


def importances(found: Sequence[Configuration], columns: Sequence[Hyperparameter]) -> dict[str, float]:
    """Return the share of each field in what makes a configuration good, by PED-ANOVA (Watanabe et al., IJCAI 2023).

    A field that Optuna does not treat (in older releases one that some configurations lack) is left out.
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
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=good_share(len(found)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a condition that few configurations meet
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def good_share(count: int) -> float:
    """Return the share of configurations that counts as good: a tenth, more where that would be less than five."""
    return min(0.5, max(TOP_SHARE, TOP / count))
