"""The contract of a head: checks that its author runs by `bel.testing.check_plugin`, and our tests for all of `HEADS`.

`configs` are of a head that has its entry in `HEADS`. Each check raises `AssertionError` where the head breaks a rule.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bel.angles import differences
from bel.codes.library import CODES
from bel.config import TrainConfig
from bel.config_fields import FIELDS
from bel.heads import HEADS
from bel.heads.losses import LOSSES
from bel.model import Model
from bel.training.build import optimiser_groups

# Lower bound and range in degrees, one level a degree.
RANGES = {"yaw": (-40, 60), "pitch": (-20, 40), "roll": (-30, 60)}
FEATURES = 32  # of the example trunk
ROUNDED = 0.5  # degrees, mean over images: by how much predictions may change where the trunk computes in bf16


def configs(head: str, *axes: int) -> Iterator[TrainConfig]:
    """Yield the configs in which a head is checked: every loss and code, for 1 to 3 axes or the given numbers of them.

    A head that is `circular` is checked on an axis with a period too, where one axis is among them.
    """
    kind = HEADS[head]
    for code in CODES if "code" in kind.options else (None,):
        for loss in kind.losses:
            for count in axes or (1, 2, 3):
                if count == len(RANGES) or not kind.pose_only:
                    yield example_config(head, code, loss, count)
            if kind.circular and 1 in (axes or (1,)):
                yield example_config(head, code, loss, 1, circle=True)


def example_config(
    head: str, code: str | None = None, loss: str | None = None, axes: int = 3, circle: bool = False, **options: Any
) -> TrainConfig:
    """Return a config with the first `axes` of `RANGES`; all three are a pose. On a `circle` their ranges are periods."""
    ranges = [*RANGES.items()][:axes]
    targets = {name: {"low": low, "high": low + span, "levels": span, "unit": "deg"} for name, (low, span) in ranges}
    if circle:
        targets = {name: target | {"period": target["levels"]} for name, target in targets.items()}
    protocol = {"name": "csv", "train": "labels.csv", "targets": targets, "pose": axes == len(RANGES)}
    rate = {"lr": HEADS[head].overfit[0]}
    return TrainConfig.make({"protocol": protocol, "head": head, "code": code, "loss": loss} | rate | options)


def example_model(config: TrainConfig) -> Model:
    """Return a network for images (B, 3, 4, 4): a trunk of two layers and the head of a config."""
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(48, FEATURES), nn.Tanh())
    return Model(trunk, HEADS[config.head].build(FEATURES, config))


def example_batch(axes: int, count: int = 16) -> tuple[Tensor, Tensor]:
    """Return images (count, 3, 4, 4) and targets (count, axes) within `RANGES`."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 3, 4, 4, generator=generator)
    share = torch.rand(count, axes, generator=generator, dtype=torch.float64)
    low, span = torch.tensor([*RANGES.values()][:axes], dtype=torch.float64).T
    return images, low + (span - 1) * share


def check_declaration(config: TrainConfig) -> None:
    """Check that losses are in `LOSSES`, options are config fields, and `lr_factors` are names of parameters."""
    head = HEADS[config.head]
    known = {*LOSSES, *head.own_losses}
    assert head.losses and set(head.losses) <= known, f"losses {head.losses} must be keys of LOSSES or of own_losses"
    assert head.published_loss in (None, *head.losses), f"published_loss {head.published_loss!r} must be one of losses"
    unknown = set(head.options) - FIELDS.keys()
    assert not unknown, (
        f"options {unknown} must be config fields: add them to bel/config_fields.py, a plug-in to new_fields"
    )
    names = {name.rpartition(".")[2] for name, _ in example_model(config).head.named_parameters()}
    assert set(head.lr_factors) <= names, f"lr_factors {head.lr_factors} must be parameters, of which there are {names}"


def check_gradients(config: TrainConfig) -> None:
    """Check that the loss is finite and that its gradients are, and reach every parameter of head and trunk."""
    model = example_model(config)
    images, targets = example_batch(len(config.axes), 15)  # odd, so that the signs of l1 do not cancel
    loss = model.head.loss(model(images), targets)
    assert loss.shape == () and loss.isfinite(), f"the loss must be one finite number, got {loss}"
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, f"no gradient reaches {name}"
        assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"


def check_weights(config: TrainConfig) -> None:
    """Check that the loss takes weights (B, axes), has its own value where they are 1, and grows in proportion to them."""
    model = example_model(config)
    images, targets = example_batch(len(config.axes), 15)
    outputs = [output.detach().double() for output in model(images)]
    head, ones = model.head.double(), torch.ones_like(targets)
    alone = torch.ones(len(targets), 1, dtype=torch.float64)
    alone[1:] = 0
    try:
        nothing, once, twice, first = (head.loss(outputs, targets, ones * times) for times in (0, 1, 2, alone))
    except TypeError as error:
        raise AssertionError(
            f"loss must take weights (B, axes), and functions of LOSSES weights (B,): {error}"
        ) from None
    torch.testing.assert_close(once, head.loss(outputs, targets), msg="weights of 1 must not change the loss")
    torch.testing.assert_close(twice - once, once - nothing, msg="twice the weights must be twice the images' part")
    assert (once - nothing).abs() > 1e-9 and not torch.allclose(first, once), "the weights do not change the loss"


def check_perfect_outputs(config: TrainConfig) -> None:
    """Check that every decoder decodes `perfect_outputs` to the targets: the first, the last and middle levels."""
    head = example_model(config).head
    shares = (0, 0.3, 0.7, 1)
    levels = torch.tensor([[int(share * (axis.levels - 1)) for axis in config.axes] for share in shares])
    targets = torch.stack(
        [axis.to_value(level.double()) for axis, level in zip(config.axes, levels.T, strict=True)], -1
    )
    outputs, none = head.perfect_outputs(targets), torch.zeros_like(targets)
    assert [x.shape for x in outputs] == [x.shape for x in head(torch.zeros(len(targets), FEATURES))]
    for name, decoded in head.decode(outputs).items():
        message = f"{name} gives {decoded}, not {targets}"
        torch.testing.assert_close(errors(decoded, targets, config), none, atol=1e-3, rtol=0, msg=message)
    assert not any(wrong.any() for wrong in head.wrong_bits(outputs, targets)), "perfect outputs have wrong bits"


def check_extreme_outputs(config: TrainConfig) -> None:
    """Check that predictions are finite float64 (B, axes) for outputs of any size, within the axes where `bounded`."""
    head, bounded = example_model(config).head, HEADS[config.head].bounded
    outputs = head(torch.randn(4, FEATURES))
    extremes = [[torch.full_like(output, size) for output in outputs] for size in (1e4, -1e4, 0)]
    for extreme in (*extremes, [1e4 * output.sign() for output in outputs]):
        for name, decoded in head.decode(extreme).items():
            assert decoded.shape == (4, len(config.axes)) and decoded.dtype == torch.float64, name
            assert decoded.isfinite().all(), f"decoder {name} gives {decoded} for outputs {extreme}"
            for values, axis in zip(decoded.T, config.axes, strict=True):
                inside = values.min() >= axis.low and values.max() <= axis.low + axis.span
                assert inside or not bounded, f"decoder {name} leaves axis {axis}: set bounded to False"
                assert torch.equal(axis.wrap(values), values), (
                    f"decoder {name} leaves a period of {axis}: wrap its levels"
                )


def check_posteriors(config: TrainConfig) -> None:
    """Check that a posterior is probabilities (B, levels) of every axis in float64, and wrong bits have a code's width."""
    head = example_model(config).head
    outputs, targets = head(torch.randn(5, FEATURES)), example_batch(len(config.axes), 5)[1]
    posteriors, wrong = head.posteriors(outputs), head.wrong_bits(outputs, targets)
    for posterior, axis in zip(posteriors, config.axes if posteriors else (), strict=True):
        assert posterior.shape == (5, axis.levels) and posterior.dtype == torch.float64, f"{axis}: {posterior.shape}"
        torch.testing.assert_close(posterior.sum(-1), torch.ones(5, dtype=torch.float64))
    for factor in (1.0, 4.0):
        tempered = head.posteriors(outputs, [factor] * len(config.axes))
        for before, after in zip(posteriors, tempered, strict=True):
            assert factor > 1 or torch.equal(before, after), "temperature 1 must leave the posterior as it is"
            entropies = [torch.special.entr(p).sum(-1) for p in (before, after)]
            assert (entropies[1] >= entropies[0] - 1e-9).all(), "a temperature above 1 must spread it: see `tempered`"
    widths = [HEADS[config.head].code_width(axis, config) for axis in config.axes] if wrong else []
    assert [(x.shape, x.dtype) for x in wrong] == [((5, width), torch.bool) for width in widths]


def check_overfit(config: TrainConfig) -> None:
    """Check that training fits two batches to under a degree, and that predictions hold with a trunk in bf16."""
    model, steps = example_model(config), HEADS[config.head].overfit[1]
    steps *= 2 if config.axes[0].period else 1  # a label on the other side of a code's seam is far for its bits
    images, targets = example_batch(len(config.axes))
    groups = optimiser_groups(model, config)
    optimiser = torch.optim.Adam([{"params": g.parameters, "lr": g.factor * config.lr} for g in groups], foreach=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, [g.factor * config.lr for g in groups], steps + 1)
    for step in range(steps):
        rows = slice(8 * (step % 2), 8 * (step % 2) + 8)
        optimiser.zero_grad()
        model.head.loss(model(images[rows]), targets[rows]).backward()
        optimiser.step()
        rate.step()
    exact, outputs = headline(model, images), model(images)[0]
    error = errors(exact, targets, config).abs().mean()
    assert error < 1, f"the error after {steps} steps on two batches is {error:.2f} degrees: see `overfit`"
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(model(images)[0], outputs), "the trunk does not compute in bf16"
        moved = errors(headline(model, images), exact, config).abs().mean()
    assert moved < ROUNDED, f"predictions move by {moved:.2f} degrees where the trunk computes in bf16"


def check_turns(config: TrainConfig) -> None:
    """Check that on axes with a period a target and the same after a turn are one: in loss, gradients and posteriors."""
    if not all(axis.period for axis in config.axes):
        return
    images, targets = example_batch(len(config.axes), 15)
    turn = torch.tensor([axis.period for axis in config.axes], dtype=targets.dtype)
    found = []
    for labels in (targets, targets + turn, targets - turn):
        model = example_model(config)
        loss = model.head.loss(model(images), labels)
        loss.backward()
        found.append([loss, *(parameter.grad for parameter in model.head.parameters())])
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-4, atol=1e-4, msg="a turn more is another target: wrap it")


def errors(ours: Tensor, true: Tensor, config: TrainConfig) -> Tensor:
    """Return predictions minus targets (B, axes), the shorter way round on an axis with a period."""
    return differences(ours, true, [axis.period for axis in config.axes])


def headline(model: Model, images: Tensor) -> Tensor:
    """Return the predictions (B, axes) of the headline decoder."""
    with torch.inference_mode():
        return next(iter(model.head.decode(model(images)).values()))


CHECKS: tuple[Callable[[TrainConfig], None], ...] = (
    check_declaration,
    check_gradients,
    check_weights,
    check_perfect_outputs,
    check_extreme_outputs,
    check_posteriors,
    check_turns,
    check_overfit,
)
