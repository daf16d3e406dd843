"""Every head keeps the contract that ships with the package; and what is particular to one of them."""

from typing import ClassVar

import pytest
import torch

from bel.config import TrainConfig
from bel.errors import UserError
from bel.heads import HEADS, PerAxisHead
from bel.heads.contract import CHECKS, check_overfit, check_turns, configs, example_batch, example_config, example_model
from bel.heads.direct import DirectHead
from bel.training.build import optimiser_groups

CONFIGS = [config for head in HEADS for config in configs(head)]


def name(config):
    return f"{config.head}-{config.code}-{config.loss}-{'circle' if config.axes[0].period else len(config.axes)}"


@pytest.mark.parametrize("config", CONFIGS, ids=name)
@pytest.mark.parametrize("check", [check for check in CHECKS if check is not check_overfit])
def test_contract(check, config):
    check(config)


@pytest.mark.parametrize(
    "config", [pytest.param(c, marks=() if len(c.axes) == 3 else pytest.mark.slow) for c in CONFIGS], ids=name
)
def test_contract_of_learning(config):
    check_overfit(config)


class Unweighted(PerAxisHead):
    """Axes whose loss takes no weights."""

    def loss(self, outputs, targets):
        return super().loss(outputs, targets)


class Unfit(DirectHead):
    """A head that breaks the contract in each of its parts."""

    options: ClassVar = {"extra": 1}
    bounded = True
    overfit = (2e-3, 1)

    @classmethod
    def build(cls, features, config):
        return Unweighted([cls(features, axis, config) for axis in config.axes], config)

    def loss_inputs(self, loss, output, target):
        return output.detach()[:, 0] + 0 * output.sum(), (target - self.axis.low) / self.axis.step

    def perfect_output(self, target):
        return super().perfect_output(target) + 1

    def posterior(self, output):
        return output


@pytest.mark.parametrize("check", CHECKS)
def test_a_head_that_breaks_the_contract_is_told(check, monkeypatch):
    monkeypatch.setitem(HEADS, "unfit", Unfit)
    circle = check is check_turns
    with pytest.raises(AssertionError):
        check(example_config("unfit", axes=1 if circle else 3, circle=circle))


@pytest.mark.parametrize(
    ("head", "loss"),
    [
        *(("bel", loss) for loss in ("bce", "ce", "mse", "l1")), ("direct", "smooth_l1"), ("hopenet", "ce_mse"),
        ("ordinal", "ranks"), ("soft_label", "kl"), ("rotation6d", "geodesic"),
    ],
)  # fmt: skip
def test_an_image_of_weight_two_counts_as_two_images(head, loss):
    module = example_model(example_config(head, "u" if head == "bel" else None, loss)).head.double()
    targets = example_batch(3, 4)[1]
    outputs = module(torch.randn(4, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))
    weights = torch.tensor([2.0, 1.0, 1.0, 0.0]).double()[:, None].expand(4, 3)
    rows = torch.tensor([0, 0, 1, 2])
    repeated = module.loss([output[rows] for output in outputs], targets[rows])
    torch.testing.assert_close(module.loss(outputs, targets, weights), repeated)


def test_head_widths_follow_the_code_and_the_axis():
    widths = {}
    for head, code in [
        ("bel", "u"),
        ("bel", "j"),
        ("bel", "hex16"),
        ("rlel", None),
        ("hopenet", None),
        ("ordinal", None),
    ]:
        outputs = example_model(example_config(head, code))(torch.randn(2, 3, 4, 4))
        widths[code or head] = [output.shape[1] for output in outputs]
    assert widths == {
        "u": [60, 40, 60], "j": [30, 20, 30], "hex16": [16, 16, 16], "rlel": [60, 40, 60], "hopenet": [66, 66, 66],
        "ordinal": [59, 39, 59],
    }  # fmt: skip


def test_an_untrained_direct_head_starts_in_the_middle_of_its_axis():
    config = example_config("direct")
    module = example_model(config).head
    decoded = module.decode(module(torch.zeros(1, 32)))["direct"][0]
    for value, axis in zip(decoded, config.axes, strict=True):
        assert abs(value - (axis.low + axis.span / 2)) < axis.span / 4


def test_hopenet_has_the_published_bins_of_a_pose_and_as_many_of_another_target():
    pose = example_config("hopenet").axes[0]
    assert (pose.low, pose.span, pose.levels, pose.step) == (-99, 198, 66, 3)
    other = example_config("hopenet", axes=1).axes[0]
    assert (other.low, other.span, other.levels) == (-40, 60, 66)


def test_a_rotation_is_refused_where_the_targets_are_none():
    with pytest.raises(UserError, match="head rotation6d is for poses, and protocol csv is none: choose another head"):
        example_config("rotation6d", axes=2)


@pytest.mark.parametrize("head", ["ordinal", "stagewise"])
def test_a_head_without_a_meaning_on_a_circle_is_refused_with_a_period(head):
    message = (
        rf"head {head} has no meaning on a circle, and yaw of the protocol has a period: choose a head of \['bel', "
    )
    with pytest.raises(UserError, match=message):
        example_config(head, axes=1, circle=True)


def test_an_angle_across_the_seam_is_near_for_every_loss_that_knows_how_far():
    """Perfect outputs of the last level cost as much for the first one's label as for the one before it."""
    for head, loss, code in [
        ("bel", "l1", "j"), ("bel", "mse", "j"), ("bel", "bce", "j"), ("direct", "mse", None),
        ("direct", "smooth_l1", None), ("soft_label", "kl", None), ("hopenet", "ce_mse", None),
    ]:  # fmt: skip
        config = example_config(head, code, loss, 1, circle=True)
        module, axis = example_model(config).head, config.axes[0]
        levels = torch.arange(axis.levels, dtype=torch.float64)
        outputs = module.perfect_outputs(axis.to_value(levels[-1:])[:, None])
        costs = [module.loss(outputs, axis.to_value(level.reshape(1, 1))).item() for level in levels]
        assert costs[0] == pytest.approx(costs[-3 + 1], rel=1e-3), (head, loss)
        assert costs[1] == pytest.approx(costs[-3], rel=1e-3), (head, loss)


def test_a_direct_head_on_a_circle_is_read_by_the_direction_of_sine_and_cosine():
    config = example_config("direct", axes=1, circle=True)  # -40..20
    module = example_model(config).head
    quarter = [torch.tensor([[2.0, 0.0], [0.0, -3.0], [-0.5, 0.0], [0.0, 0.0]])]
    assert module.decode(quarter)["direct"][:, 0].tolist() == pytest.approx([-25, -10, 5, -40], abs=1e-4)


def test_a_learned_code_has_its_own_learning_rate_and_width():
    config = example_config("rlel", bits=12)
    model = example_model(config)
    groups = {group.factor: group.parameters for group in optimiser_groups(model, config)}
    assert sorted(groups) == [1.0, config.head_lr_factor, 10.0]
    assert [tuple(p.shape) for p in groups[10.0]] == [(60, 12), (40, 12), (60, 12)]


def test_published_weights_of_the_regularisers_follow_the_protocol():
    weights = {
        name: (c.distance_weight, c.difference_weight)
        for name in ("biwi", "aflw2000")
        if (c := TrainConfig(protocol=name, head="rlel"))
    }
    assert weights == {"biwi": (0.5, 1.0), "aflw2000": (2.0, 0.0)}
    assert TrainConfig(head="rlel", distance_weight=0).distance_weight == 0
