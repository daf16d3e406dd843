"""The picture of average ranks over groups, with the critical difference of the Nemenyi test."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from results.analysis.across import Ranks

BLUE, ORANGE = "#0072b2", "#d55e00"


def draw_ranks(found: Ranks, title: str, path: Path) -> None:
    """Draw the rank of each contender, the best on top, with a bar of half the critical difference to both sides.

    Two contenders differ where their bars do not overlap; those that the first cannot be told from are filled.
    """
    figure = Figure(figsize=(8, 1.1 + 0.24 * len(found.names)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    best, half = found.ranks[0], found.critical / 2
    for place, rank in enumerate(found.ranks):
        tied = rank - best <= found.critical
        axes.plot([rank - half, rank + half], [place, place], color=BLUE, linewidth=2, alpha=0.7)
        axes.plot(rank, place, "o", color=ORANGE, markerfacecolor=ORANGE if tied else "white", markersize=5)
    axes.axvline(best + half, color="grey", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(found.names)), found.names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(
        f"average rank over {found.groups} groups; bars that do not overlap differ (Nemenyi, 95 %)", fontsize=8
    )
    axes.set_title(f"{title} (Friedman p = {found.p:.1e})", fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, metadata={"Software": None})
