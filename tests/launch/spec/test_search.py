"""What a search tries first, how it is divided, and which of its keys go together."""

import optuna
import pytest

from bel.errors import UserError
from launch.spec import search as search_module
from launch.spec.combinations import compares, make_plan
from launch.spec.sampling import as_parameters, draw, plans_by_protocol, points, suggest
from launch.spec.search import OBJECTIVES, Search
from tests.launch.spec.test_sweep_file_and_sampling import BASE, CONDITIONAL, sweep

FEW = {"head": {"grid": ["bel", "direct"]}, "code": {"grid": ["u", "j"]}}


def test_points_come_first_and_no_trial_twice():
    second = [{"head": "direct"}, {"code": "j", "head": "bel"}]
    grid = sweep(FEW, points=second)
    assert draw(grid, make_plan(grid)) == [
        {"head": "direct"},
        {"head": "bel", "code": "j"},
        {"head": "bel", "code": "u"},
    ]
    for trials in (1, 2, 3, 9):
        s = sweep(FEW, points=second, search={"method": "random", "trials": trials})
        drawn = draw(s, make_plan(s))
        assert drawn[:2] == draw(grid, make_plan(grid))[: min(trials, 2)] and len(drawn) == min(trials, 3)
    lr = {"lr": {"loguniform": [1e-5, 1e-3]}, "flip": {"quniform": [0, 0.5, 0.1]}}
    s = sweep(lr, points=[{"flip": "0.3", "lr": 1e-3}], search={"method": "random", "trials": 4})
    drawn = draw(s, make_plan(s))
    assert drawn[0] == {"lr": 1e-3, "flip": 0.3} == points(s, make_plan(s))[0] and len(drawn) == 4


def test_optuna_tries_exactly_the_points_that_are_enqueued():
    tried = [
        {"head": "direct", "protocol": "aflw2000"},
        {"head": "bel", "protocol": "biwi", "lr": 1e-3, "rotate": 5},
        {"head": "bel", "protocol": "aflw2000", "lr": 1e-5},
    ]
    s = sweep(CONDITIONAL, points=tried, search={"method": "tpe", "trials": 8})
    plan, study = make_plan(s), optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    for values in points(s, plan):
        study.enqueue_trial(as_parameters(s, plan, values))
    assert [suggest(s, plan, study.ask()) for _ in range(4)][:3] == points(s, plan) == tried
    parts = plans_by_protocol(s, plan)
    assert [points(s, part) for part in parts] == [tried[1:2], [tried[0], tried[2]]]


@pytest.mark.parametrize(
    ("kind", "value"), [({"int": [2, 64]}, 33), ({"qint": [2, 64, 2]}, 64), ({"logint": [2, 64]}, 2)]
)
def test_optuna_tries_whole_points_as_they_are(kind, value):
    space = {"batch_size": kind, "head": {"grid": ["bel", "direct"]}, "flip": {"quniform": [0.1, 0.7, 0.2]}}
    point = {"head": "bel", "flip": 0.3, "batch_size": value}
    s = sweep(space, points=[point], search={"method": "tpe", "trials": 8})
    plan, study = make_plan(s), optuna.create_study()
    study.enqueue_trial(as_parameters(s, plan, points(s, plan)[0]))
    assert suggest(s, plan, study.ask()) == point


def test_each_protocol_is_a_stratum_where_trials_are_compared():
    space = {
        "protocol": {"grid": ["biwi", "aflw2000"]},
        "head": {"grid": ["bel", "direct"]},
        "loss": {"grid": ["l1", "ce"]},
    }
    compared = sweep(space, search={"scheduler": "asha"})
    plan = make_plan(compared)
    first, second = plans_by_protocol(compared, plan)
    assert first.combinations + second.combinations == plan.combinations and {
        v["protocol"] for v in first.combinations
    } == {"biwi"}
    assert first.dropped == plan.dropped and plan.dropped and not second.dropped
    whole = sweep(space)
    assert plans_by_protocol(whole, make_plan(whole)) == [make_plan(whole)]
    one = sweep(FEW, search={"scheduler": "asha"})
    assert plans_by_protocol(one, make_plan(one)) == [make_plan(one)]


def test_a_search_says_what_it_compares_and_how():
    search = sweep(search={"objective": ["val/mae", "bits", "images_per_s"], "seeds": 3, "folds": 2}).search
    assert search.objectives == [OBJECTIVES["val/mae"], OBJECTIVES["bits"], OBJECTIVES["images_per_s"]]
    assert [o.direction for o in search.objectives] == ["minimize", "minimize", "maximize"]
    assert Search().objective == ("val/mae_groups",) == sweep(search={"objective": "val/mae_groups"}).search.objective
    assert sweep(search={"objective": "val/mae"}).search.objectives == [OBJECTIVES["val/mae"]], "as it was asked for"
    assert search.seeds == 3 and search.folds == 2


LR = {"lr": {"loguniform": [1e-5, 1e-3]}, "flip": {"uniform": [0, 0.5]}}


@pytest.mark.parametrize(
    ("space", "search", "comparing"),
    [
        (FEW, {"method": "tpe", "trials": 3}, True),
        (LR, {"method": "gp", "trials": 3, "seeds": 2}, True),
        (LR, {"method": "gp", "trials": 3, "objective": ["val/mae", "bits"]}, True),
        (LR, {"method": "random", "trials": 3, "scheduler": "pbt"}, True),
        (LR, {"method": "random", "trials": 3, "folds": 3, "seeds": 1}, False),
        (FEW, {"scheduler": "hyperband"}, True),
        (FEW, {"scheduler": "median", "seeds": 1000, "folds": 1000}, True),
        (FEW, {"tune": "code", "folds": 3, "seeds": 2}, True),
        (FEW, {"objective": ["val/mae", "images_per_s"]}, False),
        (FEW, {"objective": ["val/mae", "bits"], "scheduler": "pareto", "seeds": 2}, True),
    ],
)
def test_searches_that_go_together_are_taken(space, search, comparing):
    s = sweep(space, BASE | {"seed": 7}, search=search)
    assert make_plan(s).combinations and compares(s) == comparing


def test_cmaes_wants_its_package_and_a_box(monkeypatch):
    search = {"method": "cmaes", "trials": 3}
    monkeypatch.setattr(search_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install cmaes"):
        sweep(LR, search=search)
    monkeypatch.setattr(search_module.importlib.util, "find_spec", lambda name: name)
    s = sweep(LR, search=search)
    assert make_plan(s).combinations == [{}] and s.method.suggests
    refused = [
        ({"lr": LR["lr"]}, "two intervals or more"),
        (LR | FEW, "space.head is a list: use tpe"),
        (LR | {"lr": LR["lr"] | {"when": {"backbone": "resnet10"}}}, "space.lr has a when"),
    ]
    for space, says in refused:
        with pytest.raises(UserError, match=says):
            sweep(space, search=search)
