"""The figures of a report that show what a sweep varied: every configuration's values, and which field matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from results.analysis.configurations import Configuration
from results.report.figures import TIE, styled
from results.report.varied import Field

MOST_TICKS = 12
SCALE = [[0, "#cdd2d8"], [0.34, "#93b1c9"], [0.67, "#2b7bba"], [1, "#08306b"]]  # the best darkest, in print, too
SPREAD = 0.12  # of a step, by which lines are apart that would hide each other


def parallel(found: Sequence[Configuration], columns: Sequence[Field], unit: str, heading: str) -> go.Figure:
    """A line for each configuration through its values, coloured by its error up to the ninetieth percentile."""
    errors = np.array([one.mae for one in found])
    low, high = float(errors.min()), float(np.quantile(errors, 0.9))
    line = {"color": -errors, "colorscale": SCALE, "cmin": -max(high, low + 1e-9), "cmax": -low, "showscale": True}
    ticks = np.linspace(low, high, 5)  # the greatest colour is drawn on top: the best is to be seen
    bar = {"tickvals": -ticks, "ticktext": [f"{tick:.3g}" for tick in ticks], "tickfont": {"size": 10}}
    title = {"text": f"{heading} ({unit})", "side": "right", "font": {"size": 11}}
    line["colorbar"] = bar | {"title": title, "thickness": 10, "outlinewidth": 0}
    dimensions = [dimension(column) for column in columns]
    dimensions.append({"label": heading, "values": errors})
    figure = go.Figure(
        go.Parcoords(line=line, dimensions=dimensions, labelangle=0, unselected={"line": {"opacity": 0}})
    )
    most = max(len(str(value)) for value in columns[0].known)
    return styled(figure, 440, margin={"t": 60, "b": 30, "l": min(60 + 5 * most, 200), "r": 60})


def dimension(column: Field) -> dict[str, Any]:
    """A field as an axis; configurations without it are on a tick of their own, below the others."""
    numbers = column.numbers()
    known = np.unique(numbers[~np.isnan(numbers)])
    low, high = float(known.min()), float(known.max())
    span = high - low or 1.0
    ticks, texts = list(known), list(map(str, column.known))
    if column.numeric and len(known) > MOST_TICKS:
        ticks = list(np.linspace(low, high, 6))
        texts = [f"{10**tick if column.logarithmic else tick:.3g}" for tick in ticks]
    elif column.numeric:
        texts = [f"{10**tick if column.logarithmic else tick:.4g}" for tick in ticks]
    without = low - 0.12 * span
    if column.conditional:
        ticks, texts = [without, *ticks], ["none", *texts]
    values = np.where(np.isnan(numbers), without, numbers)
    if len(known) <= MOST_TICKS:
        step = min(np.diff(np.unique(values)), default=1.0)
        values = values + SPREAD * step * np.random.default_rng(0).uniform(-1, 1, len(values))
    bounds = [min(*ticks, float(values.min())), max(*ticks, float(values.max()))]
    return {"label": column.name, "values": values, "tickvals": ticks, "ticktext": texts, "range": bounds}


def bars(shares: Mapping[str, float]) -> go.Figure:
    """Share of each field in what decides, the greatest on top."""
    names = list(shares)[::-1]
    values = [shares[name] for name in names]
    figure = go.Figure(go.Bar(x=values, y=names, orientation="h", marker_color=TIE, width=0.6))
    figure.update_traces(text=[f"{value:.0%}" for value in values], textposition="outside", cliponaxis=False)
    figure.update_xaxes(title_text="share of the importance", tickformat=".0%", range=[0, max(values) * 1.1 or 1])
    return styled(figure, 90 + 24 * len(names), margin={"r": 50})
