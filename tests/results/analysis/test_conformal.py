"""Quantiles over groups: equal to their definition, and their coverage of new groups in repeated draws."""

import numpy as np
import pytest

from results.analysis.conformal import greatest_level, grouped_quantile, least_groups, pooled_share


def by_definition(scores, groups, level):
    """The least score with enough mass at or below it: each group 1 / (K + 1), evenly over its images."""
    names = np.unique(groups)
    for score in np.sort(scores):
        mass = sum(np.mean(scores[groups == name] <= score) for name in names) / (len(names) + 1)
        if mass >= level - 1e-9:
            return score
    return np.inf


@pytest.mark.parametrize("count", [1, 8, 9, 10, 23])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_the_quantile_is_the_least_score_with_enough_mass_below(count, level):
    random = np.random.default_rng(count)
    groups = np.repeat(np.arange(count), random.integers(1, 9, count)).astype(str)
    scores = random.exponential(size=(len(groups), 2)).round(1)  # with ties
    wanted = [by_definition(column, groups, level) for column in scores.T]
    assert grouped_quantile(scores, groups, pooled_share(count, level)).tolist() == wanted
    assert np.isfinite(wanted).all() == (count >= least_groups(level))


@pytest.mark.parametrize(("level", "least"), [(0.5, 1), (0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_fewer_groups_than_a_level_needs_give_no_interval(level, least):
    assert least_groups(level) == least and greatest_level(least) == pytest.approx(level)
    scores = np.ones((least, 1))
    assert np.isfinite(grouped_quantile(scores, np.arange(least).astype(str), pooled_share(least, level))).all()
    assert pooled_share(least, level) == pytest.approx(1)
    if least > 1:
        share = pooled_share(least - 1, level)
        assert np.isinf(grouped_quantile(scores[1:], np.arange(least - 1).astype(str), share)).all()


def drawn(random, groups):
    """Errors of images (n,) that are mostly those of their group, and the groups (n,), of very different sizes."""
    sizes = random.integers(1, 30, groups)
    names = np.repeat(np.arange(groups), sizes)
    own = np.exp(random.normal(size=groups))[names]
    return (own * random.uniform(0.9, 1.1, len(names)))[:, None], names.astype(str)


@pytest.mark.parametrize("count", [9, 29])
def test_an_interval_of_90_percent_holds_90_percent_of_new_groups(count):
    random = np.random.default_rng(0)
    covered = []
    for _ in range(2500):
        scores, groups = drawn(random, count)
        new, _ = drawn(random, 1)
        covered.append(np.mean(new <= grouped_quantile(scores, groups, pooled_share(count, 0.9))))
    assert 0.88 <= np.mean(covered) <= 0.93
