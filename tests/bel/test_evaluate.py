import pytest
import torch

from bel.angles import Axis
from bel.evaluate import Evaluation, constant_median, overall, unit

YAW, PITCH = Axis("yaw", -90, 180, 180), Axis("pitch", -90, 180, 180)
DISTANCE = Axis("distance", 60, 160, 160, unit="cm")


def test_errors_of_one_unit_are_averaged_in_it():
    assert unit([YAW, PITCH]) == "deg" and overall(torch.tensor([1.0, 3.0]), [YAW, PITCH]) == 2


def test_errors_of_several_units_are_averaged_in_per_cent_of_each_range():
    assert unit([YAW, DISTANCE]) == "% of range"
    assert overall(torch.tensor([9.0, 16.0]), [YAW, DISTANCE]) == pytest.approx((5 + 10) / 2)


def test_metrics_by_axis_stay_in_its_unit():
    targets, predictions = torch.tensor([[0.0, 100], [10, 100]]), torch.tensor([[9.0, 116], [1, 84]])
    evaluation = Evaluation((YAW, DISTANCE), ["a", "b"], ["a", "b"], targets, {"expected": predictions})
    metrics = evaluation.metrics("val")
    assert metrics["val/mae_yaw"] == 9 and metrics["val/mae_distance"] == 16
    assert metrics["val/mae"] == metrics["val/expected/mae"] == pytest.approx(7.5)
    median = constant_median(torch.tensor([[0.0, 100], [4, 90], [5, 110]]), evaluation)
    assert median.errors("median").tolist() == [[4, 0], [6, 0]]


def test_targets_of_no_said_unit_are_not_mixed():
    age, income = Axis("age", 0, 100, 100, unit=""), Axis("income", 0, 100_000, 100, unit="")
    assert unit([age]) == "" and unit([age, income]) == "% of range"
    assert overall(torch.tensor([5.0, 900.0]), [age, income]) == pytest.approx((5 + 0.9) / 2)
