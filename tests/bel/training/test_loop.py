import shutil

import pytest
import torch
from PIL import Image

from bel.config import TrainConfig
from bel.data.loading import load, split
from bel.errors import Diverged, UserError, sentence
from bel.run_layout import LAST
from bel.training import checkpoint
from bel.training.build import Optimiser
from bel.training.evaluate import constant_median, evaluate
from bel.training.loop import best_epoch, fit, learning_rate, refuse_divergence, selection_metric

EXACT = ("val/mae", "val/mae_yaw", "train/loss", "lr", "val/best_mae", "val/best_epoch")


def numbers(epoch):
    return {name: epoch.metrics[name] for name in EXACT}


def timeless(metrics):
    return {name: value for name, value in metrics.items() if name != "images_per_s"}


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_training_lowers_loss_and_error(make):
    config = make(epochs=6, loss="ce", lr=3e-3)
    data = load(config, "train")
    epochs = list(fit(config, data))
    assert [e.number for e in epochs] == [1, 2, 3, 4, 5, 6]
    assert epochs[-1].metrics["train/loss"] < 0.9 * epochs[0].metrics["train/loss"]
    best = min(e.metrics["val/mae"] for e in epochs)
    assert epochs[-1].metrics["val/best_mae"] == best
    assert {"val/mae_yaw", "val/mae_pitch", "val/mae_roll", "val/expected/mae", "val/argmax/mae"} <= set(
        epochs[0].metrics
    )


def test_a_seeded_run_repeats_bit_for_bit(make):
    config = make(flip=0.5, blur=0.3)
    data = load(config, "train")
    first, second = ([(numbers(e), e.state()) for e in fit(config, data)] for _ in range(2))
    assert [n for n, _ in first] == [n for n, _ in second]
    assert same(first[-1][1], second[-1][1])
    other = [numbers(e) for e in fit(make(flip=0.5, blur=0.3, seed=1), data)]
    assert other != [n for n, _ in first]


def test_a_resumed_run_equals_the_uninterrupted_one(make, tmp_path):
    config = make(epochs=3, flip=0.5, backbone="mobilenet_v2")  # with dropout
    data = load(config, "train")
    whole = [(numbers(e), e.state()) for e in fit(config, data)]
    begun = fit(config, data)
    checkpoint.save(next(begun).state(), tmp_path / LAST)
    rest = [(numbers(e), e.state()) for e in fit(config, data, resume=checkpoint.load(tmp_path / LAST))]
    assert [n for n, _ in rest] == [n for n, _ in whole[1:]]
    assert same(rest[-1][1], whole[-1][1])


AUGMENTED = {"flip": 0.5, "blur": 0.3, "rotate": 20.0, "jitter": 0.3, "erase": 0.4}


@pytest.mark.parametrize(
    "fields",
    [
        {"head": "bel", "schedule": "cosine", "epochs": 3},
        {"head": "rlel", "code": None, "schedule": "drop", "drop_epoch": 2, "epochs": 4},
        {"head": "rotation6d", "code": None, "schedule": "drop", "drop_epoch": 1, "epochs": 3, "selection": "last"},
        {"head": "bel", "recipe": "published", "schedule": "drop", "drop_epoch": 1, "epochs": 3, "precision": "fp32"},
    ],
)
def test_a_run_cut_after_every_epoch_equals_the_uninterrupted_one(make, tmp_path, fields):
    config = make(**(AUGMENTED | {"frame_stride": 2} | fields))
    data = load(config, "train")
    cut = None
    for epoch in fit(config, data):
        again = next(fit(config, data, resume=cut))
        assert timeless(again.metrics) == timeless(epoch.metrics) and again.is_best == epoch.is_best
        assert same(again.state(), epoch.state())  # weights, Adam's moments and steps, best, metrics, facts
        checkpoint.save(again.state(), tmp_path / LAST)
        cut = checkpoint.load(tmp_path / LAST)
    assert epoch.number == config.epochs


@pytest.mark.parametrize("cut", [1, 2])  # before the last epoch that was planned, as by a scheduler, and after it
@pytest.mark.parametrize(
    "fields",
    [
        {"schedule": "constant"},
        {"schedule": "drop", "drop_epoch": 1, "selection": "last"},
        {"schedule": "cosine"},
        {"schedule": "cosine", "selection": "test"},
    ],
)
def test_a_run_that_is_made_longer_equals_one_of_that_length_from_the_start(make, tmp_path, fields, cut):
    short = make(**(AUGMENTED | {"frame_stride": 2, "backbone": "mobilenet_v2"} | fields))  # with dropout
    config = short.longer(4)
    data = load(config, "train")
    whole = [(timeless(e.metrics), e.state()) for e in fit(config, data)]
    for epoch, (metrics, _) in zip(fit(short, data), whole[:cut], strict=False):
        assert timeless(epoch.metrics) == metrics
        checkpoint.save(epoch.state(), tmp_path / LAST)
    rest = [(timeless(e.metrics), e.state()) for e in fit(config, data, checkpoint.load(tmp_path / LAST))]
    assert [metrics for metrics, _ in rest] == [metrics for metrics, _ in whole[cut:]]
    assert same(rest[-1][1], whole[-1][1])  # with weights, Adam's moments and steps, best, config


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "mae_groups"),
        ({"recipe": "published", "backbone": "resnet10", "selection": "val"}, "mae"),
        ({"selection": "test"}, "mae"),
    ],
)
def test_each_group_counts_once_in_the_choice_of_the_epoch_but_as_published_each_image(make, fields, name):
    assert selection_metric(make(**fields), {}) == name


def test_a_run_of_an_earlier_version_goes_on_to_choose_by_images(make):
    measured = {
        "val/mae": 3.0,
        "val/mae_groups": 9.0,
        "val/mae_yaw": 3.0,
        "val/mae_groups_yaw": 9.0,
        "val/expected/mae": 3.0,
    }
    older = best_epoch(2, measured, {"val/best_mae": 4.0, "val/best_mae_yaw": 4.0, "val/best_epoch": 1.0})
    assert older == {"val/best_mae": 3.0, "val/best_mae_yaw": 3.0, "val/best_epoch": 2.0}
    assert (
        selection_metric(make(), older) == "mae"
        and selection_metric(make(), best_epoch(1, measured, {})) == "mae_groups"
    )


def test_selection_never_sees_a_training_group(make):
    config = make()
    data = load(config, "train")
    parts = split(config, data)
    train_rows, val_rows = parts.train, parts.val
    groups = [{data.groups[i] for i in part.tolist()} for part in (train_rows, val_rows)]
    assert groups[0] and groups[1] and not groups[0] & groups[1]
    assert len(train_rows) + len(val_rows) == len(data)


def test_schedules_start_at_lr_and_cosine_ends_at_zero(make):
    assert learning_rate(make(lr=1e-3), 0) == 1e-3
    assert learning_rate(make(lr=1e-3, epochs=4), 2) == pytest.approx(5e-4)
    assert learning_rate(make(lr=1e-3, epochs=4), 4) == pytest.approx(0, abs=1e-12)
    assert learning_rate(make(lr=1e-3, epochs=4, schedule="constant"), 3.9) == 1e-3


def test_a_cosine_that_begins_anew_is_the_same_before_and_lasts_to_the_next_restart():
    first, longer = TrainConfig(code="u", epochs=4), TrainConfig(code="u", epochs=12, restarts=(4, 6))
    assert [learning_rate(longer, e / 7) for e in range(28)] == [learning_rate(first, e / 7) for e in range(28)]
    assert learning_rate(longer, 4) == learning_rate(longer, 6) == longer.lr
    assert learning_rate(longer, 5) == learning_rate(longer, 9) == pytest.approx(longer.lr / 2)
    assert learning_rate(longer, 12) == pytest.approx(0, abs=1e-12)


def test_a_loss_that_is_not_finite_is_said(make, broken_weights):
    config = make(weights=str(broken_weights))
    with pytest.raises(Diverged, match="training loss became nan in epoch 1: lower lr"):
        next(fit(config, load(config, "train")))


def test_a_loss_that_is_not_finite_ends_an_epoch_early(make, broken_weights, monkeypatch):
    config = make(weights=str(broken_weights))
    data = load(config, "train")
    steps = []
    step = Optimiser.step
    monkeypatch.setattr("bel.training.loop.CHECK_EVERY", 3)
    monkeypatch.setattr(Optimiser, "step", lambda optimiser: steps.append(step(optimiser)))
    with pytest.raises(Diverged, match="training loss became nan in epoch 1"):
        next(fit(config, data))
    assert len(steps) == 3 < len(split(config, data).train) // config.batch_size


def test_an_error_in_a_sentence():
    assert sentence(Diverged("the training loss became nan")) == "the training loss became nan"
    assert (
        sentence(RuntimeError("\n  CUDA error: unspecified\nCompile with ..."))
        == "RuntimeError: CUDA error: unspecified"
    )
    assert sentence(KeyError("x")) == "KeyError: 'x'" and sentence(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_a_batch_larger_than_the_data_is_refused(make):
    config = make(batch_size=4096)
    with pytest.raises(UserError, match="batch_size 4096 is more than"):
        fit(config, load(config, "train"))


def test_a_validation_error_that_is_not_finite_is_said():
    with pytest.raises(Diverged, match="validation error became inf in epoch 3"):
        refuse_divergence("validation error", float("inf"), 3)
    refuse_divergence("validation error", 3.0, 3)


def test_a_resume_on_other_data_is_refused(make):
    config = make(epochs=1)
    data = load(config, "train")
    state = next(fit(config, data)).state()
    state["data"] = state["data"] | {"split_hash": "other"}
    with pytest.raises(UserError, match="lists or files have changed"):
        fit(config, data, resume=state)


@pytest.fixture(scope="module")
def evaluated(rendered, cache):
    from bel.config import TrainConfig

    fields = {
        "data_root": str(rendered), "cache_dir": str(cache), "crop": "frame", "image_size": 32, "backbone": "resnet10",
        "weights": "none", "batch_size": 8, "epochs": 3, "lr": 1e-3, "device": "cpu", "code": "b1jdj", "loss": "ce",
    }  # fmt: skip
    config = TrainConfig.make(fields)
    for epoch in fit(config, load(config, "train")):
        state = epoch.state()
    return TrainConfig, fields, state


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_batch_size_hardly_changes_an_evaluation(evaluated, batch):
    make_config, fields, state = evaluated
    results = {}
    for size in (64, batch):
        config = make_config.make(fields | {"eval_batch_size": size})
        test = load(config, "test")
        results[size] = evaluate(checkpoint.restore(state, config), test, torch.arange(len(test)), config)
    one, other = results[64], results[batch]
    torch.testing.assert_close(one.predictions["expected"], other.predictions["expected"], rtol=0, atol=1e-3)
    assert abs(one.metrics("test")["test/mae"] - other.metrics("test")["test/mae"]) <= 1e-4
    assert (one.predictions["argmax"] != other.predictions["argmax"]).any(1).sum() <= 5


def test_evaluation_counts_every_image_once_and_in_float64(evaluated):
    make_config, fields, state = evaluated
    config = make_config.make(fields)
    test = load(config, "test")
    result = evaluate(checkpoint.restore(state, config), test, torch.arange(len(test)), config)
    assert result.names == test.names and result.targets.dtype == result.predictions["expected"].dtype == torch.float64
    by_hand = (result.predictions["expected"] - test.targets).abs().mean(0)
    assert result.metrics("test")["test/mae_yaw"] == pytest.approx(by_hand[0].item(), abs=1e-12)
    assert result.metrics("test")["test/mae"] == pytest.approx(by_hand.mean().item(), abs=1e-12)
    median = constant_median(load(config, "train").targets, result)
    assert (median.predictions["median"] == median.predictions["median"][0]).all()


def test_checkpoints_refuse_what_they_are_not(evaluated, tmp_path):
    make_config, fields, state = evaluated
    path = tmp_path / "x.pt"
    with pytest.raises(UserError, match="no checkpoint at"):
        checkpoint.load(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"is not loaded: it is damaged, or torch\.save did not write it"):
        checkpoint.load(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(UserError, match="not one of our checkpoints: it lacks"):
        checkpoint.load(path)
    checkpoint.save(state, path)
    other = make_config.make(fields | {"code": None, "loss": "l1", "head": "direct"})
    with pytest.raises(UserError, match=r"of another network \(head bel, code b1jdj"):
        checkpoint.restore(checkpoint.load(path), other)
    assert not [p for p in tmp_path.iterdir() if p != path], "a part of a checkpoint is left"


def test_a_checkpoint_holds_plain_values_and_loads_without_unpickling_code(evaluated, tmp_path):
    checkpoint.save(evaluated[2], tmp_path / "x.pt")
    state = torch.load(tmp_path / "x.pt", weights_only=True)
    assert {"config", "weights", "optimiser", "epoch", "best"} <= set(state)
    assert state["epoch"] == 3 and state["config"]["code"] == "b1jdj"


def test_a_run_does_not_go_on_with_other_pixels(make, rendered, tmp_path):
    shutil.copytree(rendered / "BIWI", tmp_path / "BIWI")
    config = make(data_root=str(tmp_path), epochs=2)
    state = next(fit(config, load(config, "train"))).state()
    for path in (tmp_path / "BIWI" / "hpdb").rglob("*.png"):
        Image.open(path).convert("L").save(path)
    with pytest.raises(UserError, match="its lists or files have changed"):
        next(fit(config, load(config, "train"), resume=state))


def test_a_checkpoint_of_an_older_format_means_what_it_meant(evaluated):
    state = evaluated[2]
    assert state["format"] == checkpoint.FORMAT and checkpoint.config_of(state).as_dict() == state["config"]
    fields = {name: value for name, value in state["config"].items() if name not in ("exif", "center_crop")}
    older = {name: value for name, value in state.items() if name != "format"} | {"config": fields}
    config = checkpoint.config_of(older, {"device": "cpu"})
    assert (config.exif, config.center_crop) == ("ignore", "floor")
    assert checkpoint.config_of(older | {"format": 2}).center_crop == "round"
    for number in (0, 3, "2", None):
        with pytest.raises(
            UserError, match=r"the checkpoint is of format .*, this version reads 1 to 2: use a newer one"
        ):
            checkpoint.config_of(older | {"format": number})
