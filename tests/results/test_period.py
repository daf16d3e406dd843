"""Angles that wrap, as results read them from a run: every error is the shorter way round."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bel.angles import Axis
from bel.run_layout import PREDICTIONS
from bel.training.evaluate import constant_median
from results.analysis.configurations import configurations
from results.analysis.pairwise import comparison
from results.commands import main as command
from results.store import predictions
from tests.results.made import evaluation_of, run_with, stored_sweep

ROLL = Axis("roll", -180, 360, 72, "deg", period=360)
GROUPS = np.repeat(np.arange(8), 5)
TARGETS = np.linspace(-180, 171, 40)[:, None]  # all round the circle


def turned(error, axis=ROLL):
    """An evaluation whose predictions are `error` degrees beyond the targets, wrapped."""
    by_image = error + 0.01 * GROUPS[:, None]
    found = evaluation_of({"expected": np.zeros((40, 1))}, GROUPS, targets=TARGETS, axes=(axis,))
    return replace(found, predictions={"expected": ROLL.wrap(found.targets + torch.from_numpy(by_image))})


def test_an_evaluation_measures_the_shorter_way_round():
    found = turned(12)
    assert found.predictions["expected"].min() < -170 and (found.predictions["expected"] - found.targets).min() < -300
    assert found.errors("expected")[:, 0].numpy() == pytest.approx(12 + 0.01 * GROUPS)
    assert found.mae("expected") == pytest.approx(12.035) and found.mae_groups("expected") == pytest.approx(12.035)
    assert found.metrics("val")["val/mae_groups_roll"] == pytest.approx(12.035)


def test_the_constant_to_beat_is_the_circular_median():
    train = torch.tensor([[178.0], [-179], [-177], [179], [100]], dtype=torch.float64)
    found = constant_median(train, turned(0))
    assert set(found.predictions["median"][:, 0].tolist()) == {179}
    assert found.mae("median") == pytest.approx(90, abs=1)
    other = constant_median(train, turned(0, replace(ROLL, period=None)))
    assert set(other.predictions["median"][:, 0].tolist()) == {100}  # as it was


def test_a_stored_run_carries_its_period_and_one_without_has_none(tmp_path):
    for axis, error in ((ROLL, 12.035), (replace(ROLL, period=None), None)):
        evaluation = turned(12, axis)
        predictions.write(evaluation, tmp_path / PREDICTIONS["val"])
        found = predictions.read(tmp_path / PREDICTIONS["val"])
        assert ("period" in found.meaning["axes"][0]) == bool(axis.period) and found.periods == [axis.period]
        assert json.dumps(found.meaning) == json.dumps(evaluation.meaning())
        assert found.errors() == pytest.approx(evaluation.errors("expected").numpy())
        assert found.mean_errors().mean() == (
            pytest.approx(error) if error else pytest.approx(20.4, abs=0.1)
        )  # one of 40 images crosses


@pytest.mark.parametrize("period", [0, -360, "360", float("nan"), float("inf"), None, [360]])
def test_a_period_that_is_none_is_refused(period):
    meaning = turned(1).meaning()
    meaning["axes"][0]["period"] = period
    with pytest.raises((ValueError, TypeError)):
        predictions.checked(meaning)


def test_configurations_are_compared_round_the_circle(tmp_path):
    runs = [run_with(tmp_path, f"{code}-72 ce lr=1e-4 s0", turned(error), params={"code": code})
            for code, error in (("j", 12), ("u", -15))]  # fmt: skip
    found = configurations(runs)
    assert {one.name: one.mae for one in found} == pytest.approx({"j-72 ce lr=1e-4": 12.035, "u-72 ce lr=1e-4": 14.965})
    assert all(one.interval[1] - one.interval[0] < 0.1 for one in found)
    result = comparison(found, "val")
    assert result["differences"][0]["mean"] == pytest.approx(2.93)
    assert all(part["mae"] == pytest.approx([12, 15], abs=0.1) for part in result["by_angle"]["roll"])
    (pair,) = result["agreement"]
    assert pair["apart"]["roll"] == pytest.approx(27) and pair["correlation"]["roll"] == pytest.approx(1)


@pytest.mark.slow
def test_every_command_reads_a_sweep_of_angles_that_wrap(store, capsys):
    ids = stored_sweep("rolls", {"j": turned(12), "u": turned(15)})
    for arguments in (["leaderboard", "rolls"], ["compare", *ids], ["report", "rolls"]):
        assert command.main(arguments) == 0
    out = capsys.readouterr().out
    assert "12.035" in out and "15.035" in out and "+3.000" in out
    worst = [float(word) for word in out.split() if word.replace(".", "").isdigit() and "." in word]
    assert max(worst) < 100  # nowhere an error the long way round
