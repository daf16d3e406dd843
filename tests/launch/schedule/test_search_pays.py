"""A search finds the best of a recorded grid for a fraction of its epochs; the long form is tests/benchmarks/search.py."""

from statistics import median

import pytest

from launch.schedule.suggestions import ListSource
from launch.spec.sweep_file import Sweep
from tests.benchmarks import search
from tests.benchmarks.search import BAR, Pool, Table, read, shares


@pytest.fixture(scope="module")
def grid() -> Table:
    """The recorded grid."""
    return read()


def test_the_grid_is_whole_and_worth_searching(grid: Table) -> None:
    assert len(grid.cells) >= 96 and {len(epochs) for epochs in grid.cells.values()} == {grid.longest}
    assert all([entry["epoch"] for entry in epochs] == [*range(1, 10)] for epochs in grid.cells.values())
    last = sorted(epochs[-1]["val/best_mae"] for epochs in grid.cells.values())
    assert last[len(last) // 2] > 1.3 * last[0]
    assert sum(error <= grid.goal for error in last) <= len(last) / 20


def test_tpe_with_asha_needs_a_third_of_the_epochs_and_less_than_random_with_asha(grid: Table) -> None:
    ours = sorted(shares(grid, "tpe", "asha", range(10)))
    others = median(shares(grid, "random", "asha", range(100)))
    assert ours[-2] <= BAR  # nine of ten; the bar wants five, which a study that learns nothing reaches too
    assert median(ours) < 0.75 * others


def test_a_pool_counts_the_epochs_that_were_begun() -> None:
    def epochs(*errors: float) -> list[dict[str, float]]:
        return [{"epoch": i, "val/best_mae": error, "seconds": 1.0} for i, error in enumerate(errors, 1)]

    table = Table({("bce", str(lr), "u"): epochs(9, 8 - i) for i, lr in enumerate((0.1, 0.2, 0.3, 0.4, 0.5, 0.6))})
    sweep: Sweep = search.make_sweep(table, method="grid", trials=None)
    plan = search.make_plan(sweep)
    assert Pool(table, search.make_source(sweep, plan), None).epochs_to(8) == 8  # four workers, two epochs each
    assert Pool(table, search.make_source(sweep, plan), None).epochs_to(table.goal) == 12
    assert Pool(table, ListSource([]), None).epochs_to(8) == float("inf")
