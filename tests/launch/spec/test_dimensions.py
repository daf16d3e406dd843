"""Dimensions: every kind of interval, and those that vary only under a condition."""

from collections import Counter

import numpy as np
import optuna
import pytest

from bel.errors import UserError
from launch.spec.combinations import lower_bounds, make_config, make_plan
from launch.spec.dimensions import Finite, Interval
from launch.spec.sampling import draw, suggest
from launch.tracking.params import label
from tests.launch.spec.test_sweep_file_and_sampling import BASE, CONDITIONAL, sweep

INTERVALS = [
    ("lr", {"uniform": [1e-4, 1e-3]}, Interval(1e-4, 1e-3)),
    ("lr", {"loguniform": ["1e-5", 1e-3]}, Interval(1e-5, 1e-3, log=True)),
    ("flip", {"quniform": [0, 0.3, 0.1]}, Interval(0, 0.3, step=0.1)),
    ("sigma", {"uniform": [1, 4]}, Interval(1, 4)),
    ("batch_size", {"int": [2, 5]}, Interval(2, 5, whole=True)),
    ("code_bits", {"qint": [100, 130, 10]}, Interval(100, 130, step=10, whole=True)),
    ("theta", {"logint": [1, 8]}, Interval(1, 8, log=True, whole=True)),
]


@pytest.mark.parametrize(("name", "kind", "expected"), INTERVALS)
def test_every_kind_of_interval_is_drawn_and_suggested_in_itself(name, kind, expected):
    base = BASE | ({"head": "soft_label"} if name == "sigma" else {})
    random = sweep({name: kind}, base, search={"method": "random", "trials": 60})
    dimension, drawn = random.space[name], draw(random, make_plan(random))
    assert dimension == expected
    tpe = sweep({name: kind}, base, search={"method": "tpe", "trials": 60})
    plan, study = make_plan(tpe), optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    suggested = [suggest(tpe, plan, study.ask()) for _ in range(60)]
    for found in ([v[name] for v in drawn], [v[name] for v in suggested]):
        assert all(value in dimension and type(value) is (int if dimension.whole else float) for value in found)
        if dimension.step or dimension.whole:
            count = round((dimension.high - dimension.low) / (dimension.step or 1)) + 1
            assert len(set(found)) == count and {min(found), max(found)} == {dimension.low, dimension.high}
    assert all(getattr(make_config(tpe, values), name) == values[name] for values in suggested[:5])


def test_a_word_may_be_among_numbers():
    space = {"theta": {"grid": ["5", "none"]}, "lr": {"grid": [1e-3, 1e-2], "when": {"theta": "none"}}}
    s = sweep(space, BASE | {"lr": 5e-4})
    plan = make_plan(s)
    assert s.space["theta"] == Finite((5, "none"))
    assert [(config.theta, config.lr) for config in plan.configs] == [(5, 5e-4), ("none", 1e-3), ("none", 1e-2)]
    names = [label(config, s) for config in plan.configs]
    assert "theta=5" in names[0] and "theta=none" in names[1]
    heads = sweep({"head": {"grid": ["direct", "bel"]}, "theta": {"grid": [None, "none"]}})
    assert [config.theta for config in make_plan(heads).configs] == [None, 10, "none"]
    with pytest.raises(UserError, match="theta must be a whole number or none, got 'all'"):
        sweep({"theta": {"grid": [5, "all"]}})


def test_numbers_on_steps_are_those_that_a_user_writes():
    steps = Interval(0.1, 0.7, step=0.2)
    generator = np.random.default_rng(0)
    drawn = Counter(steps.sample(generator) for _ in range(400))
    assert set(drawn) == {0.1, 0.3, 0.5, 0.7} and min(drawn.values()) > 70
    assert 0.3 in steps and 0.1 in steps and 0.7 in steps
    assert 0.4 not in steps and 0.9 not in steps and -0.1 not in steps


def test_a_logarithm_is_drawn_evenly_in_itself():
    generator = np.random.default_rng(0)
    drawn = [Interval(1, 1000, log=True, whole=True).sample(generator) for _ in range(600)]
    assert 1 in drawn and 250 < sum(value < 30 for value in drawn) < 400


def test_a_whole_interval_is_valid_at_all_of_its_values():
    search = {"method": "random", "trials": 3}
    with pytest.raises(UserError, match=r"space\.code_bits is not valid at 101: .* even number"):
        make_plan(sweep({"code": {"grid": ["u", "j"]}, "code_bits": {"int": [100, 120]}}, search=search))
    with pytest.raises(UserError, match=r"space\.code_bits is not valid at .*: .* at most 256"):
        make_plan(sweep({"code": {"grid": ["u", "hex16"]}, "code_bits": {"int": [100, 300]}}, search=search))
    fits = {"int": [100, 300], "when": {"code": "u"}}
    assert make_plan(sweep({"code": {"grid": ["u", "hex16"]}, "code_bits": fits}, search=search)).combinations
    assert make_plan(
        sweep({"code": {"grid": ["u", "j"]}, "code_bits": {"qint": [76, 78, 2]}}, search=search)
    ).combinations


def test_a_conditional_list_varies_only_where_its_condition_holds():
    space = {
        "lr": {"grid": [1e-3, 1e-2], "when": {"head": ["bel", "direct"], "loss": "l1"}},
        "head": {"grid": ["bel", "direct", "soft_label"]},
        "loss": {"grid": ["l1", "mse", "kl"]},
    }
    s = sweep(space, BASE | {"lr": 5e-4})
    plan = make_plan(s)
    rates = {(v["head"], v["loss"]): set() for v in plan.combinations}
    for values in plan.combinations:
        rates[values["head"], values["loss"]].add((values.get("lr"), make_config(s, values).lr))
    both, base = {(1e-3, 1e-3), (1e-2, 1e-2)}, {(None, 5e-4)}
    assert rates == {
        ("bel", "l1"): both, ("direct", "l1"): both, ("bel", "mse"): base, ("direct", "mse"): base,
        ("soft_label", "kl"): base,
    }  # fmt: skip
    assert list(s.space) == ["head", "loss", "lr"] and s.space["lr"].when == {
        "head": ("bel", "direct"),
        "loss": ("l1",),
    }


def test_a_dimension_whose_conditioner_does_not_vary_does_not_vary():
    space = {
        "head": {"grid": ["direct", "bel"]},
        "image_size": {"grid": [32, 64], "when": {"head": "bel"}},
        "flip": {"grid": [0.1, 0.2], "when": {"image_size": 64}},
    }
    s = sweep(space, BASE | {"image_size": 64})
    assert make_plan(s).combinations == [
        {"head": "direct"},
        {"head": "bel", "image_size": 32},
        {"head": "bel", "image_size": 64, "flip": 0.1},
        {"head": "bel", "image_size": 64, "flip": 0.2},
    ]


def test_a_condition_on_base_holds_always():
    s = sweep({"lr": {"grid": [1e-3, 1e-2], "when": {"head": "direct"}}}, BASE | {"head": "direct"})
    assert make_plan(s).combinations == [{"lr": 1e-3}, {"lr": 1e-2}]


def test_conditional_intervals_are_drawn_and_suggested_only_where_they_hold():
    s = sweep(CONDITIONAL, search={"method": "random", "trials": 50})
    plan = make_plan(s)
    drawn = draw(s, plan)
    assert len({str(v) for v in drawn}) == len(drawn) == 50
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for values in [*drawn, *(suggest(s, plan, study.ask()) for _ in range(30))]:
        assert ("lr" in values) == (values["head"] == "bel") and ("rotate" in values) == (values["protocol"] == "biwi")
        assert make_config(s, values).lr == values.get("lr", 1e-4)
    everywhere = make_config(s, {"head": "direct", "protocol": "aflw2000"} | lower_bounds(s))
    assert everywhere.lr == 1e-4 and everywhere.rotate == 0


def test_the_ends_of_a_conditional_interval_count_only_where_it_varies():
    space = {"crop": {"grid": ["frame", "landmarks"]}, "margin": {"uniform": [0, 1], "when": {"crop": "landmarks"}}}
    search = {"method": "random", "trials": 3}
    base = BASE | {"protocol": "aflw2000"}
    assert len(make_plan(sweep(space, base, search=search)).combinations) == 2
    with pytest.raises(UserError, match="margin must be from 0 to 10"):
        make_plan(sweep(space | {"margin": {"uniform": [0, 11], "when": {"crop": "landmarks"}}}, base, search=search))


def test_a_random_search_ends_where_its_space_does():
    s = sweep({"batch_size": {"int": [2, 4]}}, search={"method": "random", "trials": 9})
    assert sorted(v["batch_size"] for v in draw(s, make_plan(s))) == [2, 3, 4]
