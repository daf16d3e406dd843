"""What a step minimises: the mean of two views, weights by label density, a regulariser in chunks, and whole trainings."""

import pytest
import torch

from bel.data import balance
from bel.data.balance import Balance
from bel.data.loading import load
from bel.model import WithFeatures
from bel.regularisers import REGULARISERS
from bel.run_layout import LAST
from bel.testing.heads import example_batch, example_config, example_model
from bel.training import checkpoint
from bel.training.loop import fit
from bel.training.objective import Objective
from tests.bel.training.test_loop import same, timeless

CPU = torch.device("cpu")


@pytest.mark.parametrize(("head", "code", "loss"), [("bel", "u", "bce"), ("direct", None, "l1"), ("rlel", None, None)])
def test_the_loss_of_two_views_is_the_mean_of_both_for_sums_too(head, code, loss):
    config = example_config(head, code, loss, regulariser="rnc")
    model, (images, targets) = example_model(config), example_batch(3, 8)
    objective = Objective(config, None, CPU)
    outputs, features = (network(images) for network in (model, objective.network(model)))
    assert all(map(torch.equal, features, [*outputs, model.trunk(images)]))
    found = objective.loss(model.head, outputs, targets, None)
    views = [model.head.loss([output[part] for output in outputs], targets[part]) for part in (slice(4), slice(4, 8))]
    torch.testing.assert_close(found, sum(views) / 2)


def test_an_objective_without_options_is_the_loss_of_the_head():
    config = example_config("bel", "u")
    model, (images, targets) = example_model(config), example_batch(3, 8)
    objective = Objective(config, targets, CPU)
    loss, penalty = objective(model.head, objective.network(model)(images), targets)
    assert penalty is None and torch.equal(loss, model.head.loss(model(images), targets))


def test_balance_weights_loss_and_regulariser():
    config = example_config("direct", axes=2, regulariser="conr", balance="lds")
    model, (images, targets) = example_model(config), example_batch(2, 8)
    every = torch.cat([targets, targets[:3].repeat(20, 1)])
    objective = Objective(config, every, CPU)
    outputs = objective.network(model)(images)
    loss, penalty = objective(model.head, outputs, targets)
    weights = Balance(every, config.axes)(targets)
    alone = objective.loss(model.head, outputs[:-1], targets, weights)
    torch.testing.assert_close(loss, alone + 4 * penalty)
    assert alone != objective.loss(model.head, outputs[:-1], targets, None)
    predictions = model.head.decode(outputs[:-1])["direct"]
    by_hand = REGULARISERS["conr"](config.axes)(outputs[-1], targets, predictions, weights.mean(-1))
    torch.testing.assert_close(penalty, by_hand.detach())


@pytest.mark.parametrize("regulariser", ["ranksim", "conr"])
def test_in_chunks_a_regulariser_sees_the_whole_batch(make, regulariser, monkeypatch):
    config = make(regulariser=regulariser, epochs=1, frame_stride=2, precision="fp32")
    data = load(config, "train")
    views, passes, plain = config.views, [], WithFeatures.forward

    def forward(network, images):
        passes.append(len(images))
        if len(images) > 4 * views:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(network, images)

    seen = []
    kind = REGULARISERS[regulariser]
    regularise = kind.__call__
    monkeypatch.setattr(
        kind, "__call__", lambda own, features, *rest: seen.append(len(features)) or regularise(own, features, *rest)
    )
    monkeypatch.setattr(WithFeatures, "forward", forward)
    (epoch,) = fit(config, data)
    assert epoch.metrics["accumulation"] == 2 and set(passes[1:]) == {4 * views} and set(seen) == {8 * views}
    assert epoch.metrics["train/loss"] > config.regulariser_weight * epoch.metrics["train/regulariser"] >= 0


def test_balance_changes_a_training_and_no_option_is_as_none(make, monkeypatch):
    monkeypatch.setattr(balance, "FEWEST", 1)  # there are few images
    losses = []
    for fields in ({}, {"regulariser": "none", "balance": "none"}, {"balance": "lds"}):
        config = make(epochs=1, frame_stride=2, **fields)
        (epoch,) = fit(config, load(config, "train"))
        assert "train/regulariser" not in epoch.metrics
        losses.append(epoch.metrics["train/loss"])
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.slow
@pytest.mark.parametrize("regulariser", REGULARISERS)
@pytest.mark.parametrize("fields", [{"code": "u", "loss": "ce"}, {"head": "direct", "code": None, "jitter": 0.2}])
def test_a_regularised_run_trains_repeats_and_goes_on_bit_for_bit(make, tmp_path, regulariser, fields):
    config = make(epochs=3, flip=0.5, backbone="mobilenet_v2", regulariser=regulariser, **fields)  # with dropout
    data = load(config, "train")
    whole, again = ([(timeless(e.metrics), e.state()) for e in fit(config, data)] for _ in range(2))
    assert [m for m, _ in whole] == [m for m, _ in again] and same(whole[-1][1], again[-1][1])
    checkpoint.save(whole[0][1], tmp_path / LAST)
    rest = [(timeless(e.metrics), e.state()) for e in fit(config, data, resume=checkpoint.load(tmp_path / LAST))]
    assert [m for m, _ in rest] == [m for m, _ in whole[1:]] and same(rest[-1][1], whole[-1][1])
    (plain, *_) = fit(make(epochs=1, flip=0.5, backbone="mobilenet_v2", **fields), data)
    assert not same(whole[0][1]["weights"], plain.state()["weights"]) and "train/regulariser" in whole[0][0]
