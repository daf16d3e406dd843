"""Every regulariser keeps the contract that ships with the package; and one that breaks it is told."""

import itertools

import pytest

from bel.regularisers import REGULARISERS, Regulariser
from bel.testing.regularisers import CHECKS, configs

CONFIGS = [config for name in REGULARISERS for config in configs(name)]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.regulariser}-{c.head}-{len(c.axes)}-{c.axes[0].period}")
@pytest.mark.parametrize("check", CHECKS)
def test_contract(check, config):
    check(config)


class Unfit(Regulariser):
    """A regulariser that breaks the contract in each of its parts: it grows with every call, and has no gradient."""

    weight = -1.0
    calls = itertools.count()

    def __call__(self, features, targets, predictions=None, weights=None):
        different = len(targets[targets[:, 0] != targets[0, 0]])  # a shape that values decide
        return next(self.calls) + 0 * features.sum() / (different or float("nan"))


@pytest.mark.parametrize("check", CHECKS)
def test_a_regulariser_that_breaks_the_contract_is_told(check, monkeypatch):
    monkeypatch.setitem(REGULARISERS, "unfit", Unfit)
    with pytest.raises(AssertionError):
        check(next(configs("unfit")))
