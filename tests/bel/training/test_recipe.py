"""The published recipe: its effective learning rates, its drop, its frozen stem, and its selection on test."""

import warnings

import pytest
import torch
from torch import nn

from bel.config import TrainConfig
from bel.data.loading import load, split
from bel.heads import HEADS
from bel.model import Model
from bel.run_layout import LAST
from bel.training import checkpoint
from bel.training.build import Optimiser, optimiser_groups
from bel.training.loop import fit, learning_rate


class Block(nn.Module):
    """A residual block with torchvision's names."""

    def __init__(self, inside, outside):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside)
        self.downsample = (
            nn.Sequential(nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside))
            if inside != outside
            else None
        )

    def forward(self, x):
        return torch.relu(self.bn1(self.conv1(x)) + (x if self.downsample is None else self.downsample(x)))


class Trunk(nn.Module):
    """A ResNet of a few channels with torchvision's names."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)
        self.layer1 = nn.Sequential(Block(4, 4), Block(4, 4))
        self.layer2, self.layer3, self.layer4 = (nn.Sequential(Block(4 + i, 5 + i)) for i in range(3))

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


def model_of(config):
    torch.manual_seed(0)
    return Model(Trunk(), HEADS[config.head].build(7, config))


def yielded(modules):
    """Parameters as often as the published generator yields them: once for each module that holds them, at any depth."""
    for module in modules:
        for _, inner in module.named_modules():
            yield from inner.parameters()


def duplicated(model, config, lr):
    """The published optimiser, to the letter: parameters named several times in one Adam."""
    trunk, heads = model.trunk, model.head.axis_heads()
    if config.head == "direct":
        last = [nn.Sequential(head.linear) for head in heads]
    elif config.head == "classification":
        last = [head.linear for head in heads]
    else:
        last = [part for head in heads for part in (head.bottleneck, head.bits)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of the duplicates that are meant
        return torch.optim.Adam(
            [
                {"params": list(yielded([trunk.conv1, trunk.bn1])), "lr": 0},
                {"params": list(yielded([trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4])), "lr": lr},
                {"params": list(yielded(last)), "lr": 5 * lr},
            ],
            lr=lr,
            foreach=False,
        )


@pytest.mark.slow
@pytest.mark.parametrize(("head", "code"), [("bel", "u"), ("direct", None), ("classification", None)])
def test_500_steps_equal_a_literal_duplicate_parameter_adam_and_its_restart(head, code):
    config = TrainConfig.make({"recipe": "published", "head": head, "code": code, "code_bits": 26 if code else None})
    ours, literal = model_of(config), model_of(config)
    optimiser, published = Optimiser(optimiser_groups(ours, config), config.lr), duplicated(literal, config, config.lr)
    generator = torch.Generator().manual_seed(1)
    for step in range(500):
        images = torch.randn(2, 3, 8, 8, generator=generator)
        targets = 60 * torch.rand(2, 3, generator=generator, dtype=torch.float64) - 30
        if step == 300:
            optimiser.restart(config.lr / 10)
            published = duplicated(literal, config, config.lr / 10)
        for model, adam in ((ours, optimiser), (literal, published)):
            adam.zero_grad()
            model.head.loss(model(images), targets).backward()
            adam.step()
    begun = model_of(config).state_dict()
    for name, value in ours.state_dict().items():
        assert torch.equal(value, literal.state_dict()[name]), name
        frozen = name in ("trunk.conv1.weight", "trunk.bn1.weight", "trunk.bn1.bias")
        assert torch.equal(value, begun[name]) == frozen, name


def test_the_steps_a_batch_are_those_of_the_published_generator():
    for head, steps in (("bel", 1), ("direct", 2), ("classification", 1)):
        config = TrainConfig.make({"recipe": "published", "head": head, "code": "u" if head == "bel" else None})
        groups = {(group.factor, group.steps) for group in optimiser_groups(model_of(config), config)}
        assert groups == {(1.0, 3), (1.0, 4), (5.0, steps)}


@pytest.fixture
def published(small):
    return TrainConfig.make(
        small
        | {"recipe": "published", "code": "u", "epochs": 3, "drop_epoch": 1, "selection": "test", "precision": "fp32"}
    )


def test_a_published_run_freezes_the_stem_drops_the_rate_and_selects_on_test(published):
    data, test = load(published, "train"), load(published, "test")
    parts = split(published, data)
    assert len(parts.train) == len(data) and len(parts.val) == len(test) and parts.held.digest == test.digest
    assert parts.digest != split(TrainConfig.make(published.as_dict() | {"selection": "val"}), data).digest
    epochs = [(epoch.metrics, epoch.state()) for epoch in fit(published, data)]
    assert [metrics["lr"] for metrics, _ in epochs] == [published.lr, published.lr / 10, published.lr / 10]
    first, last = epochs[0][1]["weights"], epochs[-1][1]["weights"]
    assert torch.equal(first["trunk.conv1.weight"], last["trunk.conv1.weight"])
    assert not torch.equal(first["trunk.bn1.running_mean"], last["trunk.bn1.running_mean"])
    assert not torch.equal(first["trunk.layer1.0.conv1.weight"], last["trunk.layer1.0.conv1.weight"])
    best = min(metrics["val/mae"] for metrics, _ in epochs)
    assert epochs[-1][0]["val/best_mae"] == best and epochs[-1][1]["data"]["val_images"] == len(test)


def test_a_published_run_that_was_cut_at_the_drop_goes_on_as_if_it_had_not_been(published, tmp_path):
    data = load(published, "train")
    whole = [epoch.state() for epoch in fit(published, data)]
    checkpoint.save(next(fit(published, data)).state(), tmp_path / LAST)
    rest = [epoch.state() for epoch in fit(published, data, resume=checkpoint.load(tmp_path / LAST))]
    for name, value in whole[-1]["weights"].items():
        assert torch.equal(value, rest[-1]["weights"][name]), name


def test_the_last_epoch_counts_where_nothing_selects(make):
    config = make(epochs=3, selection="last", lr=5e-3)
    epochs = list(fit(config, load(config, "train")))
    assert all(epoch.is_best for epoch in epochs)
    assert [e.metrics["val/best_mae"] for e in epochs] == [e.metrics["val/mae"] for e in epochs]
    assert epochs[-1].metrics["val/best_epoch"] == 3


def test_the_rate_drops_after_as_many_epochs(make):
    config = make(schedule="drop", drop_epoch=2, epochs=4, lr=1e-3)
    rates = [learning_rate(config, done) for done in (0, 1.9, 2, 3.9)]
    assert rates == [1e-3, 1e-3, 1e-4, 1e-4]


def test_a_published_direct_head_gives_the_level_itself(small):
    config = TrainConfig.make(small | {"recipe": "published", "head": "direct", "epochs": 2, "drop_epoch": 1})
    head = HEADS["direct"].build(7, config)
    outputs = head(torch.zeros(1, 7))
    for output, one in zip(outputs, head.axis_heads(), strict=True):
        torch.testing.assert_close(output[0], one.linear.bias)
