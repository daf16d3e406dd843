"""Every regulariser equals its source, loss and gradient (tests/golden/rivals.npz); the contract; what is our own."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bel.angles import Axis
from bel.regularisers import REGULARISERS
from bel.regularisers.conr import conr
from bel.regularisers.labels import label_distances, levels_of, same_levels, sorted_by_level
from bel.regularisers.ordinal_entropy import diversity, ordinal_entropy
from bel.regularisers.rank_n_contrast import rank_n_contrast
from bel.regularisers.ranksim import ranks, ranksim
from tests.conftest import PROJECT

with np.load(PROJECT / "tests/golden/rivals.npz") as file:
    GOLDEN = {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}
LEVELS = Axis("level", 0, 20, 20)


def apart(name):
    """Distances (n, n) of golden labels in levels."""
    return label_distances(GOLDEN[name].double()[:, None], [LEVELS])


def compare(name, loss, features, suffix=""):
    """Compare a loss and its gradient to features with the golden ones."""
    loss.backward()
    torch.testing.assert_close(loss.detach(), GOLDEN[f"{name}_loss{suffix}"], atol=1e-6, rtol=0)
    torch.testing.assert_close(features.grad, GOLDEN[f"{name}_grad{suffix}"], atol=1e-6, rtol=0)


def leaf(name):
    return GOLDEN[name].clone().requires_grad_()


@pytest.mark.parametrize(
    ("name", "labels", "tau"), [("f", "labels_f", 2), ("i", "labels_i", 2), ("f01", "labels_f", 0.1)]
)
def test_rank_n_contrast_is_its_source(name, labels, tau):
    features = leaf("features2")
    distances = label_distances(GOLDEN[labels].double()[:, None].repeat(2, 1), [LEVELS])
    compare(f"rnc_{name}", rank_n_contrast(torch.cat(features.unbind(1)), distances, tau), features)


def test_rank_n_contrast_of_equal_views_is_its_source():
    features = leaf("features")
    distances = label_distances(GOLDEN["labels_f"][:, None].repeat(2, 1), [LEVELS])
    compare("rnc_same", rank_n_contrast(torch.cat([features, features]), distances), features)


def test_ordinal_entropy_is_its_source():
    features = leaf("features")
    same = same_levels(levels_of(GOLDEN["oe_labels"][:, None], [LEVELS]))
    compare("oe", ordinal_entropy(features, apart("oe_labels"), same), features)
    by_call = REGULARISERS["ordinal_entropy"]([LEVELS])(GOLDEN["features"], GOLDEN["oe_labels"][:, None])
    assert by_call.item() == pytest.approx(GOLDEN["oe_loss"].item(), abs=1e-9)


def test_the_diversity_of_ordinal_entropy_is_the_plain_version_of_its_source():
    features, rows = leaf("oer_features"), GOLDEN["oer_index"]
    distances = apart("oer_labels")[rows][:, rows]
    pairs = torch.ones_like(distances, dtype=torch.bool).triu(1)
    compare("oer", -diversity(F.normalize(features[rows]), distances, pairs), features)


@pytest.mark.parametrize("strength", [1, 2])
def test_ranksim_is_its_source(strength):
    features = leaf("features")
    loss = ranksim(features, apart("labels_f"), torch.ones(8, dtype=torch.bool), strength)
    compare(f"rs_{strength}", loss, features)


@pytest.mark.parametrize(("name", "labels"), [("rs_dup", "rs_dup_labels"), ("rs_int", "labels_i")])
def test_ranksim_on_one_image_a_label_is_its_source(name, labels):
    features, rows = leaf("features"), GOLDEN[f"{name}_index"]
    kept = torch.ones(len(rows), dtype=torch.bool)
    compare(name, ranksim(features[rows], apart(labels)[rows][:, rows], kept), features)
    # the same images by a mask, among all of them
    features = leaf("features")
    order = torch.cat([rows, torch.tensor([i for i in range(8) if i not in rows])])
    distances = apart(labels)[order][:, order]
    compare(name, ranksim(features[order], distances, torch.arange(8) < len(rows)), features)


def test_the_ranks_of_ranksim_are_those_of_its_source():
    assert torch.equal(ranks(GOLDEN["rs_rank_in"], torch.tensor(4)), GOLDEN["rs_rank_out"])


def test_ranksim_takes_the_first_image_of_each_level():
    rows = torch.tensor([0, 2, 1, 3, 4, 6, 7])  # of labels_i, in order; 5 repeats the label of 4
    expected = ranksim(GOLDEN["features"][rows], apart("labels_i")[rows][:, rows], torch.ones(7, dtype=torch.bool))
    found = REGULARISERS["ranksim"]([LEVELS])(GOLDEN["features"], GOLDEN["labels_i"].double()[:, None])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("name", "near", "push"), [("u", 1, 0.01), ("w", 1, 0.01), ("e", 2, 0.2)])
def test_conr_is_its_source(name, near, push):
    features = leaf("conr_features")
    weights = torch.ones(16).double() if name == "u" else GOLDEN["conr_weights"]
    loss = conr(features, apart("conr_labels"), apart("conr_preds"), weights, near, push)
    compare(f"conr_{name}", loss, features)


def test_with_all_labels_distinct_the_tightness_of_ordinal_entropy_is_nothing():
    assert GOLDEN["oe_unique_labels_is_nan"] == 1  # in the source
    pairs = torch.ones(8, 8, dtype=torch.bool).triu(1)
    features = GOLDEN["features"].float()
    alone = ordinal_entropy(features, apart("labels_f"), torch.eye(8, dtype=torch.bool))
    assert alone == -diversity(F.normalize(features), apart("labels_f"), pairs)


def test_an_image_without_positives_counts_nothing_in_conr():
    assert GOLDEN["conr_isolated_anchor_is_nan"] == 1  # in the source
    labels = torch.tensor([[0.0], [0.0], [5.0]]).double()
    features = torch.eye(3).requires_grad_()
    loss = REGULARISERS["conr"]([LEVELS])(features, labels, torch.zeros(3, 1).double())
    loss.backward()
    # the first two: a positive, what adds 1 for itself and the negative, and the pushed negative; the third: nothing
    assert loss.item() == pytest.approx(2 / 3 * np.log(1 + 2 + np.exp(0.05)), abs=1e-6)
    assert features.grad.isfinite().all()


def test_rank_n_contrast_is_finite_in_float32_where_exponentials_are_zero():
    features = (1e4 * torch.randn(8, 16, generator=torch.Generator().manual_seed(0))).requires_grad_()
    loss = rank_n_contrast(features, apart("labels_f"))
    loss.backward()
    assert loss.isfinite() and loss > 0 and features.grad.isfinite().all()


def test_distances_are_in_levels_of_one_axis_and_alike_over_several():
    yaw, distance = Axis("yaw", -90, 180, 90), Axis("distance", 0, 10, 20, "m")
    targets = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 5.0], [4.0, 5.0]]).double()
    assert label_distances(targets[:, :1], [yaw])[0].tolist() == [0, 2, 0, 2]
    assert label_distances(targets[:, 1:], [distance])[0].tolist() == [0, 0, 10, 10]
    assert label_distances(targets, [yaw, distance])[0].tolist() == [0, 1, 22.5, 23.5]


def test_labels_on_either_side_of_the_seam_of_a_circle_are_near():
    roll = Axis("roll", -180, 360, 72, period=360)
    assert label_distances(torch.tensor([[-180.0], [175], [0], [10], [-90]]), [roll])[0].tolist() == [0, 1, 36, 34, 18]


def test_levels_are_in_order_of_the_first_axis():
    levels = torch.tensor([[1, 5], [0, 7], [1, 2], [0, 7], [1, 5]])
    assert sorted_by_level(levels).tolist() == [1, 3, 2, 0, 4]
    assert same_levels(levels)[0].tolist() == [True, False, False, False, True]
