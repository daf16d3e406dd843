"""What a checkpoint must hold, and what becomes of one that holds something else: one line."""

import math
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from bel.config import TrainConfig
from bel.errors import UserError
from bel.training.build import Optimiser, build_model, optimiser_groups
from bel.training.checkpoint import RULES, checked, config_of, load, restore, save

NESTED = {"a": [{"b": None}]}
VALUES = [None, {}, [], "", 0, -1, math.nan, NESTED, True, "x", [1], {1: 2}, 1e308, 10**18, torch.zeros(2), "~nobody/x"]
CSV = {
    "name": "csv", "train": "x.csv", "image": "i", "group": "g", "box": ["a", "b", "c", "d"], "pose": False,
    "targets": {"a": {"low": 0, "high": 1, "levels": 10, "unit": "deg", "flip": 1}}, "test_fraction": 0.2, "test_seed": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def sound():
    """The state of a checkpoint that is one."""
    values = {
        "crop": "frame",
        "image_size": 32,
        "backbone": "resnet10",
        "weights": "none",
        "code": "u",
        "device": "cpu",
    }
    config = TrainConfig.make(values)
    return {
        "config": config.as_dict(),
        "weights": build_model(config).state_dict(),
        "optimiser": [],
        "epoch": 3,
        "best": {"val/best_mae": 9.0},
        "metrics": {"val/mae": 9.0},
        "data": {"data_digest": "0" * 12, "split_hash": "0" * 12},
        "environment": {"device": "cpu", "torch": "2.11", "code_version": "0" * 12},
        "format": 2,
    }


def opened(state):
    """The network of a state, as every command makes it."""
    config = config_of(checked(Path("x.pt"), state), {"weights": "none", "device": "cpu"})
    return restore(state, config)


def refused(state):
    """The one line that a state is refused with."""
    with pytest.raises(UserError) as caught:
        opened(state)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_sound_one_is_opened(sound, tmp_path):
    save(sound, tmp_path / "x.pt")
    weights = opened(load(tmp_path / "x.pt")).state_dict()
    assert all(torch.equal(weights[name], value) for name, value in sound["weights"].items())


@pytest.mark.parametrize("value", VALUES, ids=lambda value: str(value)[:12])
@pytest.mark.parametrize("key", RULES)
def test_every_key_with_a_value_that_is_none_of_its_own_is_one_line(sound, key, value):
    if (key, repr(value)) in {("optimiser", "[]"), ("epoch", repr(10**18))}:
        assert opened(sound | {key: value})
        return
    said = refused(sound | {key: value})
    assert said.startswith(f"x.pt is not a sound checkpoint: its {key} must be ") or key in ("weights", "config")


@pytest.mark.parametrize("key", RULES)
def test_a_key_that_is_missing_is_named(sound, key):
    assert refused({name: value for name, value in sound.items() if name != key}) == (
        f"x.pt is not one of our checkpoints: it lacks ['{key}']"
    )


@pytest.mark.parametrize(
    ("key", "changes", "says"),
    [
        ("metrics", {"val/mae": "9"}, "its metrics must be numbers by name, with val/mae"),
        ("metrics", {"val/mae": math.nan}, "its metrics must be numbers by name, with val/mae"),
        ("metrics", {"val/mae": True}, "its metrics must be numbers by name, with val/mae"),
        ("weights", {"trunk.conv1.weight": torch.full((64, 3, 7, 7), math.nan)}, "trunk.conv1.weight are not finite"),
        ("best", {"val/best_mae": None}, "its best must be numbers"),
        ("environment", {"device": " "}, "its environment must be text by name"),
        ("environment", {"torch": 2.1}, "its environment must be text by name"),
        ("environment", {"device": "cpu\x1b[2K\rtest MAE 0.1"}, "characters that are not to be seen: 'cpu\\x1b[2K"),
        ("metrics", {"val/\u202emae": 1.0}, "characters that are not to be seen"),
        ("data", {"split_hash": 1}, "its data must be facts by name"),
        ("config", {"colour": "red"}, "unknown config field 'colour'"),
        ("config", {"image_size": "large"}, "image_size must be a whole number"),
        ("config", {"theta": 10**9}, "theta must be from 1 to 10000"),
        ("config", {"backbone": "resnet18"}, "of another network"),
        ("weights", {"head.x": torch.zeros(1)}, "1 keys differ, the first is head.x"),
        ("weights", {"trunk.conv1.weight": torch.zeros(3)}, "1 keys differ, the first is trunk.conv1.weight"),
        ("weights", {"trunk.conv1.weight": torch.zeros(64, 3, 7, 7, dtype=torch.float64)}, "1 keys differ"),
        ("weights", {"trunk.conv1.weight": None}, "its weights must be tensors by name"),
        ("weights", {3: torch.zeros(1)}, "its weights must be tensors by name"),
    ],
)
def test_what_is_wrong_within_a_key_is_said(sound, key, changes, says):
    assert says in refused(sound | {key: sound[key] | changes})


def values_of(config):
    """Configs that differ from a sound one in a field, in a key of a table, or in one of its target."""
    (name, target), *_ = CSV["targets"].items()
    for value in VALUES:
        yield from (config | {f.name: value} for f in fields(TrainConfig))
        yield from (config | {"protocol": CSV | {key: value}} for key in CSV)
        yield from (config | {"protocol": CSV | {"targets": {name: target | {key: value}}}} for key in target)


def test_no_value_of_a_config_ends_in_anything_but_a_line(sound):
    done = 0
    for config in values_of(sound["config"]):
        try:
            config_of(sound | {"config": config}, {"weights": "none", "device": "cpu"})
        except UserError as error:
            assert "\n" not in str(error)
            done += 1
    assert done > 500


def test_nothing_is_written_where_a_checkpoint_says(sound, tmp_path):
    state = sound | {"config": sound["config"] | {"cache_dir": str(tmp_path / "theirs")}}
    usual = str(Path(TrainConfig.cache_dir).absolute())
    assert config_of(state).cache_dir == usual
    assert config_of(state, {"cache_dir": str(tmp_path / "ours")}).cache_dir == str(tmp_path / "ours")


@pytest.fixture(scope="module")
def optimised(sound):
    """A network, its optimiser after a step, and the state of that."""
    config = config_of(sound)
    model = build_model(config)
    optimiser = Optimiser(optimiser_groups(model, config), 1e-3)
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimiser.step()
    return optimiser, optimiser.state_dict()


def first_moment(states, **changes):
    """The states with changes in the moments of the first parameter."""
    moments = states[0]["state"]
    return [states[0] | {"state": moments | {0: moments[0] | changes}}, *states[1:]]


@pytest.mark.parametrize(
    "broken",
    [
        lambda states: [],
        lambda states: states[:1],
        lambda states: [*states, states[0]],
        lambda states: [{} for _ in states],
        lambda states: [state | {"state": None} for state in states],
        lambda states: [state | {"state": {"0": {}}} for state in states],
        lambda states: [state | {"state": {0: None}} for state in states],
        lambda states: [state | {"state": {10**6: {}}} for state in states],
        lambda states: first_moment(states, exp_avg=torch.zeros(1)),
        lambda states: first_moment(states, exp_avg_sq=None),
        lambda states: first_moment(states, step="1"),
        lambda states: first_moment(states, step=torch.zeros((), dtype=torch.int64)),
        lambda states: states[::-1],
    ],
)
def test_a_state_of_another_optimiser_is_refused(optimised, broken):
    optimiser, states = optimised
    with pytest.raises(UserError, match="no state of Adam for this network"):
        optimiser.load_state_dict(broken(states))
    optimiser.load_state_dict(states)
    optimiser.load_state_dict([{"state": {}} for _ in states])
