from collections import Counter
from pathlib import Path

import optuna
import pytest
import yaml

from bel.config import TrainConfig
from bel.errors import UserError
from launch.spec.combinations import lower_bounds, make_config, make_plan
from launch.spec.dimensions import Finite, Interval
from launch.spec.sampling import draw, suggest
from launch.spec.sweep_file import Budget, Resources, parse, read_sweep
from tests.conftest import PROJECT

SPACE = {
    "head": {"grid": ["bel", "direct", "classification"]},
    "code": {"grid": ["u", "j", "hex16"]},
    "code_bits": {"grid": [76, 105, 512]},
    "loss": {"grid": ["ce", "l1"]},
}
BASE = {"backbone": "resnet10", "weights": "none"}
CONDITIONAL = {
    "lr": {"loguniform": [1e-5, 1e-3], "when": {"head": "bel"}},
    "head": {"grid": ["bel", "direct"]},
    "rotate": {"quniform": [0, 10, 5], "when": {"protocol": "biwi"}},
    "protocol": {"grid": ["biwi", "aflw2000"]},
}


def sweep(space=SPACE, base=BASE, **sections):
    code = {} if "code" in space or "head" in base else {"code": "u"}
    return parse({"name": "t", "base": base | code, "space": space} | sections)


def test_invalid_combinations_never_become_trials():
    valid = make_plan(sweep()).combinations
    configs = [make_config(sweep(), values) for values in valid]
    assert len({str(c) for c in configs}) == len(configs) == 18
    bel = {(c.code, c.code_bits) for c in configs if c.head == "bel"}
    assert bel == {("u", 76), ("u", 105), ("u", 512), ("j", 76), ("j", 512), ("hex16", 76), ("hex16", 105)}
    assert Counter(c.head for c in configs) == {"bel": 14, "classification": 3, "direct": 1}
    assert all((c.head, c.loss) not in {("direct", "ce"), ("classification", "l1")} for c in configs)


def test_dropped_combinations_are_counted_with_their_reason():
    dropped = make_plan(sweep()).dropped
    assert any("even number" in reason for reason in dropped) and any("at most 256" in reason for reason in dropped)


def test_the_weight_of_a_regulariser_varies_only_where_there_is_one():
    space = {"regulariser_weight": {"grid": [0.1, 1, 10]}, "regulariser": {"grid": ["none", "ranksim"]}}
    base = BASE | {"head": "direct"}
    plan = make_plan(sweep(space, base, search={"method": "grid"}))
    assert [(c.regulariser, c.regulariser_weight) for c in plan.configs] == [
        ("none", None), ("ranksim", 0.1), ("ranksim", 1.0), ("ranksim", 10.0),
    ]  # fmt: skip
    fixed = make_plan(sweep({"regulariser": space["regulariser"]}, base | {"regulariser_weight": 3}, search={}))
    assert [(c.regulariser, c.regulariser_weight) for c in fixed.configs] == [("none", None), ("ranksim", 3.0)]
    with pytest.raises(UserError, match=r"space.regulariser_weight belongs to no regulariser of this sweep"):
        make_plan(sweep(space | {"regulariser": {"grid": ["none"]}}, base, search={}))


def test_every_sweep_file_of_the_project_loads_and_plans():
    files = sorted((PROJECT / "sweeps").glob("*.yaml"))
    assert {"demo", "biwi", "aflw2000", "both", "biwi_small"} <= {path.stem for path in files}
    for path in files:
        assert make_plan(read_sweep(path)).combinations, path
        assert f"sweeps/{path.name}" in path.read_text(), f"{path} does not name its command"


def test_grid_draws_all_and_random_draws_distinct_ones():
    assert len(draw(sweep(), make_plan(sweep()))) == 18
    some = sweep(search={"method": "random", "trials": 7})
    drawn = draw(some, make_plan(some))
    assert len(drawn) == 7 == len({str(v) for v in drawn}) and drawn == draw(some, make_plan(some))
    more = sweep(search={"method": "random", "trials": 70})
    assert len(draw(more, make_plan(more))) == 18


def test_intervals_are_sampled_within_their_ends():
    s = sweep({"code": {"choice": ["u", "j"]}, "lr": {"loguniform": ["1e-5", 1e-2]}, "flip": {"uniform": [0, 0.5]}},
              search={"method": "random", "trials": 200})  # fmt: skip
    drawn = draw(s, make_plan(s))
    rates = sorted(v["lr"] for v in drawn)
    assert 1e-5 <= rates[0] < 3e-5 and 3e-3 < rates[-1] <= 1e-2 and 1e-4 < rates[100] < 1e-3
    assert all(0 <= v["flip"] <= 0.5 for v in drawn) and {v["code"] for v in drawn} == {"u", "j"}


def test_optuna_only_ever_suggests_valid_combinations():
    s = sweep(SPACE | {"lr": {"loguniform": [1e-5, 1e-2]}}, search={"method": "tpe", "trials": 60})
    plan = make_plan(s)
    seen = []

    def objective(trial):
        config = make_config(s, suggest(s, plan, trial))
        seen.append((config.head, config.code, config.code_bits, config.loss))
        return config.lr

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=60)
    assert {head for head, *_ in seen} == {"bel", "direct", "classification"} and len(set(seen)) > 8
    assert study.best_value < 1e-4


def test_settings_fix_fields_and_reach_into_sections(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({"name": "t", "base": BASE, "space": SPACE}))
    s = read_sweep(path, ["code_bits=26", "lr=1e-3", "search.method=random", "search.trials=2", "resources.gpu=0.5"])
    assert "code_bits" not in s.space and s.base["code_bits"] == 26 and s.search.trials == 2 and s.resources.gpu == 0.5
    assert make_config(s, make_plan(s).combinations[0] | lower_bounds(s)).lr == 1e-3
    table = {"name": "csv", "train": "a.csv", "targets": {"age": {"low": 0, "high": 100}}}
    path.write_text(yaml.safe_dump({"name": "t", "base": BASE | {"protocol": table}, "space": SPACE}))
    assert read_sweep(path, ["protocol.group=person"]).base["protocol"] == table | {"group": "person"}
    assert read_sweep(path, ["space.code_bits.grid=[26,52]"]).space["code_bits"] == Finite((26, 52))


def test_dimensions_become_lists_and_intervals():
    s = sweep({"code": {"choice": ["u", "j"]}, "lr": {"loguniform": [1e-5, 1e-3]}})
    assert s.space == {"code": Finite(("u", "j")), "lr": Interval(1e-5, 1e-3, True)}


ODD = (".hid", "..", "a/b", "a\n", "a\0", "a\x1b[2J", "a\udcff", " a", "a\u202e")  # names

BAD = [
    ({"space": {"code": {"grid": ["u", "z"]}}}, "space.code: 'z' is valid in no combination: code of head bel must be one of"),
    ({"base": {"code": "z"}, "space": {}}, "code of head bel must be one of .* got 'z'"),
    ({"space": {"code": {"grid": ["hex16", "u"]}, "code_bits": {"grid": [512]}}}, "space.code: 'hex16' .* at most 256"),
    ({"space": {"head": {"grid": ["direct"]}, "code": {"grid": ["u"]}}}, "space.code belongs to no head of this sweep"),
    ({"base": {"head": "direct", "code": "u"}, "space": {}}, "code belongs to head bel, not to direct"),
    ({"space": {"code": {"grid": ["u"]}, "lr": {"loguniform": [1e-5, 20]}}}, "lr must be above 0 and at most 10, got 20"),
    ({"space": {"code_bits": {"uniform": [20, 200]}}}, "space.code_bits must be one of .*'choice', 'int', 'logint', 'qint'"),
    ({"space": {"code": {"uniform": [1, 2]}}}, r"kind of space.code must be one of \['grid', 'choice'\], got 'uniform'"),
    ({"space": {"lr": {"int": [1, 2]}}}, "kind of space.lr must be one of .*'uniform', 'loguniform', 'quniform'"),
    ({"space": {"code": {"grid": ["u"]}, "split_seed": {"grid": [0, 1]}}, "search": {"scheduler": "asha"}}, "of different"),
    ({"search": {"method": "grid", "seed": 1}}, "search.seed belongs to the methods random, tpe, cmaes and gp"),
    ({"search": {"method": "random", "trials": 2, "seed": -1}}, "search.seed must be from 0"),
    ({"search": {"method": "random", "trials": 10**400}}, "search.trials must be a whole number"),
    ({"name": "../up"}, "name must be letters"),
    ({"bsae": {}}, "unknown key of a sweep 'bsae': choose from"),
    ({"base": {"learning_rate": 1}}, "unknown config field in base 'learning_rate'"),
    ({"space": {"codes": {"grid": ["u"]}}}, "unknown config field in space 'codes'"),
    ({"search": {"methods": "grid"}}, "unknown key in search 'methods'"),
    ({"resources": {"gpus": 1}}, "unknown key in resources 'gpus'"),
    ({"name": ""}, "name must be letters"),
    ({"name": 7}, "name must be letters.* got 7"),
    *[({"name": name}, "name must be letters") for name in ODD],
    ({"name": "n" * 201}, "name must be of 200 bytes at most, got 201"),
    ({"name": "ü" * 101}, "name must be of 200 bytes at most, got 202"),
    ({"base": [1]}, "base must be a mapping"),
    ({"space": {"code": ["u"]}}, r"space.code must be one of \{grid, choice\}: "),
    ({"space": {"code": {"gird": ["u"]}}}, "kind of space.code must be one of"),
    ({"space": {"code": {"grid": []}}}, "space.code.grid must be a list with values"),
    ({"space": {"code": {"grid": "u"}}}, "space.code.grid must be a list"),
    ({"space": {"code": {"grid": ["u", "u"]}}}, "holds a value twice"),
    ({"space": {"lr": {"grid": ["1e-3", 0.001]}}}, "space.lr.grid holds a value twice"),
    ({"space": {"code": {"grid": ["u"]}, "device": {"grid": ["auto", "cpu"]}}}, "says the same as another value"),
    ({"space": {"lr": {"grid": ["fast"]}}}, "lr must be a finite number, got 'fast'"),
    ({"space": {"code": {"grid": [["u"]]}}}, "must hold plain values"),
    ({"space": {"lr": {"uniform": [1e-3]}}}, r"must be \[low, high\] with low < high"),
    ({"space": {"lr": {"loguniform": [0, 1]}}}, r"0 < low < high"),
    ({"space": {"lr": {"uniform": ["a", 1]}}}, "space.lr.uniform must be a finite number, got 'a'"),
    ({"base": {"lr": 1e-3}, "space": {"lr": {"grid": [1e-3]}}}, "lr is in base and in space"),
    ({"search": {"method": "bayes"}}, r"search.method must be one of \['grid', 'random', 'tpe', 'cmaes', 'gp'\], got 'bayes'"),
    ({"search": {"method": "tpe"}}, "search.method tpe needs search.trials"),
    ({"search": {"method": "grid", "trials": 3}}, "search.trials belongs to the methods random, tpe, cmaes and gp"),
    ({"search": {"method": "random", "trials": 0}}, "search.trials must be from 1"),
    ({"search": {"method": "random", "trials": "many"}}, "search.trials must be a whole number"),
    ({"search": {"scheduler": "bohb"}}, "search.scheduler must be one of"),
    ({"search": {"objective": "test/mae"}}, "search.objective must be one of"),
    ({"resources": {"cpu": 0}}, "resources.cpu must be from 0.1"),
    ({"resources": {"gpu": -1}}, "resources.gpu must be from 0"),
    ({"resources": {"mps": "maybe"}}, "resources.mps must be true or false, got 'maybe'"),
    ({"resources": {"gpu": "all"}}, "resources.gpu must be a finite number"),
    ({"space": {"protocol": {"grid": ["biwi", "aflw2000"]}, "data_root": {"grid": ["a", "b"]}, "code": {"grid": ["u"]}},
      "search": {"scheduler": "asha"}}, "different data_root are not comparable"),
    ({"space": {"val_fraction": {"uniform": [0.1, 0.2]}, "code": {"grid": ["u"]}},
      "search": {"method": "gp", "trials": 3}}, "different val_fraction are not comparable"),
    ({"space": {"seed": {"grid": list(range(300))}, "split_seed": {"grid": list(range(300))}}}, "90000 combinations"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "says"), BAD)
def test_malformed_sweeps_are_refused_by_key(change, says):
    with pytest.raises(UserError, match=says):
        make_plan(parse({"name": "t", "base": {"code": "u"} if "space" not in change else {}} | change))


def test_a_grid_over_an_interval_is_refused():
    with pytest.raises(UserError, match=r"a grid needs lists, and space\.lr is an interval"):
        make_plan(sweep({"code": {"grid": ["u"]}, "lr": {"uniform": [1e-4, 1e-3]}}))


def test_values_are_numbers_however_they_are_written():
    assert sweep({"code": {"grid": ["u"]}, "lr": {"grid": ["1e-3", 1]}}).space["lr"] == Finite((1e-3, 1.0))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: [", "not readable YAML"),
        ("- a", "must be a mapping"),
        ("", "name must be letters"),
        ("1: 2", "must be a mapping"),
    ],
)
def test_files_that_are_no_sweep_are_refused(tmp_path, text, says):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=says):
        read_sweep(path)


def test_a_missing_file_and_a_bad_setting_are_refused(tmp_path):
    with pytest.raises(UserError, match="no sweep file"):
        read_sweep(tmp_path / "none.yaml")
    (tmp_path / "s.yaml").write_text("name: t")
    with pytest.raises(UserError, match="--set wants KEY=VALUE"):
        read_sweep(tmp_path / "s.yaml", ["lr"])
    for value in ("[1", "2024-13-45", "0b_"):
        with pytest.raises(UserError, match="lr must be a finite number"):
            read_sweep(tmp_path / "s.yaml", [f"lr={value}"])


def test_excluded_combinations_are_dropped_with_the_rule():
    rules = [{"code": "u", "code_bits": [76, 105]}, {"head": "bel", "loss": "ce", "backbone": "resnet10"}]
    plan = make_plan(sweep(exclude=rules))
    assert {v["code_bits"] for v in plan.combinations if v.get("code") == "u"} == {512}
    assert {v["loss"] for v in plan.combinations if v["head"] == "bel"} == {"l1"}
    assert plan.dropped["excluded by {code: u, code_bits: [76, 105]}"] == 2 * 2
    assert plan.dropped["excluded by {head: bel, loss: ce, backbone: resnet10}"] == 3 * 3 - 2
    with pytest.raises(UserError, match=r"space.code: 'u' is valid in no combination: excluded by \{code: u\}"):
        make_plan(sweep(exclude=[{"code": "u"}]))


def test_a_rule_does_not_match_where_its_field_does_not_vary():
    plan = make_plan(sweep(exclude=[{"code": ["j", "hex16"], "code_bits": 76}]))
    assert {(v["head"], v["code_bits"]) for v in plan.combinations if v["head"] != "direct"} >= {
        ("classification", 76),
        ("bel", 76),
    }
    assert {v.get("code") for v in plan.combinations if v.get("code_bits") == 76} == {"u", None}


def test_a_budget_what_is_kept_and_what_comes_after_are_optional():
    s = sweep(budget={"hours": 0.5, "patience": 1}, keep=1, on_end="echo done", resources={"gpu": "auto"})
    assert (s.budget, s.keep, s.on_end) == (Budget(0.5, None, 1), 1, "echo done")
    assert s.resources == Resources(gpu="auto") and make_config(s, {"head": "direct"}).device == "cuda"
    s = sweep(budget={"trials": 1_000_000})
    assert (s.budget, s.keep, s.on_end) == (Budget(trials=1_000_000), 20, None)
    assert s.exclude == s.points == [] and make_config(s, {"head": "direct"}).device == "cpu"


def test_settings_reach_the_new_sections(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump({"name": "t", "base": BASE | {"code": "u"}, "space": CONDITIONAL}))
    settings = ["budget.hours=1", "search.objective=[val/mae,bits]", "keep=3", "on_end=make report", "search.method=gp",
                "search.trials=4", "space.lr.when.head=direct", "exclude=[{head: bel, protocol: biwi}]"]  # fmt: skip
    s = read_sweep(path, settings)
    assert (
        s.budget.hours == 1 and s.search.objective == ("val/mae", "bits") and s.keep == 3 and s.on_end == "make report"
    )
    assert s.space["lr"].when == {"head": ("direct",)} and s.exclude == [{"head": ("bel",), "protocol": ("biwi",)}]
    fixed = read_sweep(path, ["head=bel", "search.method=random", "search.trials=2"])
    assert "head" not in fixed.space and all("lr" in v for v in draw(fixed, make_plan(fixed)))


TYPED = ["my data #2", "1e3", "0x10", "on", "2026-01-01", "a:", "~x", "@a", "*a", "&a", "!a", "%a", "'a'", "[a]", "{a: 1}",
         "a: b", "- a", "| a", "> a", "010", "1_0", "a=b", " a", "null2"]  # fmt: skip


@pytest.mark.parametrize("value", TYPED)
def test_text_of_a_setting_stays_as_it_is_typed(tmp_path, value):
    (tmp_path / "s.yaml").write_text("name: t\ndescription: x")
    settings = [f"data_root={value}", f"base.cache_dir={value}", f"description={value}", f"on_end={value}"]
    found = read_sweep(tmp_path / "s.yaml", settings)
    assert found.base == {"data_root": value, "cache_dir": value} and found.description == found.on_end == value
    for name in ("train", "image"):
        found = read_sweep(tmp_path / "s.yaml", [f"protocol.{name}=b.csv #1: on"])
        assert found.base == {"protocol": {name: "b.csv #1: on"}}


def test_numbers_lists_and_nothing_in_settings(tmp_path):
    (tmp_path / "s.yaml").write_text("name: t\nspace: {lr: {grid: [1e-3]}}\nbudget: {hours: 1}")
    settings = ["lr=1e-4", "epochs=010", "code=null", "cuda_graph=false", "budget.hours=null", "resources.gpu=0.5",
                "search.objective=[val/mae, bits]", "space.theta={grid: [5, 10]}", "name=on"]  # fmt: skip
    found = read_sweep(tmp_path / "s.yaml", settings)
    assert found.base == {"lr": 1e-4, "epochs": 10, "code": None, "cuda_graph": False} and list(found.space) == [
        "theta"
    ]
    assert found.name == "on" and found.budget.hours is None and found.resources.gpu == 0.5
    assert found.search.objective == ("val/mae", "bits")
    own = [
        "protocol={name: csv, train: a.csv}",
        "protocol.targets.age={low: 0, high: 9}",
        "protocol.targets.age.flip=-1",
    ]
    config = TrainConfig.make(read_sweep(tmp_path / "s.yaml", [*own, "code=u", "protocol.pose=false"]).base)
    assert config.axes[0].flip == -1 and config.axes[0].span == 9


@pytest.mark.parametrize("name", ["published_biwi", "published_aflw2000"])
@pytest.mark.parametrize("settings", [["epochs=1"], ["epochs=3"], ["schedule=cosine"], ["search.folds=2"]])
def test_a_published_sweep_runs_with_a_field_that_others_depend_on(name, settings):
    assert make_plan(read_sweep(PROJECT / "sweeps" / f"{name}.yaml", settings)).combinations


def test_a_sweep_that_comes_with_the_project_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()  # a folder is no sweep
    assert read_sweep(Path("demo")).name == "demo"
    (tmp_path / "both").write_text((PROJECT / "sweeps" / "csv_yaw.yaml").read_text())
    assert read_sweep(Path("both")).name == "csv_yaw", "a file of that name comes first"
    with pytest.raises(UserError, match=r"no sweep file dem; with the project come, by name, .*demo"):
        read_sweep(Path("dem"))
