"""What a running sweep may be given is what its file may have."""

import json
import re
from dataclasses import asdict

import pytest

from bel.errors import UserError
from launch.spec.combinations import make_plan
from launch.steering.checks import check_configuration, check_setting, inside, widen
from launch.steering.stored_sweep import sweep_of
from tests.launch.spec.test_sweep_file_and_sampling import BASE, sweep

LISTS = {"head": {"grid": ["bel", "direct"]}, "code": {"grid": ["u", "j", "hex16"]}}
RATE = {"lr": {"loguniform": [1e-5, 1e-3]}}


def made(space=LISTS, **more):
    """A sweep over a space."""
    base = (
        BASE
        | more.pop("base", {})
        | {k: v for k, v in (("head", "bel"), ("code", "u")) if not {k, "head"} & space.keys()}
    )
    return sweep(space, base, **more)


def test_a_sweep_is_made_again_from_what_mlflow_has_of_it():
    space = LISTS | RATE | {"epochs": {"int": [2, 9], "when": {"head": "bel"}}}
    whole = made(space, search={"method": "tpe", "trials": 3}, exclude=[{"head": "direct", "code": "u"}][:0])
    assert sweep_of(json.loads(json.dumps(asdict(whole)))) == whole
    ruled = made(LISTS, exclude=[{"code": "hex16"}])
    assert sweep_of(json.loads(json.dumps(asdict(ruled)))) == ruled


def test_a_configuration_is_fields_over_the_base_whose_values_need_not_be_in_the_lists():
    values, config = check_configuration(made(), {"head": "bel", "code": "had", "lr": "1e-3"})
    assert values == {"head": "bel", "code": "had", "lr": 1e-3} and (config.code, config.lr) == ("had", 1e-3)
    assert check_configuration(made(), {"head": "direct"})[1].head == "direct"
    assert inside(made(), {"head": "bel", "code": "j"}) and not inside(made(), {"head": "bel", "code": "had"})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"code": "u"}, "head is lacking: a configuration names every dimension that varies, ['head', 'code']"),
        ({"head": "bel"}, "code is lacking"),
        (
            {"head": "direct", "code": "u"},
            "code does not vary beside the other values of this configuration: leave it out",
        ),
        ({"head": "bel", "code": "z"}, "'z'"),
        ({"heads": "bel"}, "unknown config field 'heads'"),
        ({"head": "bel", "code": "u", "lr": "fast"}, "lr must be a finite number, got 'fast'"),
        ({"head": "bel", "code": "u", "protocol": "aflw2000"}, "protocol is one for all of a sweep: leave it out"),
        ({"head": "bel", "code": "u", "seed": 3}, "seed is decided by the search of this sweep: leave it out"),
        ({"head": "bel", "code": "u", "frame_stride": 3}, "those of another frame_stride are not comparable"),
    ],
)
def test_a_configuration_that_a_file_may_not_have_is_refused(given, says):
    with pytest.raises(UserError, match=re.escape(says)):
        check_configuration(made(search={"seeds": 2, "scheduler": "asha"}), given)


def test_a_rule_of_the_file_and_sweeps_whose_trials_belong_together_refuse_configurations():
    with pytest.raises(UserError, match=r"excluded by \{code: hex16\}"):
        check_configuration(made(exclude=[{"code": "hex16"}]), {"head": "bel", "code": "hex16"})
    with pytest.raises(UserError, match=r"search\.tune decides by the values of code"):
        check_configuration(made(search={"tune": "code", "folds": 2}), {"head": "bel", "code": "had"})
    pbt = made({"lr": {"loguniform": [1e-5, 1e-3]}}, search={"method": "random", "trials": 3, "scheduler": "pbt"})
    with pytest.raises(UserError, match=r"the population of search\.scheduler pbt is fixed"):
        check_configuration(pbt, {"lr": 1e-4})


def test_a_value_of_a_list_brings_every_combination_of_the_others():
    wider, combinations = widen(made(LISTS | {"lr": {"grid": [1e-4, 1e-3]}}), "code", "had")
    assert [values["lr"] for values in combinations] == [1e-4, 1e-3] and wider.finite["code"][-1] == "had"
    assert len(make_plan(wider).combinations) == 10
    assert widen(made(LISTS | RATE, search={"method": "tpe", "trials": 3}), "code", "had")[1]


@pytest.mark.parametrize(
    ("search", "name", "value", "says"),
    [
        ({}, "code", "j", "code has the value 'j' already, beside ['u', 'j', 'hex16']: choose another one"),
        ({}, "lr", "1e-3", "unknown list of this sweep 'lr': choose from ['head', 'code']"),
        ({}, "code", "zz", "'zz'"),
        ({"method": "gp", "trials": 3}, "code", "had", "search.method gp learns from lists that stay"),
        ({"method": "random", "trials": 3}, "code", "had", "the draws of ['lr'] are made"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(search, name, value, says):
    with pytest.raises(UserError, match=re.escape(says)):
        widen(made(LISTS | (RATE if search else {}), search=search), name, value)


def test_settings_are_trials_of_a_search_and_how_many_run_at_once():
    searched = made(RATE, search={"method": "tpe", "trials": 3})
    assert check_setting(searched, "trials", "40") == 40 and check_setting(searched, "at_once", 2) == 2
    assert check_setting(made(), "at_once", "none") is None
    for one, name, value, says in (
        (made(), "trials", 3, "a grid runs whole"),
        (searched, "trials", 0, "search.trials must be from 1 to 1000000, got 0"),
        (searched, "at_once", 0, "at_once must be from 1"),
        (searched, "at_once", "few", "at_once must be a whole number or none, got 'few'"),
        (searched, "cpu", 3, "a setting of a running sweep must be one of"),
    ):
        with pytest.raises(UserError, match=says):
            check_setting(one, name, value)
