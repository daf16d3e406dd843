"""Paired differences over groups: the interval is Student's, and little data is said to be little."""

import math

import pytest
import torch
from scipy import stats

from results.analysis.statistics import paired_difference


def errors(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_interval_is_that_of_a_paired_t_test():
    ours, theirs = errors(4.1, 5.0, 3.9, 6.2, 4.4, 5.1, 4.0), errors(3.9, 4.1, 4.0, 5.5, 4.1, 4.6, 4.0)
    difference = paired_difference(ours, theirs)
    test = stats.ttest_rel(ours.numpy(), theirs.numpy())
    assert difference.mean == pytest.approx((ours - theirs).mean().item())
    assert difference.interval == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert (difference.interval[0] > 0) == (test.pvalue < 0.05) == (difference.verdict == "worse")


def test_verdicts():
    base = errors(4, 5, 3, 6, 4, 5)
    noise = errors(0.1, -0.1, 0.05, -0.05, 0.02, -0.02)
    assert paired_difference(base + 1 + noise, base).verdict == "worse"
    assert paired_difference(base - 1 + noise, base).verdict == "better"
    assert paired_difference(base + noise, base).verdict == "no difference shown"
    assert paired_difference(base, base).verdict == "no difference shown"


def test_below_six_groups_and_without_numbers_nothing_is_said():
    five = errors(1, 2, 3, 4, 5)
    assert paired_difference(five + 10, five).verdict == "cannot tell" and paired_difference(five + 10, five).mean == 10
    broken = errors(1, 2, 3, 4, 5, math.nan)
    assert paired_difference(broken, errors(1, 2, 3, 4, 5, 6)).verdict == "cannot tell"


def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    generator = torch.Generator().manual_seed(0)
    hits = 0
    for _ in range(1000):
        base = 4 + torch.randn(17, generator=generator, dtype=torch.float64)
        other = base + 0.3 + 0.5 * torch.randn(17, generator=generator, dtype=torch.float64)
        low, high = paired_difference(other, base).interval
        hits += low <= 0.3 <= high
    assert 930 <= hits <= 970
