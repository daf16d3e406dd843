import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from bel.angles import Axis
from bel.training.evaluate import Evaluation, constant_median, overall, unit

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


def test_errors_of_rotations_are_angles_between_them_and_their_columns():
    generator = torch.Generator().manual_seed(0)
    targets, predictions = (80 * torch.rand(50, 3, generator=generator, dtype=torch.float64) - 40 for _ in range(2))
    axes = (Axis("pitch", -90, 180, 180), Axis("yaw", -90, 180, 180), Axis("roll", -90, 180, 180))  # any order
    evaluation = Evaluation(axes, ["a"] * 50, ["a"] * 50, targets, {"expected": predictions}, pose=True)
    by_hand = {"geodesic": [], "column_x": [], "column_y": [], "column_z": []}
    for ours, true in zip(predictions.tolist(), targets.tolist(), strict=True):
        a, b = (Rotation.from_euler("XYZ", [-pitch, yaw, roll], degrees=True) for pitch, yaw, roll in (ours, true))
        by_hand["geodesic"].append(np.degrees((a * b.inv()).magnitude()))
        for i, name in enumerate(("column_x", "column_y", "column_z")):
            cosine = a.as_matrix()[:, i] @ b.as_matrix()[:, i]
            by_hand[name].append(np.degrees(np.arccos(cosine)))
    metrics = evaluation.metrics("test")
    for name, values in by_hand.items():
        assert metrics[f"test/{name}"] == pytest.approx(np.mean(values), abs=1e-6)
    exact = Evaluation(axes, ["a"] * 50, ["a"] * 50, targets, {"expected": targets.clone()}, pose=True)
    assert exact.metrics("test")["test/geodesic"] == 0


def test_rotations_are_only_compared_where_the_targets_are_a_pose():
    targets = torch.tensor([[0.0, 100.0]])
    evaluation = Evaluation((YAW, DISTANCE), ["a"], ["a"], targets, {"expected": targets})
    assert not any("geodesic" in name for name in evaluation.metrics("val"))


def test_targets_of_no_said_unit_are_not_mixed():
    age, income = Axis("age", 0, 100, 100, unit=""), Axis("income", 0, 100_000, 100, unit="")
    assert unit([age]) == "" and unit([age, income]) == "% of range"
    assert overall(torch.tensor([5.0, 900.0]), [age, income]) == pytest.approx((5 + 0.9) / 2)
