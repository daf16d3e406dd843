"""Whether a race of repeats has the winners of all repeats, on race.json: `python tests/benchmarks/racing.py [--replays 200]`.

Replays the project's own decisions on recorded errors by group: each replay draws the groups with replacement and the
order of each configuration's seeds. Winners are the first row of a leaderboard and its ties. 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from launch.schedule.racing import Floats, mean_over_repeats, race
from results.analysis.ranking import grouped
from results.analysis.statistics import mean_intervals

TABLE = Path(__file__).with_name("race.json")
SAME, SHARE = 0.95, 0.5  # bars: at least so many replays with the same winners, at most this share of the runs


class Replay(NamedTuple):
    """A race beside all repeats: whether the winners are the same, the share of the runs; and of two repeats of each."""

    same: bool
    share: float
    same_of_two: bool


def read(path: Path = TABLE) -> tuple[list[str], Floats]:
    """Return the names of the configurations of a table, and their errors (configurations, repeats, groups)."""
    runs = json.loads(path.read_text())["runs"]
    by_cell = grouped(runs, lambda run: " ".join(str(v) for name, v in run["values"].items() if name != "seed"))
    return list(by_cell), np.array([[run["groups"] for run in cell] for cell in by_cell.values()])


def winners(errors: Floats) -> set[int]:
    """Return the first of a leaderboard of errors (configurations, repeats, groups), NaN where not run, and its ties."""
    means, repeats = mean_over_repeats(errors), (~np.isnan(errors).all(2)).sum(1)
    first = min(range(len(errors)), key=lambda c: (-repeats[c], float(means[c].mean())))
    gaps = mean_intervals(means - means[first], compared=len(errors))
    return {c for c, gap in enumerate(gaps) if c == first or (gap.interval and gap.interval[0] <= 0)}


def raced(errors: Floats) -> Floats:
    """Return the errors of the repeats that a race runs, NaN elsewhere."""
    ended = np.zeros(errors.shape[:2], bool)
    while (decision := race(np.where(ended[..., None], errors, np.nan), ended)).due:
        ended[tuple(np.array(decision.due).T)] = True
    return np.where(ended[..., None], errors, np.nan)


def replay(table: Floats, seed: int) -> Replay:
    """Return one race on groups and orders of the seeds that are drawn."""
    generator = np.random.default_rng(seed)
    groups = generator.integers(0, table.shape[2], table.shape[2])
    order = generator.permuted(np.tile(np.arange(table.shape[1]), (len(table), 1)), axis=1)
    errors = np.take_along_axis(table, order[..., None], axis=1)[..., groups]
    ran, best = raced(errors), winners(errors)
    return Replay(winners(ran) == best, float((~np.isnan(ran).all(2)).mean()), winners(errors[:, :2]) == best)


def main() -> int:
    """Print what races took and found; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=TABLE, help="a table of record_race.py")
    parser.add_argument("--replays", type=int, default=200, help="races, seeds from 0 (%(default)s)")
    arguments = parser.parse_args()
    names, table = read(arguments.table)
    best = winners(table)
    print(f"{table.shape[0]} configurations, {table.shape[1]} repeats, {table.shape[2]} groups")
    for c, one in enumerate(table.mean(2)):
        print(
            f"{'=' if c in best else ' '} {names[c]:<14} {one.mean():7.3f}  seeds {' '.join(f'{e:7.3f}' for e in one)}"
        )
    found = [replay(table, seed) for seed in range(arguments.replays)]
    same, shares = np.mean([one.same for one in found]), np.array([one.share for one in found])
    low, middle, high = np.quantile(shares, [0.05, 0.5, 0.95])
    print(f"{len(found)} replays: the same winners in {same:.1%} (bar {SAME:.0%})")
    print(
        f"share of the runs: mean {shares.mean():.3f}, median {middle:.3f}, 5 to 95 %: {low:.3f} to {high:.3f} (bar {SHARE:g})"
    )
    print(
        f"two repeats of each, {2 / table.shape[1]:g} of the runs: in {np.mean([one.same_of_two for one in found]):.1%}"
    )
    return int(same < SAME or shares.mean() > SHARE)


if __name__ == "__main__":
    sys.exit(main())
