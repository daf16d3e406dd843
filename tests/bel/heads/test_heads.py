"""One contract for every head, on a tiny trunk: it learns, reads its own levels, and stays finite."""

import pytest
import torch
from torch import nn

from bel.angles import euler_to_matrix
from bel.codes.library import CODES
from bel.config import TrainConfig
from bel.errors import UserError
from bel.heads import HEADS
from bel.heads.stagewise import STAGES
from bel.model import Model
from bel.training.build import optimiser_groups

AXES = {"yaw": (-40, 60), "pitch": (-20, 40), "roll": (-30, 60)}  # least value, range in degrees, one level a degree
KINDS = [("bel", code) for code in CODES] + [(head, None) for head in HEADS if head != "bel"]
CASES = [
    (head, code, loss, axes)
    for head, code in KINDS
    for loss in HEADS[head].losses
    for axes in (1, 2, 3)
    if axes == 3 or head != "rotation6d"
]
COUNTS = list(dict.fromkeys((head, code, axes) for head, code, _, axes in CASES))
BOUNDED = [kind for kind in KINDS if kind[0] not in ("direct", "stagewise", "rotation6d")]
SLOW = {"ordinal": {"lr": 5e-3, "steps": 1500}}  # one weight vector moves all its ranks
BF16 = 0.5  # degrees, mean over images: how far predictions move where the trunk computes in bf16


def config_of(head, code=None, loss=None, axes=3, **options):
    ranges = [*AXES.items()][:axes]
    targets = {name: {"low": low, "high": low + span, "levels": span, "unit": "deg"} for name, (low, span) in ranges}
    protocol = {"name": "csv", "train": "labels.csv", "targets": targets, "pose": axes == 3}
    return TrainConfig.make({"protocol": protocol, "head": head, "code": code, "loss": loss, "lr": 2e-3} | options)


def model_of(config):
    """A trunk of two layers that carries the head."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.Tanh())
    return Model(trunk, HEADS[config.head].build(32, config))


def batches(axes, count=16):
    """Images and targets within the ranges."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, 4, 4, generator=generator)
    share = torch.rand(count, axes, generator=generator, dtype=torch.float64)
    low, span = torch.tensor([*AXES.values()][:axes], dtype=torch.float64).T
    return images, low + (span - 1) * share


def fitted(config, steps=600):
    """A model that has seen two batches of eight images over and over, with its own learning rates."""
    model = model_of(config)
    images, targets = batches(len(config.axes))
    groups = [{"params": g.parameters, "lr": g.factor * config.lr} for g in optimiser_groups(model, config)]
    optimiser = torch.optim.Adam(groups, foreach=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, [g["lr"] for g in groups], steps + 1)
    for step in range(steps):
        rows = slice(8 * (step % 2), 8 * (step % 2) + 8)
        optimiser.zero_grad()
        model.head.loss(model(images[rows]), targets[rows]).backward()
        optimiser.step()
        rate.step()
    return model


def headline(model, images):
    with torch.inference_mode():
        return next(iter(model.head.decode(model(images)).values()))


@pytest.mark.parametrize(
    ("head", "code", "loss", "axes"),
    [pytest.param(*case, marks=() if case[-1] == 3 else pytest.mark.slow) for case in CASES],
)
def test_two_batches_overfit_to_under_a_degree_in_fp32_and_bf16(head, code, loss, axes):
    slow = SLOW.get(head, {"lr": 2e-3, "steps": 600})
    model = fitted(config_of(head, code, loss, axes, lr=slow["lr"]), slow["steps"])
    images, targets = batches(axes)
    exact = headline(model, images)
    assert (exact - targets).abs().mean() < 1
    outputs = model(images)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(model(images)[0], outputs), "the trunk does not compute in bf16"
        rounded = headline(model, images)
    assert (rounded - exact).abs().mean() < BF16


@pytest.mark.parametrize(("head", "code", "loss", "axes"), CASES)
def test_gradients_reach_every_trainable_parameter(head, code, loss, axes):
    model = model_of(config_of(head, code, loss, axes))
    images, targets = batches(axes, 15)  # odd, so that the signs of l1 do not cancel
    model.head.loss(model(images), targets).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def perfect(head, axis, level):
    """The output (1, width) of one axis that says a level as surely as can be."""
    kind = type(head).__name__
    if kind == "BelAxis":
        return 40 * (2 * head.matrix[level] - 1)[None]
    if kind == "DirectAxis":
        return torch.tensor([[float(level)]])
    if kind == "OrdinalAxis":
        return 40 * (2 * head.words[level] - 1)[None]
    scores = 1e3 * nn.functional.one_hot(torch.tensor([level]), axis.levels).float()
    if kind == "LearnedAxis":
        return (torch.linalg.pinv(head.matrix.double()) @ scores[0].double()).float()[None].detach()
    if kind == "StagewiseAxis":
        return stages_of(level, axis.levels)
    return scores


def stages_of(level, levels):
    """Outputs of the stages for level 0 or the last one: its bin in each stage, the rest by a shift of the last."""
    parts, left = [], levels
    for stage, bins in enumerate(STAGES):
        left = left / bins
        chosen = min(int(level // left), bins - 1)
        level = level - chosen * left
        scores = 1e3 * nn.functional.one_hot(torch.tensor(chosen), bins).float()
        shift = torch.full((bins,), level / left if stage == len(STAGES) - 1 else 0.0).atanh()
        parts += [scores, shift, torch.zeros(1)]
    return torch.cat(parts)[None]


@pytest.mark.parametrize(("head", "code", "axes"), COUNTS)
@pytest.mark.parametrize("last", [False, True])
def test_the_first_and_the_last_level_decode_to_themselves(head, code, axes, last):
    config = config_of(head, code, axes=axes)
    module = model_of(config).head
    level = [axis.levels - 1 if last else 0 for axis in config.axes]
    value = torch.tensor([axis.to_value(k) for axis, k in zip(config.axes, level, strict=True)], dtype=torch.float64)
    if head == "rotation6d":
        outputs = [7 * euler_to_matrix(value)[:, :2].T.reshape(1, 6)]
    else:
        outputs = [perfect(h, a, k) for h, a, k in zip(module.axis_heads(), config.axes, level, strict=True)]
    for name, decoded in module.decode(outputs).items():
        torch.testing.assert_close(decoded[0], value, atol=1e-3, rtol=0, msg=name)


@pytest.mark.parametrize(("head", "code", "axes"), COUNTS)
@pytest.mark.parametrize("size", [1e4, -1e4, 0.0, None])
def test_predictions_stay_finite_for_wild_outputs(head, code, axes, size):
    config = config_of(head, code, axes=axes)
    module = model_of(config).head
    outputs = module(torch.randn(4, 32))
    wild = [1e4 * output.sign() if size is None else torch.full_like(output, size) for output in outputs]
    for decoded in module.decode(wild).values():
        assert decoded.shape == (4, axes) and decoded.dtype == torch.float64 and decoded.isfinite().all()
        if (head, code) in BOUNDED:
            for i, axis in enumerate(config.axes):
                assert decoded[:, i].min() >= axis.low and decoded[:, i].max() <= axis.low + axis.span


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
        outputs = model_of(config_of(head, code))(torch.randn(2, 3, 4, 4))
        widths[code or head] = [output.shape[1] for output in outputs]
    assert widths == {
        "u": [60, 40, 60], "j": [30, 20, 30], "hex16": [16, 16, 16], "rlel": [60, 40, 60], "hopenet": [66, 66, 66],
        "ordinal": [59, 39, 59],
    }  # fmt: skip


def test_an_untrained_direct_head_starts_in_the_middle_of_its_axis():
    config = config_of("direct")
    module = model_of(config).head
    decoded = module.decode(module(torch.zeros(1, 32)))["direct"][0]
    for value, axis in zip(decoded, config.axes, strict=True):
        assert abs(value - (axis.low + axis.span / 2)) < axis.span / 4


def test_hopenet_has_the_published_bins_of_a_pose_and_as_many_of_another_target():
    pose = config_of("hopenet").axes[0]
    assert (pose.low, pose.span, pose.levels, pose.step) == (-99, 198, 66, 3)
    other = config_of("hopenet", axes=1).axes[0]
    assert (other.low, other.span, other.levels) == (-40, 60, 66)


def test_a_rotation_is_refused_where_the_targets_are_none():
    with pytest.raises(UserError, match="head rotation6d is for poses, and protocol csv is none: choose another head"):
        config_of("rotation6d", axes=2)


def test_a_learned_code_has_its_own_learning_rate_and_width():
    config = config_of("rlel", bits=12)
    model = model_of(config)
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
