"""Sweep files and settings that are wrong in one place: each is refused in a line that names the place and what is valid."""

import re

import pytest
import yaml

from bel.errors import UserError
from launch.spec.combinations import make_plan
from launch.spec.sweep_file import read_sweep
from launch.sweep import main

VALID = {
    "name": "valid",
    "base": {"backbone": "resnet10", "weights": "none"},
    "space": {
        "head": {"grid": ["bel", "direct"]},
        "code": {"grid": ["u", "j"]},
        "loss": {"grid": ["l1", "ce", "mse"]},
        "lr": {"loguniform": [1e-5, 1e-3], "when": {"head": "bel"}},
    },
    "exclude": [{"code": "j", "backbone": "resnet10", "head": ["bel"], "loss": "ce"}],
    "points": [{"head": "direct", "loss": "mse"}],
    "search": {"method": "random", "trials": 4, "seed": 1},
    "resources": {"cpu": 1, "gpu": 0},
    "budget": {"hours": 1, "trials": 3, "patience": 2},
    "keep": 5,
    "system_metrics": True,
    "on_end": "true",
}

NUMBERS = {"lr": {"uniform": [1e-4, 1e-3]}, "flip": {"uniform": [0, 0.5]}}
SIMPLE = {"base": {"backbone": "resnet10", "code": "u"}, "exclude": None, "points": None}  # beside a space of one's own
LISTS = SIMPLE | {"space": {"theta": {"grid": [5, 10]}}}
PBT = {"method": "random", "trials": 4, "scheduler": "pbt"}
GRID = {"method": "grid"}


def space(**dimensions):
    """A valid file with other dimensions."""
    return SIMPLE | {"space": dimensions}


def lr(**dimension):
    """A valid file with another learning rate."""
    return {"space": VALID["space"] | {"lr": dimension}}


def searched(where, **search):
    """A file with another search."""
    return where | {"search": search}


def written(content):
    """A sweep as YAML, in its own order."""
    return yaml.safe_dump(content, sort_keys=False)


def plan_of(folder, text, settings=()):
    """Everything that happens to a sweep file before anything starts."""
    file = folder / "sweep.yaml"
    file.write_text(text)
    return make_plan(read_sweep(file, settings))


def refused(folder, text, settings, says):
    """Whether a file is refused in one line that says so."""
    with pytest.raises(UserError) as caught:
        plan_of(folder, text, settings)
    message = str(caught.value)
    assert re.search(says, message) and "\n" not in message, message


TEXTS = {
    "an open bracket": ("name: [", r"sweep.yaml is not readable YAML: .*expected"),
    "a tab": ("name: a\nbase:\n\thead: bel", "sweep.yaml is not readable YAML: .*cannot start any token"),
    "a list": ("- name: a", r"sweep.yaml must be a mapping of names to values, got \[\{'name': 'a'\}\]"),
    "a sentence": ("just words", "sweep.yaml must be a mapping of names to values, got 'just words'"),
    "numbers for keys": ("1: 2", r"sweep.yaml must be a mapping of names to values, got \{1: 2\}"),
    "nothing": ("", "name must be letters, digits, .* got None"),
    "an alias of nothing": ("name: *other", "not readable YAML: .*undefined alias"),
    "a control character": ("name: a\x07", "not readable YAML: .*special characters are not allowed"),
    "an object": ("name: !!python/object:os.system {}", "not readable YAML: .*could not determine a constructor"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_file_that_is_no_mapping_is_refused(tmp_path, case):
    text, says = TEXTS[case]
    refused(tmp_path, text, (), says)


CASES = {
    # the file
    "unknown key": ({"spaces": {}}, r"unknown key of a sweep 'spaces': choose from \['name', .*'warm_start', 'on_end'.*\]"),
    "name of a folder": ({"name": "a/b"}, "name must be letters, digits, _, -, . and blanks, got 'a/b'"),
    "base of text": ({"base": "bel"}, "base must be a mapping of names to values, got 'bel'"),
    "unknown field in base": ({"base": {"bakbone": "x"}}, r"unknown config field in base 'bakbone': choose from \['protocol'"),
    "value in base": ({"base": VALID["base"] | {"cache": "ram"}}, r"cache must be one of \['auto', 'host', 'device'\], got"),
    "type in base": ({"base": {"epochs": "ten"}}, "epochs must be a whole number, got 'ten'"),
    "keep nothing": ({"keep": 0}, "keep must be from 1 to 1000000, got 0"),
    "keep all": ({"keep": "all"}, "keep must be a whole number, got 'all'"),
    "system_metrics of text": ({"system_metrics": "gpu"}, "system_metrics must be .*, got 'gpu'"),
    "log to another": ({"log_to": ["tensorboard", "wandb"]}, r"log_to must be a list of any of \['tensorboard'\], "),
    "log to text": ({"log_to": "tensorboard"}, r"log_to must be a list of any of \['tensorboard'\], .* got 'tensorboard'"),
    "on_end of nothing": ({"on_end": " "}, "on_end must be a command as text, got ' '"),
    "on_end of a list": ({"on_end": ["ls"]}, r"on_end must be a command as text, got \['ls'\]"),
    # resources and budget
    "unknown resource": ({"resources": {"tpu": 1}}, r"unknown key in resources 'tpu': choose from \['cpu', 'gpu', 'mps'\]"),
    "no processor": ({"resources": {"cpu": 0}}, "resources.cpu must be from 0.1 to 10000, got 0.0"),
    "gpu by word": ({"resources": {"gpu": "all"}}, "resources.gpu must be a finite number, got 'all'; or auto"),
    "gpu below none": ({"resources": {"gpu": -1}}, "resources.gpu must be from 0 to 10000, got -1.0; or auto"),
    "budget of a number": ({"budget": 8}, "budget must be a mapping of names to values, got 8"),
    "unknown budget": ({"budget": {"days": 1}}, r"unknown key in budget 'days': choose from \['hours', 'trials', 'patience'\]"),
    "no time": ({"budget": {"hours": 0}}, "budget.hours must be above 0 and at most 10000, got 0.0"),
    "half a trial": ({"budget": {"trials": 1.5}}, "budget.trials must be a whole number, got 1.5"),
    "no patience": ({"budget": {"patience": 0}}, "budget.patience must be from 1 to 1000000, got 0"),
    # dimensions
    "space of a list": ({"space": ["lr"]}, r"space must be a mapping of names to values, got \['lr'\]"),
    "unknown dimension": (space(rate={"grid": [1]}), r"unknown config field in space 'rate': choose from \['protocol'"),
    "fixed and varied": (space(lr={"grid": [1e-3]}) | {"base": {"lr": 1e-3}}, "lr is in base and in space: remove one of"),
    "list without a kind": (space(lr=[1, 2]), r"space.lr must be one of \{grid, choice, uniform, loguniform, quniform\}"),
    "two kinds": (lr(grid=[1], uniform=[1, 2]), r"space.lr must be one of \{grid, .*and may have a when, got"),
    "no kind": (lr(when={"head": "bel"}), r"space.lr must be one of \{grid, choice, uniform"),
    "unknown kind": (lr(normal=[0, 1]), r"kind of space.lr must be one of \['grid', 'choice', 'uniform', .* got 'normal'"),
    "whole kind of a real field": (lr(int=[1, 2]), "kind of space.lr must be one of .*'quniform'\\], got 'int'"),
    "real kind of a whole field": (space(theta={"uniform": [1, 2]}), r"kind of space.theta must be .*'qint'\], got"),
    "interval of names": (space(schedule={"int": [1, 2]}), r"kind of space.schedule must be one of \['grid', 'choice'\], got"),
    "empty list": (lr(grid=[]), r"space.lr.grid must be a list with values, got \[\]"),
    "nested list": (lr(grid=[[1]]), r"space.lr.grid must hold plain values, got \[1\]"),
    "value twice": (lr(grid=[1, "1.0"]), "space.lr.grid holds a value twice"),
    "value of another type": (lr(grid=["slow"]), "lr must be a finite number, got 'slow'"),
    "value valid nowhere": (space(theta={"grid": [0, 5]}), "space.theta: 0 is valid in no combination: theta must be"),
    "one end": (lr(uniform=[1]), r"space.lr.uniform must be \[low, high\] with low < high, got \[1\]"),
    "ends of text": (lr(uniform=["a", 1]), "space.lr.uniform must be a finite number, got 'a'"),
    "ends swapped": (lr(uniform=[2, 1]), r"space.lr.uniform must be \[low, high\] with low < high, got \[2, 1\]"),
    "ends that are one": (lr(uniform=[1, 1]), r"must be \[low, high\] with low < high, got \[1, 1\]"),
    "logarithm of 0": (lr(loguniform=[0, 1]), r"space.lr.loguniform must be \[low, high\] with 0 < low < high, got \[0, 1\]"),
    "whole logarithm of 0": (space(batch_size={"logint": [0, 8]}), r"space.batch_size.logint must be .* with 0 < low"),
    "half ends": (space(theta={"int": [1.5, 3]}), "space.theta.int must be a whole number, got 1.5"),
    "no step": (lr(quniform=[0.1, 0.5]), r"space.lr.quniform must be \[low, high, step\] with low < high and step > 0"),
    "a step too many": (lr(uniform=[0.1, 0.5, 0.1]), r"space.lr.uniform must be \[low, high\] .*got \[0.1, 0.5, 0.1\]"),
    "step of 0": (lr(quniform=[0.1, 0.5, 0]), r"and step > 0, got \[0.1, 0.5, 0\]"),
    "step back": (space(theta={"qint": [2, 6, -2]}), r"space.theta.qint must be .* step > 0, got \[2, 6, -2\]"),
    "steps that miss the end": (lr(quniform=[0.1, 0.6, 0.2]), "space.lr.quniform must end a whole .* got 0.6: try 0.5"),
    "a step beyond the end": (space(theta={"qint": [2, 6, 8]}), "space.theta.qint must end a whole number .* got 6: try 10"),
    "end beyond the bound": (space(lr={"uniform": [1, 11]}), "space.lr is not valid at 11: lr must be above 0 and at most 10"),
    "odd numbers": (SIMPLE | {"base": {"code": "j"}, "space": {"code_bits": {"int": [100, 110]}}},
                    "space.code_bits is not valid at 101: .*even number"),
    "grid over an interval": (searched(space(lr={"uniform": [1, 2]}), **GRID), "a grid needs lists, and space.lr is an"),
    "too many": (searched(space(seed={"grid": list(range(300))}, theta={"grid": list(range(1, 201))}), **GRID),
                 "space has 60000 combinations or more, at most 50000 can be laid out: shorten the lists"),
    "of no head": (SIMPLE | {"base": {}, "space": {"head": {"grid": ["direct"]}, "alpha": {"grid": [1]}}},
                   "space.alpha belongs to no head of this sweep: leave it out"),
    # when
    "when of text": (lr(grid=[1], when="bel"), "space.lr.when must be a mapping of names to values, got 'bel'"),
    "when of nothing": (lr(grid=[1], when={}), r"space.lr.when must name a field and its values, got \{\}: choose from"),
    "when of an unknown field": (lr(grid=[1], when={"hed": "bel"}), r"in space.lr.when 'hed': choose from \['backbone'"),
    "when of a default": (lr(grid=[1], when={"epochs": 20}), r"unknown field of base or list of space in space.lr.when"),
    "when of itself": (lr(grid=[1], when={"lr": 1}), "space.lr.when must name other fields, got lr itself"),
    "when of an interval": (space(lr={"grid": [1], "when": {"flip": 0.1}}, flip={"uniform": [0, 1]}),
                            r"space.lr.when names flip, an interval: choose from base and the lists, \['backbone'"),
    "when that never holds": (lr(grid=[1], when={"head": "rlel"}), r"space.lr.when.head must be one of \['bel', 'direct'\]"),
    "when that base denies": (lr(grid=[1], when={"backbone": "resnet18"}), r"when.backbone must be one of \['resnet10'\]"),
    "when of no values": (lr(grid=[1], when={"head": []}), r"space.lr.when.head must be a value or a list of values, got \[\]"),
    "when that others deny": (lr(grid=[1], when={"head": "direct", "code": "u"}), r"space.lr.when \{head: direct, code: u\}"),
    "when in a circle": (space(flip={"grid": [0, 1], "when": {"lr": 1}}, lr={"grid": [1], "when": {"flip": 0}}),
                         "space.flip and space.lr wait for each other in a circle: take the when"),
    # exclude
    "exclude of a mapping": ({"exclude": {"code": "u"}}, r"exclude must be a list of mappings .*, got \{'code': 'u'\}"),
    "exclude of text": ({"exclude": ["u"]}, "exclude.1 must be a mapping of names to values, got 'u'"),
    "exclude without entries": ({"exclude": [{}]}, r"exclude.1 must name a field and its values, got \{\}: choose from"),
    "exclude of an interval": ({"exclude": [{"lr": 1e-3}]}, "exclude.1 names lr, an interval: choose from base and the lists"),
    "exclude of an unknown field": ({"exclude": [{"cod": "u"}]}, "in exclude.1 'cod': choose from .*'code'"),
    "exclude of a value that is not there": ({"exclude": [{"code": "had"}]}, r"exclude.1.code must be one of .*'u', 'j'.* got"),
    "exclude of nothing": ({"exclude": [{"head": "direct", "code": "u"}]}, r"exclude.1 \{head: direct, code: u\} drops no"),
    "exclude twice": ({"exclude": [{"code": "j", "loss": "ce"}] * 2}, r"exclude.2 \{code: j, loss: ce\} drops no combination"),
    "exclude of all": ({"exclude": [{"backbone": "resnet10"}]}, r"no combination of space is valid: excluded by \{backbone"),
    "exclude of a whole value": ({"exclude": [{"loss": "ce"}]}, r"space.loss: 'ce' is valid in no combination: excluded by"),
    # points
    "points of a mapping": ({"points": {"head": "bel"}}, "points must be a list of mappings of names to values"),
    "point of text": ({"points": ["bel"]}, "points.1 must be a mapping of names to values, got 'bel'"),
    "point with another field": ({"points": [{"epochs": 3}]}, r"unknown dimension in points.1 'epochs': choose from \['head'"),
    "point beside a list": ({"points": [{"head": "rlel"}]}, r"points.1.head must be one of \['bel', 'direct'\], got 'rlel'"),
    "point beside an interval": ({"points": [{"head": "bel", "code": "u", "loss": "l1", "lr": 1}]},
                                 "points.1.lr must be from 1e-05 to 0.001, got 1.0"),
    "point beside a step": (space(theta={"qint": [2, 6, 2]}) | {"points": [{"theta": 5}]}, "points.1.theta must be from 2"),
    "point of another type": ({"points": [{"lr": "slow"}]}, "lr must be a finite number, got 'slow'"),
    "point that lacks a value": ({"points": [{"head": "bel", "code": "u", "loss": "l1"}]}, r"points.1 lacks lr: a point"),
    "point that names too much": ({"points": [{"head": "direct", "code": "u", "loss": "mse"}]},
                                  "points.1 names code, which does not vary beside its other values: leave it out"),
    "point that is not valid": ({"points": [{"head": "direct", "loss": "ce"}]}, "points.1 is no trial of this sweep: loss"),
    "point that is excluded": ({"points": [{"head": "bel", "code": "j", "loss": "ce", "lr": 1e-4}]},
                               "points.1 is no trial of this sweep: excluded by {code: j, "),
    "point twice": ({"points": [{"head": "direct", "loss": "l1"}, {"loss": "l1", "head": "direct"}]},
                    "points.2 is there twice"),
    # search
    "search of text": ({"search": "grid"}, "search must be a mapping of names to values, got 'grid'"),
    "unknown key in search": ({"search": {"method": "grid", "trails": 3}}, r"unknown key in search 'trails': choose from"),
    "unknown method": ({"search": {"method": "bayes"}}, r"search.method must be one of \['grid', 'random', 'tpe', 'cmaes'"),
    "unknown scheduler": (searched(LISTS, scheduler="fifo"), r"must be one of \['none', 'sha', 'asha', 'hyperband', 'median'"),
    "search without trials": ({"search": {"method": "gp"}}, "search.method gp needs search.trials: say how many"),
    "trials of a grid": (searched(LISTS, trials=3), "search.trials belongs to the methods random, tpe, cmaes and gp"),
    "seed of a grid": (searched(LISTS, seed=3), "search.seed belongs to the methods random, tpe, cmaes and gp"),
    "no trials": ({"search": {"method": "gp", "trials": 0}}, "search.trials must be from 1 to 1000000, got 0"),
    "seed below 0": ({"search": {"method": "gp", "trials": 1, "seed": -1}}, "search.seed must be from 0 to 2147483648"),
    "no seeds": (searched(LISTS, seeds=0), "search.seeds must be from 1 to 1000, got 0"),
    "one fold": (searched(LISTS, folds=1), "search.folds must be from 2 to 1000, got 1"),
    "seeds beside a seed": (searched(space(seed={"grid": [0, 1]}), seeds=2), "seed is decided by search.seeds, 2 .*leave"),
    "lucky seed": (searched(space(seed={"grid": [0, 1]}), method="tpe", trials=2), "search.method tpe would pick the"),
    "tuned seed": (searched(space(seed={"grid": [0, 1]}), tune="seed", folds=2), "search.tune would pick the luckiest seed"),
    "folds beside folds": (searched(space(folds={"grid": [3, 4]}), folds=2), "folds is decided by search.folds, .*: leave"),
    "folds beside a share": (searched(LISTS | {"base": {"code": "u", "val_fraction": 0.3}}, folds=2),
                             "val_fraction is decided by search.folds"),
    "tune and selection": (searched(LISTS | {"base": {"code": "u", "selection": "last"}}, tune="theta", folds=2),
                           "selection is decided by search.tune, on its hold-out and then on its folds: leave it out"),
    "race without repeats": (searched(LISTS, race=True), "search.race gives repeats .*: set search.seeds or search.folds"),
    "race of one seed": (searched(LISTS, race=True, seeds=1), "search.race gives repeats .*: set search.seeds or search.folds"),
    "race beside tune": (searched(LISTS, race=True, folds=2, tune="theta"), "search.race and search.tune do not go together"),
    "race for several objectives": (searched(LISTS, race=True, seeds=2, objective=["val/mae", "bits"]),
                                    "search.race compares errors alone, .*: name one, or leave race out"),
    "race that is a number": (searched(LISTS, race=2, seeds=2), "search.race must be true or false, got 2"),
    "tune without folds": (searched(LISTS, tune="theta"), "search.tune and search.folds belong together: say how many"),
    "tune of no dimension": (searched(LISTS, tune="lr", folds=2), r"search.tune must be one of \['theta'\], got 'lr'"),
    "tune with a scheduler": (searched(LISTS, tune="theta", folds=2, scheduler="median"), "search.tune .* scheduler none"),
    "tune with patience": (searched(LISTS, tune="theta", folds=2) | {"budget": {"patience": 3}},
                           "budget.patience ends a search .*: leave budget.patience out, or use budget.hours"),
    "tune of a search": (searched(LISTS, tune="theta", folds=2, method="random", trials=2), "search.tune .*use method grid"),
    "tune on test": (searched(LISTS | {"base": VALID["base"] | {"code": "u", "recipe": "published"}}, tune="theta", folds=2)
                     | {"budget": {"hours": 1}},
                     "recipe published selects on test: set recipe to clean"),
    # objectives
    "unknown objective": (searched(LISTS, objective="mae"),
                          r"search.objective must be one of \['val/mae_groups', 'val/mae', 'bits'"),
    "other objective alone": (searched(LISTS, objective="bits"), "search.objective must begin with one of .*, got 'bits'"),
    "other objective first": (searched(LISTS, objective=["bits", "val/mae"]), "search.objective must begin with one of"),
    "objective twice": (searched(LISTS, objective=["val/mae", "val/mae"]), "search.objective must be one name, or a list of"),
    "list of one objective": (searched(LISTS, objective=["val/mae"]), "one name, or a list of two or three of"),
    "objectives stopped early": (searched(LISTS, objective=["val/mae", "bits"], scheduler="asha"),
                                 "search.objective .* use scheduler none or pareto and method grid, random, tpe or gp, got"),
    "one objective that dominates": (searched(LISTS, scheduler="pareto"),
                                     "search.scheduler pareto weighs several objectives, got val/mae_groups alone: name two"),
    "objectives of cmaes": (searched(space(**NUMBERS), objective=["val/mae", "bits"], method="cmaes", trials=2),
                            "search.objective .* method grid, random, tpe or gp, got scheduler none and method cmaes"),
    # pbt
    "pbt of a grid": (searched(space(**NUMBERS), method="grid", scheduler="pbt"),
                      "search.scheduler pbt starts from a random population, got grid: use method random"),
    "pbt with seeds": (searched(space(**NUMBERS), seeds=2, **PBT), "leave search.seeds and search.folds out"),
    "pbt of a head": (searched(space(theta={"grid": [1, 2]}, **NUMBERS), **PBT), r"scheduler pbt.* one of \['lr', .*got"),
    "pbt of nothing": (searched(space(), **PBT), r"search.scheduler pbt needs a dimension to change, one or more of \['lr'"),
    "pbt with a when": (searched(space(lr=NUMBERS["lr"] | {"when": {"code": "u"}}), **PBT), "space.lr has a when: take the"),
    # what cannot be compared
    "different splits": (searched(space(split_seed={"grid": [0, 1]}), scheduler="hyperband"), "those of different split_seed"),
    "different shares": (searched(space(val_fraction={"uniform": [0.1, 0.3]}), method="tpe", trials=2),
                         "different val_fraction"),
    "two roots": (searched(space(data_root={"grid": ["a", "."]}, protocol={"choice": ["biwi", "aflw2000"]}), scheduler="asha"),
                        "different data_root are not comparable"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_is_wrong_in_one_place_is_refused(tmp_path, case):
    change, says = CASES[case]
    refused(tmp_path, written(VALID | change), (), says)


SETTINGS = {
    "no equals sign": ("lr", "--set wants KEY=VALUE, got 'lr'"),
    "no key": ("=3", "--set wants KEY=VALUE, got '=3'"),
    "open bracket": ("lr=[1", r"lr must be a finite number, got '\[1'"),
    "no date": ("lr=2024-13-45", "lr must be a finite number, got '2024-13-45'"),
    "digits in groups": ("epochs=1_0", "epochs must be a whole number, got '1_0'"),
    "a list that is none": ("search.objective=[a: b: c]", "the value of search.objective is not readable YAML"),
    "unknown field": ("learning_rate=1", "unknown key of a sweep 'learning_rate'"),
    "unknown key in a section": ("budget.minutes=1", "unknown key in budget 'minutes': choose from"),
    "into a number": ("keep.it=1", "keep must be a mapping of names to values, got 5"),
    "into a list": ("exclude.code=u", "exclude must be a mapping of names to values, got"),
    "invalid value": ("epochs=0", "epochs must be at least 1, got 0"),
    "field that others wait for": ("head=direct", r"space.lr.when.head must be one of \['direct'\], got 'bel'"),
    "objectives": ("search.objective=[val/mae,speed]", r"search.objective must be one of .*, got 'speed'"),
    "kind beside another": ("space.lr.grid=[1]", "space.lr must be one of {grid, .* and may have a when"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_a_setting_that_is_wrong_is_refused(tmp_path, case):
    setting, says = SETTINGS[case]
    refused(tmp_path, written(VALID), [setting], says)


def test_the_file_that_the_cases_change_is_valid(tmp_path):
    assert plan_of(tmp_path, written(VALID), ["keep=1", "budget.hours=0.1", "resources.gpu=auto"]).combinations
    for change in (
        searched(LISTS, folds=2, seeds=1, objective=["val/mae", "bits"]),
        searched(LISTS, tune="theta", folds=2) | {"budget": {"hours": 1}},
        searched(space(**NUMBERS), **PBT),
        lr(uniform=[1e-3, 1], when={"head": ["bel", "direct"]}) | {"points": None},
    ):
        assert plan_of(tmp_path, written(VALID | change)).combinations


@pytest.mark.parametrize(
    ("change", "storage", "says"),
    [
        ({"name": "n" * 300}, "runs", "name must be of 200 bytes at most, got 300"),
        ({}, "file", "--storage .* is a file"),
        ({}, "file/below", "--storage .* is a file"),
        ({}, "s" * 256, "--storage has a name of 256 bytes"),
        ({}, "d/" * 2100, "--storage is a path of"),
        ({}, "a\0b", "--storage .* NUL character"),
        ({}, "nowhere://bucket", "cannot use --storage 'nowhere://bucket': .*nowhere.*; give a folder or another URL"),
    ],
)
def test_a_sweep_that_cannot_be_kept_makes_nothing(tmp_path, monkeypatch, capsys, change, storage, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "s.yaml").write_text(written(VALID | change))
    before = sorted(tmp_path.rglob("*"))
    assert main(["s.yaml", "--storage", storage]) == 2
    error = capsys.readouterr().err.strip()
    assert re.search(says, error) and "\n" not in error, error
    assert sorted(tmp_path.rglob("*")) == before
