"""What configurations differ in, and its importance."""

import numpy as np
import pytest

from results.analysis.leaderboard import boards
from results.report.hyperparameters import ENCODING, Hyperparameter, dimension, importances, varied_hyperparameters


def test_what_varies_is_what_the_space_says(swept_runs):
    (board,) = boards(swept_runs[1])
    found = [standing.configuration for standing in board.standings]
    columns = {column.name: column for column in varied_hyperparameters(found)}
    assert set(columns) >= {ENCODING, "code_bits", "loss"} and not {"head", "code", "seed", "cache_dir"} & set(columns)
    assert set(columns[ENCODING].choices) == {"u", "hex16", "direct", "classification"}
    assert all(column.conditional == (None in column.values) for column in columns.values())


def test_a_field_knows_its_scale():
    rate = Hyperparameter("lr", ["1e-3", "1e-4", "1e-3", None])
    assert rate.numeric and rate.logarithmic and rate.choices == ["1e-4", "1e-3"]
    assert rate.numbers()[:3] == pytest.approx([-3, -4, -3]) and np.isnan(rate.numbers()[3]) and rate.conditional
    assert not Hyperparameter("epochs", ["4", "8"]).logarithmic and not Hyperparameter("loss", ["ce", "4"]).numeric
    assert Hyperparameter("loss", ["l1", "ce", "l1"]).numbers().tolist() == [1, 0, 1]


def test_a_word_among_numbers_is_told_from_a_field_that_is_not_there():
    theta = Hyperparameter("theta", ["10", "none", "5", None])
    assert theta.choices == ["5", "10", "none"] and theta.numbers()[:3].tolist() == [1, 2, 0]
    assert dimension(theta)["ticktext"] == ["(has none)", "5", "10", "none"]


class Known:
    """A configuration of which only the error is known."""

    def __init__(self, mae):
        self.mae = mae


def test_importance_is_of_what_decides():
    draw = np.random.default_rng(0)
    rates, noise = 10 ** draw.uniform(-5, -2, 120), draw.uniform(0, 1, 120)
    found = [Known(abs(np.log10(rate) + 3.5)) for rate in rates]
    columns = [Hyperparameter("lr", [str(x) for x in rates]), Hyperparameter("jitter", [str(x) for x in noise])]
    shares = importances(found, columns)
    assert sum(shares.values()) == pytest.approx(1) and shares["lr"] > 0.9 > shares["jitter"]
