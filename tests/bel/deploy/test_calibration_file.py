"""The file of a calibration: what is read from it."""

import pytest

from bel.deploy.calibration_file import checked

FACTS = {"level": 0.9, "axes": ["age"], "quantiles": [0.0], "temperatures": None, "epoch": 1, "measured": {}}


def test_an_interval_of_no_width_is_read():
    """Whole levels that are all right have the quantile 0."""
    assert checked(FACTS) == FACTS
    for wrong in ({"quantiles": [-1.0]}, {"temperatures": [0.0]}, {"temperatures": [1.0, 1.0]}, {"temperatures": []}):
        with pytest.raises(ValueError, match="are not what they should be"):
            checked(FACTS | wrong)
