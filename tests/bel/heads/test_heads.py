"""Every head keeps the contract that ships with the package; and what is particular to one of them."""

from typing import ClassVar

import pytest
import torch

from bel.angles import circular
from bel.config import TrainConfig
from bel.errors import UserError
from bel.heads import HEADS, PerAxisHead
from bel.heads.direct import DirectHead, variance
from bel.heads.distributions import distances
from bel.heads.losses import LOSSES
from bel.testing.heads import (
    CHECKS,
    check_extreme_outputs,
    check_gradients,
    check_overfit,
    check_perfect_outputs,
    check_posteriors,
    check_turns,
    configs,
    example_batch,
    example_config,
    example_model,
)
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


@pytest.mark.parametrize(("head", "code"), [("bel", "j"), ("rlel", None)])
@pytest.mark.parametrize("check", [check for check in CHECKS if check is not check_overfit])
def test_contract_without_a_bottleneck(check, head, code):
    check(example_config(head, code, theta="none"))


@pytest.mark.parametrize("head", sorted(head for head, kind in HEADS.items() if "code_bits" in kind.options))
def test_an_axis_of_two_levels(head):
    config = example_config(head, "u" if head == "bel" else None, axes=1, code_bits=2)
    module, targets = example_model(config).head, torch.tensor([[-40.0], [-10.0], [-11.0]])
    assert [axis.levels for axis in config.axes] == [2]
    for check in (check_gradients, check_perfect_outputs, check_extreme_outputs, check_posteriors):
        check(config)
    outputs = module.perfect_outputs(targets)
    assert all(
        decoded.flatten().tolist() == pytest.approx([-40, -10, -10]) for decoded in module.decode(outputs).values()
    )


def test_without_a_bottleneck_there_is_one_layer_from_features_to_bits():
    heads = [example_model(example_config("bel", "j", theta=theta)).head for theta in (None, 10, "none", 5)]
    shapes = [[tuple(p.shape) for p in head.axis_heads()[0].parameters()] for head in heads]
    assert shapes[0] == shapes[1] == [(10, 32), (10,), (30, 10), (30,)]
    assert shapes[2] == [(30, 32), (30,)] and shapes[3][0] == (5, 32)


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
        ("or_cnn", None),
        ("gaussian", None),
    ]:
        outputs = example_model(example_config(head, code))(torch.randn(2, 3, 4, 4))
        widths[code or head] = [output.shape[1] for output in outputs]
    assert widths == {
        "u": [60, 40, 60], "j": [30, 20, 30], "hex16": [16, 16, 16], "rlel": [60, 40, 60], "hopenet": [66, 66, 66],
        "ordinal": [59, 39, 59], "or_cnn": [59, 39, 59], "gaussian": [2, 2, 2],
    }  # fmt: skip


@pytest.mark.parametrize(("head", "decoder"), [("direct", "direct"), ("gaussian", "mean")])
def test_an_untrained_direct_head_starts_in_the_middle_of_its_axis(head, decoder):
    config = example_config(head)
    module = example_model(config).head
    decoded = module.decode(module(torch.zeros(1, 32)))[decoder][0]
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


@pytest.mark.parametrize("head", ["ordinal", "or_cnn", "corn", "gaussian", "stagewise"])
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
        ("direct", "smooth_l1", None), ("soft_label", "kl", None), ("hopenet", "ce_mse", None), ("dldl_v2", "ce_l1", None),
        ("sord", "ce_distribution", None), ("hl_gauss", "ce_distribution", None), ("mean_variance", "mean_variance", None),
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


def test_the_posterior_of_a_normal_distribution_is_its_integral_over_the_levels():
    config = example_config("gaussian", axes=1)  # 60 levels of a degree from -40 on: half a range is 30 levels
    head = example_model(config).head.double()
    output = torch.tensor([[0.0, 0.0], [0.5, -5.0], [-40.0, -40.0], [40.0, -40.0]], dtype=torch.float64)
    posterior = head.posteriors([output])[0]
    normal = torch.distributions.Normal(torch.tensor([30.0, 45.0]).double(), 30 * variance(output[:2, 1]).sqrt())
    mass = normal.cdf(torch.arange(-0.5, 60, dtype=torch.float64)[:, None]).diff(dim=0).T
    torch.testing.assert_close(posterior[:2], mass / mass.sum(-1, keepdim=True))
    assert posterior[2, 0] == 1 == posterior[3, -1]  # of what lies beyond the range


@pytest.mark.parametrize("head", ["gaussian", "corn"])
def test_a_temperature_divides_the_logarithms_of_a_posterior(head):
    module = example_model(example_config(head, axes=1)).head
    output = module(2 * torch.randn(6, 32, generator=torch.Generator().manual_seed(4)))
    before, after = module.posteriors(output)[0], module.posteriors(output, [2.5])[0]
    wanted = (before.log() / 2.5).softmax(-1)
    torch.testing.assert_close(after, wanted, rtol=1e-9 if head == "corn" else 2e-2, atol=1e-12)  # integrals: nearly


def test_an_option_that_heads_share_has_the_default_of_each():
    sigma = {head: example_config(head).sigma for head in HEADS if head != "bel"}
    assert {head: value for head, value in sigma.items() if value} == {"soft_label": 2, "dldl_v2": 2, "hl_gauss": 0.75}


def test_a_symmetric_peak_on_a_circle_has_no_step_that_goes_up_away_from_the_label():
    for label in (0.0, 2.7, 3.5):
        distance = distances(torch.tensor([label], dtype=torch.float64), 8, wraps=True)
        scores = -distance.abs()
        assert LOSSES["unimodal"](scores, distance, 1e6, True) == LOSSES["unimodal"](scores, distance, 0.0, True)
        assert LOSSES["unimodal"](-scores, distance, 1e6, True) > LOSSES["unimodal"](-scores, distance, 0.0, True) + 1e3


@pytest.mark.parametrize("head", ["mean_variance", "dldl_v2", "sord", "unimodal", "hl_gauss", "soft_label"])
def test_on_a_circle_a_distribution_has_no_seam(head):
    module = example_model(example_config(head, axes=1, circle=True)).head.double()  # 60 levels of a degree from -40 on
    generator = torch.Generator().manual_seed(6)
    scores = 2 * torch.randn(5, 60, dtype=torch.float64, generator=generator)
    targets = -40 + 60 * torch.rand(5, 1, dtype=torch.float64, generator=generator)
    loss, decoded = module.loss([scores], targets), module.decode([scores])
    apart = (torch.arange(60.0)[:, None] - torch.arange(60.0)).abs().double()
    distance = scores.softmax(-1) @ torch.minimum(apart, 60 - apart)
    assert torch.equal(decoded["median"][:, 0], distance.argmin(-1) - 40.0)
    for turned in (17, 31):
        torch.testing.assert_close(module.loss([scores.roll(turned, -1)], targets + turned), loss)
        for name, value in module.decode([scores.roll(turned, -1)]).items():
            torch.testing.assert_close(circular(value - decoded[name] - turned, 60), torch.zeros(5, 1).double())
