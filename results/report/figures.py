"""The figures of a report that show errors: of configurations, by epoch, by target, their distribution and calibration."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from results.analysis.configurations import Configuration
from results.analysis.leaderboard import Board
from results.analysis.pairwise import bins
from results.store.predictions import Floats

# Apart for the colour-blind and in print (Okabe, Ito, 2008; Wong, Nature Methods 2011), and by their dashes without colour.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#b0559b", "#c78500")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
INK, QUIET, RULE, PALE, TIE = "#1c1f23", "#858b93", "#e2e5e9", "#c3c8ce", "#4f6f8f"
WIDTH = 1000  # pixels of every figure
FONT = {"family": "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif", "size": 12, "color": INK}
CUT, CUT_FROM = 0.97, 10  # share of the errors by epoch that a scale holds, from so many runs on
MOST_INTERVALS, MOST_PANELS, MOST_AXES, FEWEST = 30, 12, 4, 10  # FEWEST images in a bin that is shown
HISTOGRAM_BINS = 20  # of the probability below the target


@dataclass(frozen=True, eq=False)
class Highlight:
    """One of the best configurations, with the colour and the dash that it has in every figure."""

    configuration: Configuration
    label: str
    color: str
    dash: str

    @property
    def style(self) -> dict[str, Any]:
        """How its line is drawn, and what the legend calls it."""
        return {"line": {"color": self.color, "dash": self.dash, "width": 2}, "name": self.label}


def highlights(board: Board) -> list[Highlight]:
    """Return the first configurations of a leaderboard, one for each colour."""
    rows = zip(board.standings, COLORS, DASHES, strict=False)
    return [Highlight(s.configuration, f"{s.rank}  {s.configuration.name}", color, dash) for s, color, dash in rows]


def with_layout(figure: go.Figure, height: int, legend: bool = False, **layout: Any) -> go.Figure:
    """Return a figure in the style of the page: quiet axes, a legend below where there is one."""
    axis = {"linecolor": QUIET, "tickcolor": QUIET, "ticklen": 4, "title_font_size": 12, "title_standoff": 8}
    figure.update_xaxes(**axis)
    figure.update_yaxes(showgrid=True, gridcolor=RULE, **axis)
    figure.update_annotations(font_size=12)
    lines = legend_lines(figure) if legend else 0
    below = {"orientation": "h", "x": 0, "y": 0, "yanchor": "bottom", "yref": "container", "traceorder": "normal"}
    defaults = {"margin": {"l": 60, "r": 20, "t": 30, "b": 45 + 22 * lines}}
    figure.update_layout(defaults | {"template": "simple_white", "width": WIDTH, "height": height + 22 * lines})
    return figure.update_layout(showlegend=legend, legend=below, font=FONT, **layout)


def legend_lines(figure: go.Figure) -> int:
    """Estimate how many lines the legend of a figure takes."""
    names = [trace.name for trace in figure.data if trace.name and trace.showlegend is not False]
    return math.ceil(sum(60 + 6.5 * len(name) for name in names) / (WIDTH - 80))


def error_intervals(board: Board, best: Sequence[Highlight], unit: str) -> go.Figure:
    """Return the error and interval of each configuration, the best on top; filled where tied with the leader."""
    shown = board.standings[:MOST_INTERVALS]
    colors = {id(one.configuration): one.color for one in best}
    figure = go.Figure()
    for row, standing in enumerate(shown):
        one, tied = standing.configuration, standing.tied or standing.rank == 1
        color = colors.get(id(one), TIE if tied else QUIET)
        lower, upper = one.interval or (one.mae, one.mae)
        ends = {"array": [upper - one.mae], "arrayminus": [one.mae - lower]}
        bar = ends | {"color": color, "thickness": 1.5, "width": 0}
        marker = {"color": color if tied else "#fff", "size": 9, "line": {"color": color, "width": 1.6}}
        figure.add_scatter(x=[one.mae], y=[row], error_x=bar, mode="markers", marker=marker, name=one.name)
    figure.add_vline(x=board.leader.mae, line={"color": QUIET, "width": 1, "dash": "dot"}, opacity=1)
    names = [f"{s.configuration.name}  {s.rank}" for s in shown]
    figure.update_yaxes(tickvals=list(range(len(shown))), ticktext=names, range=[len(shown) - 0.4, -0.6])
    title = f"{board.heading} ({unit}), mean over {board.leader.mean}"
    figure.update_xaxes(title_text=f"{title}, with 95% interval" if board.leader.interval else title)
    return with_layout(figure, 90 + 21 * len(shown))


def learning_curves(
    panels: Mapping[str, Sequence[tuple[Configuration, Floats]]], best: Sequence[Highlight], unit: str, heading: str
) -> go.Figure:
    """Return the error by epoch, a panel for each group of runs, all others pale behind; the best in their colours."""
    names = list(panels)[:MOST_PANELS]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = make_subplots(
        rows, columns, shared_xaxes="all", shared_yaxes="all", subplot_titles=names,
        horizontal_spacing=0.02, vertical_spacing=min(0.1, 0.3 / rows),
    )  # fmt: skip
    styles = {id(one.configuration): {"line": one.style["line"]} for one in best}
    histories = [history for runs in panels.values() for _, history in runs]
    every_run = with_gaps(histories)
    for i, name in enumerate(names):
        others = with_gaps([history for one, history in panels[name] if id(one) not in styles])
        lines: list[tuple[Floats, dict[str, Any]]] = [(every_run, {"line": {"color": RULE, "width": 1}})]
        lines += [(others, {"line": {"color": INK, "width": 1}, "opacity": 0.6})]
        lines += [(history, styles[id(one)]) for one, history in reversed(panels[name]) if id(one) in styles]
        for (epochs, errors), style in ((history.T, style) for history, style in lines):
            figure.add_scatter(x=epochs, y=errors, mode="lines", row=i // columns + 1, col=i % columns + 1, **style)
    errors = every_run[:, 1][np.isfinite(every_run[:, 1])]
    lower, upper = float(errors.min()), float(np.quantile(errors, CUT if len(histories) >= CUT_FROM else 1))
    margin = 0.05 * (upper - lower) or 1.0
    figure.update_yaxes(range=[lower - margin, upper + margin])
    figure.update_yaxes(title_text=f"{heading} ({unit})", col=1)
    figure.update_xaxes(title_text="epoch", row=rows)
    if max(history[-1, 0] for history in histories) <= 10:
        figure.update_xaxes(dtick=1)
    return with_layout(figure, 80 + 190 * rows)


def with_gaps(histories: Sequence[Floats]) -> Floats:
    """Return histories (epochs, 2) of several runs as one line (points, 2), with NaN after each."""
    return np.concatenate([np.empty((0, 2)), *(np.append(history, [[np.nan] * 2], 0) for history in histories)])


def error_by_target(best: Sequence[Highlight]) -> go.Figure:
    """Return the mean absolute error in bins of the true target of each axis, above the number of images in them."""
    first = best[0].configuration.seeds[0]
    axes = first.meaning["axes"][:MOST_AXES]
    figure = make_subplots(
        2, len(axes), shared_xaxes=True, row_heights=[0.8, 0.2], vertical_spacing=0.03, horizontal_spacing=0.06,
        subplot_titles=[axis["name"] for axis in axes],
    )  # fmt: skip
    for i, axis in enumerate(axes):
        unit, targets = axis["unit"] or "own unit", first.values["target"][:, i]
        edges = bins(targets, wanted=14)
        middles = (edges[1:] + edges[:-1]) / 2
        index = np.clip(np.searchsorted(edges, targets, "right") - 1, 0, len(middles) - 1)
        counts = np.bincount(index, minlength=len(middles))
        for one in best:
            sums = np.bincount(index, one.configuration.axis_errors[:, i], len(middles))
            means = np.where(counts >= FEWEST, sums / np.maximum(counts, 1), np.nan)
            dots = {"mode": "lines+markers", "marker": {"size": 4}, "showlegend": i == 0}
            figure.add_scatter(x=middles, y=means, row=1, col=i + 1, **dots, **one.style)
        figure.add_bar(x=middles, y=counts, marker_color=PALE, showlegend=False, row=2, col=i + 1)
        figure.update_xaxes(title_text=f"true {axis['name']} ({unit})", row=2, col=i + 1)
        figure.update_yaxes(title_text=f"MAE ({unit})", row=1, col=i + 1, rangemode="tozero")
    figure.update_yaxes(title_text="images", row=2, col=1)
    return with_layout(figure, 420, legend=True, bargap=0.08)


def error_distribution(best: Sequence[Highlight], unit: str) -> go.Figure:
    """Return the share of the images with at most an error, for each of the best."""
    figure = go.Figure()
    shares = np.linspace(0, 1, 201)
    for one in best:
        figure.add_scatter(x=np.quantile(one.configuration.errors, shares), y=shares, mode="lines", **one.style)
    greatest = max(float(np.quantile(one.configuration.errors, 0.99)) for one in best)
    figure.update_xaxes(title_text=f"error of an image ({unit}), mean over axes", range=[0, greatest or 1.0])
    figure.update_yaxes(title_text="share of images with at most this error", range=[0, 1.01], tickformat=".0%")
    return with_layout(figure, 360, legend=True)


def pit(one: Configuration) -> Floats:
    """Return the probability integral transform of all images, axes and seeds: the posterior probability below the target."""
    return np.concatenate([seed.values["pit"].ravel() for seed in one.seeds])


def coverage(one: Configuration, nominal: Floats) -> Floats:
    """Return the share of the targets in central intervals of the posterior, of nominal probabilities (k,)."""
    distance = np.sort(2 * np.abs(pit(one) - 0.5))
    return np.searchsorted(distance, nominal, "right") / len(distance)


def calibration(best: Sequence[Highlight]) -> go.Figure:
    """Return a histogram of the probability below the target for each of the best, and the coverage of central intervals."""
    columns = len(best)
    specs: list[list[Any]] = [[{}] * columns, [{"colspan": columns}] + [None] * (columns - 1)]
    figure = make_subplots(
        2, columns, specs=specs, row_heights=[0.32, 0.68], vertical_spacing=0.15, horizontal_spacing=0.03,
        subplot_titles=[one.label.partition("  ")[0] for one in best],
    )  # fmt: skip
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    heights = [np.histogram(pit(one.configuration), edges, density=True)[0] for one in best]
    for i, (one, height) in enumerate(zip(best, heights, strict=True), 1):
        middles = (edges[1:] + edges[:-1]) / 2
        figure.add_bar(x=middles, y=height, marker_color=one.color, showlegend=False, row=1, col=i)
        figure.add_hline(y=1, line={"color": INK, "width": 1, "dash": "dot"}, opacity=1, row=1, col=i)
        figure.update_yaxes(range=[0, 1.05 * np.max(heights)], showticklabels=i == 1, row=1, col=i)
    figure.update_yaxes(title_text="density", row=1, col=1)
    figure.update_xaxes(tickvals=[0, 0.5, 1], title_text="probability below the target", row=1)
    nominal = np.linspace(0, 1, 101)
    lines = [(nominal, {"line": {"color": PALE, "width": 5}, "name": "calibrated"})]
    lines += [(coverage(one.configuration, nominal), one.style) for one in best]
    for shares, style in lines:
        figure.add_scatter(x=nominal, y=shares, mode="lines", row=2, col=1, **style)
    figure.update_xaxes(title_text="nominal probability of the interval", tickformat=".0%", row=2, col=1)
    figure.update_yaxes(title_text="targets in it", tickformat=".0%", range=[0, 1.02], row=2, col=1)
    return with_layout(figure, 560, legend=True, bargap=0.04)
