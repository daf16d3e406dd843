"""Weights by label density equal their source (tests/golden/rivals.npz), and follow the levels of each axis."""

import numpy as np
import pytest
import torch

from bel.angles import Axis
from bel.data.balance import Balance, kernel, lds
from bel.errors import UserError
from tests.conftest import PROJECT

GOLDEN = np.load(PROJECT / "tests/golden/rivals.npz")
LEVELS = Axis("level", 0, 20, 20)


def test_the_kernel_is_that_of_the_source():
    np.testing.assert_allclose(kernel(), GOLDEN["lds_kernel_gau_5_2"], rtol=1e-6)


def test_weights_are_those_of_the_source():
    counts = GOLDEN["lds_hist"]
    weights = lds(counts)
    filled = counts > 0
    np.testing.assert_allclose(weights[filled], GOLDEN["lds_w_inv_g52"][filled], rtol=1e-6)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
    density = GOLDEN["lds_smooth_inv_g52"]
    np.testing.assert_allclose(weights * density, np.full(20, weights[0] * density[0]))  # empty levels, too


def test_weighted_errors_are_those_of_the_source():
    weights, errors = GOLDEN["conr_weights"][:8], GOLDEN["pred"][:, 0] - GOLDEN["labels_f"]
    assert (weights * abs(errors)).mean() == pytest.approx(GOLDEN["lds_wl1"].item())
    assert (weights * errors**2).mean() == pytest.approx(GOLDEN["lds_wmse"].item())


def test_on_a_circle_the_ends_are_neighbours():
    counts = np.array([400, 5, 5, 5, 5, 5, 5, 5, 5, 5])
    weights = lds(counts, circle=True)
    assert weights[1] == weights[9] and weights[2] == weights[8] < weights[5]
    assert lds(counts)[9] > lds(counts)[5]  # beyond an end there is nothing


def test_each_axis_has_its_own_weights_of_mean_one_over_the_training_targets():
    axes = (LEVELS, Axis("turn", -90, 180, 12, period=180))
    generator = torch.Generator().manual_seed(0)
    targets = torch.rand(500, 2, generator=generator, dtype=torch.float64) ** 3 * torch.tensor([20.0, 180.0])
    weights = Balance(targets, axes)(targets)
    assert weights.shape == (500, 2) and weights.dtype == torch.float64
    torch.testing.assert_close(weights.mean(0), torch.ones(2, dtype=torch.float64))
    rare, common = weights[targets[:, 0] > 15, 0], weights[targets[:, 0] < 1, 0]
    assert rare.min() > 3 * common.max()
    with pytest.raises(
        UserError, match=r"balance lds counts a level of fewer than 5 images as 5, and none .* set balance"
    ):
        Balance(targets[:5], axes)
    on_meta = Balance(targets, axes).to(torch.device("meta"))(
        targets.to("meta")
    )  # no value is read: as a CUDA graph wants
    assert on_meta.shape == (500, 2)
    assert Balance(targets, axes)(torch.tensor([[99.0, 270.0]]).double()).isfinite().all()  # beyond the levels
