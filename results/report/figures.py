"""The figures of a report that show errors: of configurations, by epoch, by angle, how they are spread and foretold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
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
MOST_DOTS, MOST_PANELS, MOST_AXES, FEWEST = 30, 12, 4, 10  # FEWEST images in a bin that is shown


@dataclass(frozen=True)
class Marked:
    """One of the best configurations, with the colour and the dash that it has in every figure."""

    configuration: Configuration
    label: str
    color: str
    dash: str

    @property
    def line(self) -> dict[str, Any]:
        """How its line is drawn."""
        return {"color": self.color, "dash": self.dash, "width": 2}


def marked(board: Board) -> list[Marked]:
    """The first configurations of a table, one for each colour."""
    pairs = zip(board.standings, COLORS, DASHES, strict=False)
    return [Marked(s.configuration, f"{s.rank}  {s.configuration.name}", color, dash) for s, color, dash in pairs]


def styled(figure: go.Figure, height: int, legend: bool = False, **layout: Any) -> go.Figure:
    """A figure in the look of the page: quiet axes, a legend below where there is one."""
    axis = {"gridcolor": RULE, "linecolor": QUIET, "ticks": "outside", "tickcolor": QUIET, "zeroline": False}
    axis |= {"showline": True, "ticklen": 4, "automargin": True}
    axis |= {"title_font_size": 12, "title_standoff": 8}
    figure.update_xaxes(showgrid=False, **axis)
    figure.update_yaxes(showgrid=True, **axis)
    figure.update_annotations(font_size=12)
    lines = legend_lines(figure) if legend else 0
    margin = {"l": 60, "r": 20, "t": 30, "b": 45 + 22 * lines} | layout.pop("margin", {})
    below = {"orientation": "h", "x": 0, "y": 0, "yanchor": "bottom", "yref": "container", "traceorder": "normal"}
    return figure.update_layout(
        width=WIDTH,
        height=height + 22 * lines,
        showlegend=legend,
        legend=below,
        font=FONT,
        paper_bgcolor="#fff",
        plot_bgcolor="#fff",
        margin=margin,
        **layout,
    )


def legend_lines(figure: go.Figure) -> int:
    """About how many lines the legend of a figure takes."""
    names = [trace.name for trace in figure.data if trace.name and trace.showlegend is not False]
    return math.ceil(sum(60 + 6.5 * len(name) for name in names) / (WIDTH - 80))


def dots(board: Board, best: Sequence[Marked], unit: str) -> go.Figure:
    """Error and interval of each configuration, the best on top; filled where tied with the leader."""
    shown = board.standings[:MOST_DOTS]
    colors = {id(one.configuration): one.color for one in best}
    figure = go.Figure()
    for place, standing in enumerate(shown):
        one, tied = standing.configuration, standing.tied or standing.rank == 1
        color = colors.get(id(one), TIE if tied else QUIET)
        if one.interval:
            figure.add_scatter(x=list(one.interval), y=[place] * 2, mode="lines", line={"color": color, "width": 1.5})
        marker = {"color": color if tied else "#fff", "size": 9, "line": {"color": color, "width": 1.6}}
        figure.add_scatter(x=[one.mae], y=[place], mode="markers", marker=marker, name=one.name)
    figure.add_vline(x=board.leader.mae, line={"color": QUIET, "width": 1, "dash": "dot"})
    names = [f"{s.configuration.name}  {s.rank}" for s in shown]
    figure.update_yaxes(tickvals=list(range(len(shown))), ticktext=names, range=[len(shown) - 0.4, -0.6])
    ends = [end for s in shown for end in (s.configuration.interval or (s.configuration.mae,))]
    room = 0.03 * (max(ends) - min(ends)) or 1.0
    figure.update_xaxes(range=[min(ends) - room, max(ends) + room])
    title = f"{board.heading} ({unit}), mean over {board.leader.mean}"
    figure.update_xaxes(title_text=f"{title}, with 95% interval" if board.leader.interval else title)
    return styled(figure, 90 + 21 * len(shown))


def curves(
    groups: Mapping[str, Sequence[tuple[Configuration, Floats]]], best: Sequence[Marked], unit: str, heading: str
) -> go.Figure:
    """Error by epoch, a panel for each group of runs, all others pale behind; the best in their colours."""
    names = list(groups)[:MOST_PANELS]
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure = make_subplots(
        rows, columns, shared_xaxes="all", shared_yaxes="all", subplot_titles=names,
        horizontal_spacing=0.02, vertical_spacing=min(0.1, 0.3 / rows),
    )  # fmt: skip
    lines = {id(one.configuration): one for one in best}
    everything = [history for runs in groups.values() for _, history in runs]
    behind = broken(everything)
    for i, name in enumerate(names):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        figure.add_scatter(x=behind[0], y=behind[1], mode="lines", line={"color": RULE, "width": 1}, **place)
        own = broken([history for one, history in groups[name] if id(one) not in lines])
        figure.add_scatter(x=own[0], y=own[1], mode="lines", line={"color": INK, "width": 1}, opacity=0.6, **place)
        for one, history in reversed(groups[name]):
            if id(one) in lines:
                steps, values = history.T
                figure.add_scatter(x=steps, y=values, mode="lines", line=lines[id(one)].line, **place)
    values = np.concatenate([history[:, 1] for history in everything])
    top = float(np.quantile(values, CUT if len(everything) >= CUT_FROM else 1))
    low = float(values.min())
    room = 0.05 * (top - low) or 1.0
    figure.update_yaxes(range=[low - room, top + room])
    figure.update_yaxes(title_text=f"{heading} ({unit})", col=1)
    figure.update_xaxes(title_text="epoch", row=rows)
    if max(history[-1, 0] for history in everything) <= 10:
        figure.update_xaxes(dtick=1)
    return styled(figure, 80 + 190 * rows)


def broken(histories: Sequence[Floats]) -> tuple[list[float | None], list[float | None]]:
    """Histories (epochs, 2) of several runs as one line with gaps."""
    x: list[float | None] = []
    y: list[float | None] = []
    for history in histories:
        x += [*history[:, 0].tolist(), None]
        y += [*history[:, 1].tolist(), None]
    return x, y


def by_target(best: Sequence[Marked]) -> go.Figure:
    """Mean absolute error in bins of the true target of each axis, and below how many images the bins have."""
    first = best[0].configuration.seeds[0]
    axes = first.meaning["axes"][:MOST_AXES]
    figure = make_subplots(
        2, len(axes), shared_xaxes=True, row_heights=[0.8, 0.2], vertical_spacing=0.03, horizontal_spacing=0.06,
        subplot_titles=[axis["name"] for axis in axes],
    )  # fmt: skip
    for i, axis in enumerate(axes):
        edges = bins(first.values["target"][:, i], wanted=14)
        middles = (edges[1:] + edges[:-1]) / 2
        index = np.clip(np.searchsorted(edges, first.values["target"][:, i], "right") - 1, 0, len(middles) - 1)
        counts = np.bincount(index, minlength=len(middles))
        for one in best:
            sums = np.bincount(index, one.configuration.axis_errors[:, i], len(middles))
            means = np.where(counts >= FEWEST, sums / np.maximum(counts, 1), np.nan)
            figure.add_scatter(
                x=middles, y=means, mode="lines+markers", line=one.line, marker={"size": 4}, name=one.label,
                showlegend=i == 0, row=1, col=i + 1,
            )  # fmt: skip
        figure.add_bar(x=middles, y=counts, marker_color=PALE, showlegend=False, row=2, col=i + 1)
        figure.update_xaxes(title_text=f"true {axis['name']} ({axis['unit'] or 'own unit'})", row=2, col=i + 1)
        figure.update_yaxes(title_text=f"MAE ({axis['unit'] or 'own unit'})", row=1, col=i + 1, rangemode="tozero")
    figure.update_yaxes(title_text="images", row=2, col=1)
    return styled(figure, 420, legend=True, bargap=0.08)


def spread(best: Sequence[Marked], unit: str) -> go.Figure:
    """Share of the images with at most an error, for each of the best."""
    figure = go.Figure()
    shares = np.linspace(0, 1, 201)
    for one in best:
        values = np.quantile(one.configuration.errors, shares)
        figure.add_scatter(x=values, y=shares, mode="lines", line=one.line, name=one.label)
    top = max(float(np.quantile(one.configuration.errors, 0.99)) for one in best)
    figure.update_xaxes(title_text=f"error of an image ({unit}), mean over axes", range=[0, top or 1.0])
    figure.update_yaxes(title_text="share of images with at most this error", range=[0, 1.01], tickformat=".0%")
    return styled(figure, 360, legend=True)


def pit(one: Configuration) -> NDArray[np.float64]:
    """Posterior probabilities below the target of all images, axes and seeds."""
    return np.concatenate([seed.values["pit"].ravel() for seed in one.seeds])


def covered(one: Configuration, nominal: Floats) -> Floats:
    """Share of the targets in central intervals of nominal probabilities (k,) of the posterior."""
    distance = np.sort(2 * np.abs(pit(one) - 0.5))
    return np.searchsorted(distance, nominal, "right") / len(distance)


def calibration(best: Sequence[Marked], count: int = 20) -> go.Figure:
    """Histograms of the probability below the target, one a configuration, and coverage of central intervals."""
    columns = len(best)
    specs: list[list[Any]] = [[{}] * columns, [{"colspan": columns}] + [None] * (columns - 1)]
    figure = make_subplots(
        2, columns, specs=specs, row_heights=[0.32, 0.68], vertical_spacing=0.15, horizontal_spacing=0.03,
        subplot_titles=[one.label.partition("  ")[0] for one in best],
    )  # fmt: skip
    edges = np.linspace(0, 1, count + 1)
    heights = [np.histogram(pit(one.configuration), edges, density=True)[0] for one in best]
    for i, (one, height) in enumerate(zip(best, heights, strict=True)):
        figure.add_bar(
            x=(edges[1:] + edges[:-1]) / 2, y=height, marker_color=one.color, showlegend=False, row=1, col=i + 1
        )
        figure.add_hline(y=1, line={"color": INK, "width": 1, "dash": "dot"}, row=1, col=i + 1)
        figure.update_yaxes(range=[0, 1.05 * max(map(max, heights))], showticklabels=i == 0, row=1, col=i + 1)
    figure.update_yaxes(title_text="density", row=1, col=1)
    figure.update_xaxes(tickvals=[0, 0.5, 1], title_text="probability below the target", row=1)
    nominal = np.linspace(0, 1, 101)
    figure.add_scatter(
        x=nominal, y=nominal, mode="lines", line={"color": PALE, "width": 5}, name="calibrated", row=2, col=1
    )
    for one in best:
        values = covered(one.configuration, nominal)
        figure.add_scatter(x=nominal, y=values, mode="lines", line=one.line, name=one.label, row=2, col=1)
    figure.update_xaxes(title_text="nominal probability of the interval", tickformat=".0%", row=2, col=1)
    figure.update_yaxes(title_text="targets in it", tickformat=".0%", range=[0, 1.02], row=2, col=1)
    return styled(figure, 560, legend=True, bargap=0.04)
