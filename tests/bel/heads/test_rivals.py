"""The loss of every head that is not BEL's, against a straightforward version of its source, in loops over float64."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from bel.heads import losses
from bel.testing.heads import example_batch, example_config, example_model


def case(head, loss=None, axes=1, **options):
    """A head in float64, its outputs on two images an axis, targets, and the loss that it gives."""
    config = example_config(head, None, loss, axes, **options)
    module = example_model(config).head.double()
    targets = example_batch(axes, 3)[1]
    features = 3 * torch.randn(3, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    outputs = module(features)
    return config, module, outputs, targets, module.loss(outputs, targets).item()


def softmax(row):
    top = max(row)
    e = [math.exp(x - top) for x in row]
    return [x / sum(e) for x in e]


def levels_of(config, targets, i=0):
    axis = config.axes[i]
    return [(t - axis.low) / axis.span * axis.levels for t in targets[:, i].tolist()]


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("l1", abs),
        ("mse", lambda d: d * d),
        ("smooth_l1", lambda d: 0.5 * d * d if abs(d) < 1 else abs(d) - 0.5),
    ],
)
def test_direct(name, of):
    config, _, outputs, targets, ours = case("direct", name, axes=2)
    by_hand = sum(
        sum(of(o - y) for o, y in zip(outputs[i][:, 0].tolist(), levels_of(config, targets, i), strict=True)) / 3
        for i in range(2)
    )
    assert ours == pytest.approx(by_hand, rel=1e-6)


def test_classification():
    config, _, outputs, targets, ours = case("classification")
    rows = zip(outputs[0].tolist(), levels_of(config, targets), strict=True)
    assert ours == pytest.approx(sum(-math.log(softmax(z)[min(max(round(y), 0), 59)]) for z, y in rows), rel=1e-6)


def test_hopenet_in_degrees_and_bins_of_three():
    config, _, outputs, targets, ours = case("hopenet", axes=3, alpha=0.5)
    by_hand = 0.0
    for i in range(3):
        for z, degrees in zip(outputs[i].tolist(), targets[:, i].tolist(), strict=True):
            p = softmax(z)
            label = int(np.digitize(degrees, np.arange(-99, 102, 3))) - 1
            expected = 3 * sum(k * x for k, x in enumerate(p)) - 99
            by_hand += (-math.log(p[label]) + 0.5 * (expected - degrees) ** 2) / 3
    assert config.axes[0].levels == 66 and ours == pytest.approx(by_hand, rel=1e-6)


def test_ordinal():
    config, _, outputs, targets, ours = case("ordinal")
    by_hand = 0.0
    for z, y in zip(outputs[0].tolist(), levels_of(config, targets), strict=True):
        for rank, logit in enumerate(z):
            p = 1 / (1 + math.exp(-logit))
            by_hand -= math.log(p if round(y) > rank else 1 - p) / 3
    assert ours == pytest.approx(by_hand, rel=1e-6)


def test_ordinal_ranks_share_their_weights():
    _, module, outputs, _, _ = case("ordinal")
    bias = module.axis_heads()[0].bias
    shared = outputs[0] - bias
    torch.testing.assert_close(shared, shared[:, :1].expand_as(shared))


def test_soft_label():
    config, _, outputs, targets, ours = case("soft_label", sigma=1.5)
    by_hand = 0.0
    for z, y in zip(outputs[0].tolist(), levels_of(config, targets), strict=True):
        wanted = [math.exp(-((k - y) ** 2) / (2 * 1.5**2)) for k in range(60)]
        wanted = [w / sum(wanted) for w in wanted]
        by_hand += sum(w * (math.log(w) - math.log(q)) for w, q in zip(wanted, softmax(z), strict=True) if w > 0) / 3
    assert ours == pytest.approx(by_hand, rel=1e-6)


def test_rotation6d():
    _, _, outputs, targets, ours = case("rotation6d", axes=3)
    by_hand = 0.0
    for six, (yaw, pitch, roll) in zip(outputs[0].detach().numpy(), targets.numpy(), strict=True):
        x = six[:3] / np.linalg.norm(six[:3])
        y = six[3:] - (x @ six[3:]) * x
        y = y / np.linalg.norm(y)
        made = Rotation.from_matrix(np.column_stack([x, y, np.cross(x, y)]))
        true = Rotation.from_euler("X", -pitch, degrees=True) * Rotation.from_euler("Y", yaw, degrees=True)
        true = true * Rotation.from_euler("Z", roll, degrees=True)
        by_hand += (made * true.inv()).magnitude() / 3
    assert ours == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize(("name", "of"), [("l1", abs), ("mse", lambda d: d * d)])
def test_stagewise(name, of):
    config, _, outputs, targets, ours = case("stagewise", name)
    by_hand = 0.0
    for z, y in zip(outputs[0].tolist(), levels_of(config, targets), strict=True):
        share, below = 0.0, 1.0
        for stage in range(3):
            part = z[7 * stage : 7 * stage + 7]
            below *= 3 * (1 + 0.5 * math.tanh(part[6]))
            p = softmax(part[:3])
            share += sum(p[i] * (i + math.tanh(part[3 + i])) for i in range(3)) / below
        by_hand += of(60 * share - y) / 3
    assert ours == pytest.approx(by_hand, rel=1e-6)


def test_rlel_with_both_regularisers():
    config, module, outputs, targets, ours = case("rlel", bits=7, distance_weight=0.5, difference_weight=2.0)
    matrix, z = module.axis_heads()[0].matrix.tolist(), outputs[0].tolist()
    y = levels_of(config, targets)
    by_hand = 0.0
    for bits, level in zip(z, y, strict=True):
        q = softmax([sum(m * b for m, b in zip(row, bits, strict=True)) for row in matrix])
        wanted = softmax([-abs(level - k) for k in range(60)])
        by_hand -= sum(w * math.log(p) for w, p in zip(wanted, q, strict=True))
    for i in range(3):
        for j in range(3):
            apart = sum(abs(a - b) for a, b in zip(z[i], z[j], strict=True))
            by_hand += 0.5 * max(0.0, 2 * abs(y[i] - y[j]) - apart) / 3
    padded = [[0.0] * 7, *matrix, [0.0] * 7]
    for before, after in pairwise(padded):
        by_hand += 2.0 * sum((b - a) ** 2 for a, b in zip(before, after, strict=True))
    assert ours == pytest.approx(by_hand, rel=1e-6)


def test_rlel_regularisers_by_finite_cases():
    level = torch.tensor([0.0, 3.0])
    assert losses.distance_hinge(torch.tensor([[0.0, 0.0], [4.0, 2.0]]), level) == 0  # as far apart as asked
    assert losses.distance_hinge(torch.tensor([[0.0, 0.0], [3.0, 2.0]]), level) == 1  # one short, seen from both sides
    assert losses.distance_hinge(torch.zeros(2, 2), level) == 6
    assert losses.distance_hinge(torch.zeros(2, 2), torch.zeros(2)) == 0
    assert losses.squared_differences(torch.zeros(5, 3)) == 0
    assert losses.squared_differences(torch.ones(5, 3)) == 6  # only the two ends, three columns
    assert losses.squared_differences(torch.tensor([[1.0], [3.0], [0.0]])) == 1 + 4 + 9 + 0


def test_the_geodesic_loss_is_finite_with_finite_gradients_at_no_and_at_half_a_turn():
    true = torch.eye(3).repeat(2, 1, 1)
    turned = torch.stack([torch.eye(3), torch.diag(torch.tensor([1.0, -1.0, -1.0]))]).requires_grad_()
    loss = losses.geodesic(turned, true)
    loss.backward()
    assert loss.item() == pytest.approx(math.pi / 2, abs=1e-3) and turned.grad.isfinite().all()


def test_the_loss_is_the_sum_over_axes():
    config, _, outputs, targets, ours = case("classification", axes=3)
    alone = [
        losses.ce(output, axis.to_index(target)).item()
        for axis, output, target in zip(config.axes, outputs, targets.T, strict=True)
    ]
    assert ours == pytest.approx(sum(alone))
