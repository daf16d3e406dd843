"""The contract of a regulariser: checks that its author runs by `bel.testing.check_plugin`, and our tests for all of them.

`configs` are of a regulariser that has its entry in `REGULARISERS`. Each check raises `AssertionError` where it breaks a rule.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from bel.config import TrainConfig
from bel.regularisers import REGULARISERS, Regulariser
from bel.testing.heads import FEATURES, example_batch, example_config, example_model
from bel.training.build import Optimiser, optimiser_groups
from bel.training.step import Chunks, Step

CODES = {"bel": "u", "direct": None, "classification": None}  # of the heads with which a regulariser is checked
COUNT = 8  # images of an example batch, before their views


def configs(regulariser: str) -> Iterator[TrainConfig]:
    """Yield the configs in which a regulariser is checked: three heads, for one axis, one with a period, and three axes."""
    for head, code in CODES.items():
        for axes, circle in ((1, False), (1, True), (3, False)):
            yield example_config(head, code, None, axes, circle, regulariser=regulariser, batch_size=COUNT)


def regulariser_of(config: TrainConfig) -> Regulariser:
    """Return the regulariser of a config."""
    return REGULARISERS[config.regulariser](config.definition.axes)


def batch_of(config: TrainConfig) -> tuple[Tensor, Tensor]:
    """Return images (B, 3, 4, 4) and targets (B, axes)."""
    return example_batch(len(config.axes), COUNT)


def example_features(config: TrainConfig) -> tuple[Tensor, Tensor]:
    """Return features (n, F) and targets (n, axes) of a batch with all its views."""
    generator = torch.Generator().manual_seed(2)
    targets = batch_of(config)[1].repeat(config.views, 1)
    return torch.randn(len(targets), FEATURES, generator=generator), targets


def value_of(config: TrainConfig, features: Tensor, targets: Tensor) -> Tensor:
    """Return the regulariser () of features, with predictions that are all alike."""
    return regulariser_of(config)(features, targets, targets.mean(0).expand_as(targets))


def check_declaration(config: TrainConfig) -> None:
    """Check that the weight is a positive number, and that a batch has one view or two."""
    kind = REGULARISERS[config.regulariser]
    assert isinstance(kind.weight, float) and kind.weight > 0, f"weight must be a float above 0, got {kind.weight!r}"
    assert kind.views in (1, 2), f"views must be 1 or 2, got {kind.views!r}"


def check_values(config: TrainConfig) -> None:
    """Check that value and gradient are finite: for labels all equal and all different, features large, equal and zero."""
    features, targets = example_features(config)
    labels = targets, targets[:1].expand_as(targets), targets + torch.arange(len(targets))[:, None]
    for chosen in labels:
        for given in (features, 1e4 * features, features[:1].expand_as(features), torch.zeros_like(features)):
            leaf = given.clone().requires_grad_()
            value = value_of(config, leaf, chosen)
            assert value.shape == () and value.isfinite(), f"it must be one finite number, got {value} for {chosen}"
            value.backward()
            assert leaf.grad is not None and leaf.grad.isfinite().all(), f"its gradient is not finite for {chosen}"


def check_order(config: TrainConfig) -> None:
    """Check that the order of the images of a batch makes no difference."""
    features, targets = example_features(config)
    rows = torch.cat([torch.arange(COUNT).flip(0) + COUNT * view for view in range(config.views)])
    value, again = value_of(config, features, targets), value_of(config, features[rows], targets[rows])
    torch.testing.assert_close(again, value, msg=f"it is {value} in one order and {again} in another")


def check_graph(config: TrainConfig) -> None:
    """Check that, with `graph`, no value decides a shape and none is read: forward and back on tensors without values."""
    if not regulariser_of(config).graph:
        return
    features, targets = (values.to("meta") for values in example_features(config))
    try:
        value_of(config, features.requires_grad_(), targets).backward()
    except (RuntimeError, NotImplementedError) as error:
        raise AssertionError(f"a step with it cannot be captured ({str(error).splitlines()[0]}): set graph") from None


def check_step(config: TrainConfig) -> None:
    """Check that a step adds the weighted regulariser to the loss of the head, that it repeats, and moves every weight."""
    images, targets = (values.repeat(config.views, *[1] * (values.ndim - 1)) for values in batch_of(config))
    images = images + 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(3))
    found = []
    for _ in range(2):
        model = example_model(config).train()
        step = Step(model, Optimiser(optimiser_groups(model, config), config.lr), config, Chunks(config), False)
        before = [p.detach().clone() for p in model.parameters()]
        outputs = step.network(images)
        alone = step.objective.loss(model.head, outputs[:-1], targets, None)
        loss = step(images, targets)
        assert not any(map(torch.equal, before, model.parameters())), "a step leaves a weight as it was"
        found.append([loss, torch.tensor(step.means(1)["train/regulariser"]), *model.parameters()])
    loss, value = found[0][:2]
    assert loss.isfinite() and all(map(torch.equal, *found)), "the same step gives other numbers"
    assert config.regulariser_weight is not None
    torch.testing.assert_close(loss, alone + config.regulariser_weight * value, check_dtype=False)


def check_gradients(config: TrainConfig) -> None:
    """Check that the gradient of the regulariser alone reaches every parameter of the trunk."""
    model, (images, targets) = example_model(config), batch_of(config)
    features = model.trunk(torch.cat([images * (1 + view / 10) for view in range(config.views)]))
    value_of(config, features, targets.repeat(config.views, 1)).backward()
    for name, parameter in model.trunk.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, f"no gradient reaches {name}"


def check_descent(config: TrainConfig) -> None:
    """Check that features that follow its gradient make it smaller."""
    features, targets = example_features(config)
    features.requires_grad_()
    optimiser = torch.optim.Adam([features], lr=0.05)
    values = []
    for _ in range(60):
        optimiser.zero_grad()
        value = value_of(config, features, targets)
        value.backward()
        optimiser.step()
        values.append(value.item())
    first, last = sum(values[:5]) / 5, sum(values[-5:]) / 5
    assert last < first, f"it is {first:.4f} at first and {last:.4f} after {len(values)} steps along its gradient"


CHECKS: tuple[Callable[[TrainConfig], None], ...] = (
    check_declaration,
    check_values,
    check_order,
    check_gradients,
    check_graph,
    check_step,
    check_descent,
)
