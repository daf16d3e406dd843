"""The figures of a report that show the search space: every configuration's values, and the importance of each field."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from results.analysis.configurations import Configuration
from results.report.figures import TIE, with_layout
from results.report.hyperparameters import Hyperparameter

MOST_TICKS = 12
SCALE = [[0, "#cdd2d8"], [0.34, "#93b1c9"], [0.67, "#2b7bba"], [1, "#08306b"]]  # the best darkest, in print, too
JITTER = 0.12  # of a step, by which lines are apart that would hide each other


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
        ticks, texts = [without, *ticks], ["none", *texts]
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
