"""The hyperparameters in which the configurations of a sweep differ: their values, their importance, and figures of both."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go

from bel.config import TrainConfig
from bel.text import is_number
from results.analysis.configurations import MAY_DIFFER, Configuration
from results.report.figures import TIE, with_layout
from results.store.predictions import Floats

ENCODING = "encoding"
FEWEST = 10  # configurations of which importance can be computed
TOP = 5  # configurations that count as good, at least
TOP_SHARE = 0.1  # of the configurations that counts as good, where that is more
MOST_TICKS = 12
SCALE = [[0, "#cdd2d8"], [0.34, "#93b1c9"], [0.67, "#2b7bba"], [1, "#08306b"]]  # the best darkest, in print, too
JITTER = 0.12  # of a step, by which lines are apart that would hide each other


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
        """The different values: numbers in their order, then words."""
        found = sorted({value for value in self.values if value is not None})
        numbers = [value for value in found if is_finite(value)]
        return sorted(numbers, key=float) + [value for value in found if value not in numbers]

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


def parallel_coordinates(
    found: Sequence[Configuration], columns: Sequence[Hyperparameter], unit: str, heading: str
) -> go.Figure:
    """Return a line for each configuration through its values, coloured by its error up to the ninetieth percentile."""
    errors = np.array([one.mae for one in found])
    lower, upper = float(errors.min()), float(np.quantile(errors, 0.9))
    ticks = np.linspace(lower, upper, 5)  # the greatest colour is drawn on top: the best is to be seen
    bar = {"tickvals": -ticks, "ticktext": [f"{tick:.3g}" for tick in ticks], "tickfont": {"size": 10}}
    bar |= {"title": {"text": f"{heading} ({unit})", "side": "right", "font": {"size": 11}}}
    bar |= {"thickness": 10, "outlinewidth": 0}
    line = {"color": -errors, "colorscale": SCALE, "showscale": True, "colorbar": bar}
    line |= {"cmin": -max(upper, lower + 1e-9), "cmax": -lower}
    dimensions = [*map(dimension, columns), {"label": heading, "values": errors}]
    figure = go.Figure(
        go.Parcoords(line=line, dimensions=dimensions, labelangle=0, unselected={"line": {"opacity": 0}})
    )
    longest = max(map(len, columns[0].choices))
    return with_layout(figure, 440, margin={"t": 60, "b": 30, "l": min(60 + 5 * longest, 200), "r": 60})


def dimension(column: Hyperparameter) -> dict[str, Any]:
    """Return a hyperparameter as an axis; configurations without it are at a tick below the others."""
    numbers = column.numbers()
    known = np.unique(numbers[~np.isnan(numbers)])
    few = len(known) <= MOST_TICKS
    lower, upper = float(known.min()), float(known.max())
    ticks, texts = list(known), column.choices
    if column.numeric:
        ticks = ticks if few else list(np.linspace(lower, upper, 6))
        texts = [f"{10**tick if column.logarithmic else tick:.{4 if few else 3}g}" for tick in ticks]
    without = lower - 0.12 * (upper - lower or 1.0)
    if column.conditional:
        ticks, texts = [without, *ticks], ["(has none)", *texts]
    values = np.where(np.isnan(numbers), without, numbers)
    if few:
        step = min(np.diff(np.unique(values)), default=1.0)
        values = values + JITTER * step * np.random.default_rng(0).uniform(-1, 1, len(values))
    bounds = [min(*ticks, float(values.min())), max(*ticks, float(values.max()))]
    return {"label": column.name, "values": values, "tickvals": ticks, "ticktext": texts, "range": bounds}


def importance_bars(shares: Mapping[str, float]) -> go.Figure:
    """Return the importance of each field as bars, the greatest on top."""
    names, values = list(shares), list(shares.values())
    figure = go.Figure(go.Bar(x=values, y=names, orientation="h", marker_color=TIE, width=0.6))
    figure.update_traces(texttemplate="%{x:.0%}", textposition="outside", cliponaxis=False)
    figure.update_xaxes(title_text="share of the importance", tickformat=".0%", range=[0, max(values) * 1.1 or 1])
    figure.update_yaxes(autorange="reversed")
    return with_layout(figure, 90 + 24 * len(names), margin={"r": 50})
