"""Bins of targets, and what JSON cannot hold; what is measured in them is in `test_comparison`."""

import math

import numpy as np

from results.analysis.pairwise import bins, correlation, plain, rows_of


def test_a_target_on_an_edge_is_in_the_bin_above_and_the_greatest_in_the_last():
    targets = np.array([-4.0, -3.0, 0.0, 0.5, 3.5, 4.0])
    found = [(low, high, int(rows.sum())) for low, high, rows in rows_of(targets, bins(targets))]
    assert found == [(-4, -3, 1), (-3, -2, 1), (0, 1, 2), (3, 4, 2)]
    one = np.full(3, 7.0)
    assert [(low, high, int(rows.sum())) for low, high, rows in rows_of(one, bins(one))] == [(7, 7, 3)]


def test_bins_have_round_edges_and_are_about_eight():
    for low, high in ((-75, 75), (0, 100), (-0.4, 0.5), (1e5, 3e6), (16, 62)):
        edges = bins(np.array([low, high], dtype=float))
        assert 6 <= len(edges) - 1 <= 11 and edges[0] <= low and edges[-1] >= high
        assert np.allclose(np.diff(edges), edges[1] - edges[0])
        assert 10 <= len(bins(np.array([low, high], dtype=float), 14)) - 1 <= 20


def test_what_does_not_vary_has_no_correlation_and_no_number_is_null():
    assert (
        math.isnan(correlation(np.ones(5), np.arange(5.0)))
        and round(correlation(np.arange(5.0), -np.arange(5.0)), 9) == -1
    )
    assert plain({"a": [math.nan, (1.5, math.inf)], "b": "x"}) == {"a": [None, [1.5, None]], "b": "x"}
