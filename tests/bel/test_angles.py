import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bel.angles import (
    Axis,
    circular,
    circular_median,
    differences,
    euler_to_matrix,
    least_turned,
    matrix_to_euler,
    other_triple,
    with_levels,
    wrap,
    wrap_axes,
)
from bel.data.protocols import PROTOCOLS
from bel.errors import UserError
from bel.heads.rotation6d import gram_schmidt

GOLDEN = Path(__file__).parents[1] / "golden"
LABELS = dict(np.load(GOLDEN / "labels.npz"))
GEOMETRY = dict(np.load(GOLDEN / "geometry.npz"))


def test_euler_angles_and_matrices_are_the_published_pairs():
    np.testing.assert_allclose(euler_to_matrix(GEOMETRY["yaw_pitch_roll"]), GEOMETRY["rotation"], atol=1e-12)
    np.testing.assert_allclose(matrix_to_euler(GEOMETRY["rotation"]), GEOMETRY["yaw_pitch_roll"], atol=1e-9)


def poses(yaw, n=2000):
    """Yaw in a range, pitch and roll within 89 degrees."""
    uniform = torch.rand(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    low, high = torch.tensor([[yaw[0], -89, -89], [yaw[1], 89, 89]], dtype=torch.float64)
    return low + (high - low) * uniform


def six_numbers(euler):
    """First two columns (n, 6) of rotations, as a network may give them: neither of unit length nor at right angles."""
    first, second = euler_to_matrix(euler).unbind(-1)[:2]
    return torch.cat([3 * first, 0.5 * second + 2 * first], dim=-1)


def test_six_numbers_round_trip_euler_angles_below_89_degrees_of_yaw():
    euler = poses((-89, 89))
    back = least_turned(matrix_to_euler(gram_schmidt(six_numbers(euler))))
    torch.testing.assert_close(back, euler, atol=1e-9, rtol=0)


@pytest.mark.parametrize("yaw", [(91, 179), (-179, -91)])
def test_beyond_90_degrees_of_yaw_the_triple_of_least_pitch_and_roll_is_taken(yaw):
    euler = poses(yaw)
    rotation = euler_to_matrix(euler)
    back = least_turned(matrix_to_euler(gram_schmidt(six_numbers(euler))))
    torch.testing.assert_close(euler_to_matrix(back), rotation, atol=1e-12, rtol=0)
    turned = back[:, 1:].abs().sum(1)
    assert (turned <= other_triple(back)[:, 1:].abs().sum(1)).all()
    upright = euler[:, 1:].abs().sum(1) < 179
    torch.testing.assert_close(back[upright], euler[upright], atol=1e-9, rtol=0)


def test_numpy_and_torch_compute_the_same_rotations():
    euler = poses((-170, 170))
    for ours, theirs in [
        (euler_to_matrix(euler), euler_to_matrix(euler.numpy())),
        (matrix_to_euler(euler_to_matrix(euler)), matrix_to_euler(euler_to_matrix(euler.numpy()))),
        (least_turned(euler), least_turned(euler.numpy())),
    ]:
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-9)


def test_biwi_matrices_give_the_published_angles():
    ours = matrix_to_euler(LABELS["biwi_pose_rotation"])
    np.testing.assert_allclose(ours, LABELS["biwi_yaw_pitch_roll"], atol=1e-9)


@pytest.mark.parametrize(
    ("protocol", "angles", "levels"),
    [("biwi", "biwi_yaw_pitch_roll", "biwi_level"), ("aflw2000", "aflw_yaw_pitch_roll", "w300lp_level")],
)
def test_angles_give_the_published_levels(protocol, angles, levels):
    degrees = torch.from_numpy(LABELS[angles])
    ours = torch.stack([axis.to_index(degrees[:, i]) for i, axis in enumerate(PROTOCOLS[protocol].axes)], 1)
    assert torch.equal(ours, torch.from_numpy(LABELS[levels]))


def test_rounding_and_clamping_at_the_edges():
    axis = PROTOCOLS["aflw2000"].axes[0]
    level = axis.to_index(torch.from_numpy(LABELS["edge_degrees"]))
    assert level.tolist() == LABELS["edge_level_w300lp"].tolist()


def test_levels_map_back_to_degrees():
    axis = Axis("yaw", -74, 150, 150)
    assert axis.to_value(torch.tensor([0.0, 74.5])).tolist() == [-74.0, 0.5]
    assert axis.to_level(torch.tensor([-80.0])).item() == -6


@pytest.mark.parametrize(
    ("protocol", "code_bits", "levels"),
    [
        ("biwi", 150, (150, 150, 100)),
        ("biwi", 76, (76, 76, 52)),
        ("biwi", 39, (39, 39, 26)),
        ("biwi", None, (150, 150, 100)),
        ("aflw2000", 52, (52, 52, 52)),
        ("aflw2000", 105, (105, 105, 105)),
    ],
)
def test_code_bits_is_the_number_of_levels_on_the_widest_axis(protocol, code_bits, levels):
    axes = with_levels(PROTOCOLS[protocol].axes, code_bits)
    assert tuple(axis.levels for axis in axes) == levels


def test_one_level_is_refused():
    with pytest.raises(UserError, match="at least 2"):
        with_levels(PROTOCOLS["biwi"].axes, 1)


CIRCLE = Axis("roll", -180, 360, 72, period=360)


def test_values_of_a_circle_wrap_into_its_range():
    values = torch.tensor([-180.0, 180, 179.5, 540, -181, 0, 725], dtype=torch.float64)
    assert CIRCLE.wrap(values).tolist() == [-180, -180, 179.5, -180, 179, 0, 5]
    assert wrap(values.numpy(), -180, 360).tolist() == CIRCLE.wrap(values).tolist()
    assert wrap(np.array([-1e-20, 360 - 1e-20]), 0, 360).tolist() == [0, 0]  # rounding reaches no upper end
    assert wrap(torch.tensor([-1e-9]), 0, 72).tolist() == [0]


def test_what_is_not_finite_is_no_place_of_a_circle():
    values = torch.tensor([math.nan, math.inf, 5.0])
    assert CIRCLE.wrap(values).isnan().tolist() == CIRCLE.to_value(values).isnan().tolist() == [True, True, False]
    assert np.isnan(wrap(np.array([np.nan, 5]), -180, 360)).tolist() == [True, False]


def test_levels_of_a_circle_wrap():
    values = torch.tensor([-180.0, -177.4, 174, 177.4, 177.6, 180, 361], dtype=torch.float64)
    assert CIRCLE.to_index(values).tolist() == [0, 1, 71, 71, 0, 0, 36]
    assert CIRCLE.to_value(torch.tensor([0.0, 71, 72, -1, 36.5])).tolist() == [-180, 175, -180, 175, 2.5]
    turned = with_levels([CIRCLE], 360)[0]
    assert (turned.levels, turned.period, turned.step) == (360, 360, 1)
    assert turned.to_index(torch.tensor([179.4, 179.6, 900.0])).tolist() == [359, 0, 0]


def test_radians_wrap_too():
    axis = Axis("angle", 0, 2 * np.pi, 100, "rad", period=2 * np.pi)
    values = torch.tensor([-0.01, 2 * np.pi, 7.0, 6.2831], dtype=torch.float64)
    assert axis.wrap(values).numpy() == pytest.approx([2 * np.pi - 0.01, 0, 7 - 2 * np.pi, 6.2831])
    assert axis.to_index(values).tolist() == [0, 0, 11, 0]


def test_differences_take_the_shorter_way_round_on_axes_with_a_period_only():
    ours, true = np.array([[350.0, 350], [10, 10], [180, 180]]), np.array([[10.0, 10], [350, 350], [0, 0]])
    expected = [[-20, 340], [20, -340], [180, 180]]
    assert differences(ours, true, [360, None]).tolist() == expected
    assert differences(torch.from_numpy(ours), torch.from_numpy(true), [360, None]).tolist() == expected
    assert circular(torch.tensor([359.0, -359, 181, 720]), 360).tolist() == [-1, 1, -179, 0]


def test_without_a_period_nothing_is_computed_otherwise():
    values = torch.rand(50, 2, dtype=torch.float64)
    axes = PROTOCOLS["biwi"].axes[:2]
    assert wrap_axes(values, axes) is values
    assert torch.equal(differences(values, values.flip(0), [None, None]), values - values.flip(0))


def test_the_circular_median_has_the_least_mean_distance():
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 10, 57):
        values = rng.normal(170, 60, n)
        found = circular_median(values, -180, 360)
        grid = np.concatenate([np.linspace(-180, 180, 2001), values])
        mean = np.abs(circular(values - grid[:, None], 360)).mean(1)
        assert np.abs(circular(values - found, 360)).mean() == pytest.approx(mean.min(), abs=1e-9)
        assert -180 <= found < 180 and np.abs(circular(values - found, 360)).min() < 1e-9
    assert circular_median(np.array([179.0, -179, -178, 178, 176]), -180, 360) == 179
