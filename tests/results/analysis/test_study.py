"""A study keeps what its tables need, and puts together only what belongs together."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from bel.errors import UserError
from results.analysis.configurations import Configuration
from results.analysis.folds import Contender, Tuned
from results.analysis.study import Task, vars_of, with_contenders
from results.analysis.study_files import CONTENDERS, GROUPS, PREDICTIONS, read_study, read_task, write_task
from results.store.predictions import concatenated
from results.store.runs import fetch_predictions
from results.tables.study import decoder_table, regulariser_table
from tests.results.made import GROUPS as GROUPS_OF
from tests.results.made import evaluation_of, made_run, run_with

NAMES = [f"{i:05d}.png" for i in range(len(GROUPS_OF))]
TARGETS = np.random.default_rng(1).uniform(-70, 70, (len(NAMES), 3))


def contender(folder, code, error, tuning, seed=0, params=None, targets=TARGETS, more=None):
    """A contender of two folds whose predictions are wrong by `error`, tuned on lr as `tuning` says.

    `more` are errors of other decoders by name.
    """
    value, own = min(tuning, key=tuning.get), {"code": code, "seed": str(seed), "folds": "2"} | (params or {})
    runs = []
    for fold in (0, 1):
        rows = np.flatnonzero(fold == GROUPS_OF % 2)
        errors = np.full((len(rows), 3), error + 0.01 * fold)
        others = {decoder: np.full((len(rows), 3), error) for decoder, error in (more or {}).items()}
        evaluation = evaluation_of(
            {"expected": errors} | others, GROUPS_OF[rows], [NAMES[i] for i in rows], targets[rows]
        )
        name = f"{code}-150 ce lr={value} s{seed} fold={fold}"
        (folder / code).mkdir(exist_ok=True, parents=True)
        runs.append(run_with(folder / code, name, evaluation, params=own | {"fold": str(fold), "lr": value}))
    whole = concatenated([fetch_predictions(run) for run in runs])
    tried = [made_run(f"{code} {lr}", params=own | {"lr": lr}, error=e, metrics={"val/best_mae_groups": e})
             for lr, e in tuning.items()]  # fmt: skip
    found = Configuration(f"{code}-150 ce lr={value} s{seed}", tuple(runs), (whole,), "expected")
    tests = [fetch_predictions(run) for run in runs]
    return Contender(Tuned("lr", value, tuning, "expected", tried), found, tests, tests)


def test_errors_and_tests_of_a_contender_are_of_its_decoder(tmp_path):
    one = contender(tmp_path, "j", 2.0, {"0.1": 3.0}, more={"argmax": 0.5})
    assert one.test_maes == pytest.approx([2.0, 2.01])
    read = replace(
        one, tuned=replace(one.tuned, decoder="argmax"), out_of_fold=replace(one.out_of_fold, decoder="argmax")
    )
    assert read.test_maes == pytest.approx([0.5, 0.5]) and read.geodesic < one.geodesic
    (kept,) = with_contenders(None, "pose", [read]).contenders
    assert kept.decoder == "argmax" and kept.errors.mae == pytest.approx(0.5, abs=1e-5)
    assert kept.decoders == {"expected": pytest.approx(one.out_of_fold.mae), "argmax": pytest.approx(0.5)}
    assert [run["val_mae"] for run in kept.runs] == pytest.approx([0.5, 0.5])
    title, _, row = decoder_table(Task("pose", [kept])).text.splitlines()
    assert [cell.strip() for cell in title.split("|")[1:-1]] == ["contender", "expected", "argmax"]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == ["j-150 ce", f"{one.out_of_fold.mae:.3f}", "**0.500**"]


def test_a_task_is_read_as_it_was_written(tmp_path):
    found = [contender(tmp_path, "j", 2.0, {"0.1": 3.0, "0.01": 4.0}), contender(tmp_path, "u", 1.0, {"0.1": 3.0})]
    task = with_contenders(None, "pose", found)
    assert [one.name for one in task.contenders] == ["u-150 ce", "j-150 ce"]
    write_task(task, tmp_path / "pose")
    again = read_task(tmp_path / "pose", "pose")
    for ours, theirs in zip(task.contenders, again.contenders, strict=True):
        plain = [{**vars_of(one), "seeds": len(one.seeds)} for one in (ours, theirs)]
        assert plain[0] == plain[1]
        np.testing.assert_array_equal(ours.errors.group_errors, theirs.errors.group_errors)
    j = again.find("j ce")
    assert j.errors.mae == pytest.approx(found[0].out_of_fold.mae, abs=1e-5) and j.at_end and j.value == "0.1"
    assert not again.find("u ce").at_end and again.find("had ce") is None
    table = pd.read_csv(tmp_path / "pose" / GROUPS)
    assert table["j-150 ce"].mean() == pytest.approx(j.errors.mae, abs=1e-5)
    assert set(read_study(tmp_path)) == {"pose"}
    write_task(again, tmp_path / "again")
    for name in (CONTENDERS, PREDICTIONS, GROUPS):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "pose" / name).read_bytes()


def test_seeds_are_one_contender(tmp_path):
    found = [contender(tmp_path, "j", 1.0 + seed, {"0.1": 3.5}, seed) for seed in (0, 1)]
    task = with_contenders(None, "pose", found)
    assert len(task.contenders) == 1 and len(task.contenders[0].seeds) == 2 and len(task.contenders[0].runs) == 4
    assert task.contenders[0].tuning == {"0.1": 3.5}
    assert task.contenders[0].errors.mae == pytest.approx(np.mean([one.out_of_fold.mae for one in found]), abs=1e-5)


def test_values_of_two_sweeps_are_put_together(tmp_path):
    first = with_contenders(None, "pose", [contender(tmp_path / "a", "j", 2.0, {"0.01": 4.0, "0.1": 3.0})])
    assert first.contenders[0].at_end
    worse = with_contenders(first, "pose", [contender(tmp_path / "b", "j", 2.0, {"0.1": 3.0, "1.0": 5.0})])
    (one,) = worse.contenders
    assert not one.at_end and one.value == "0.1" and list(one.tuning) == ["0.01", "0.1", "1.0"]
    better = with_contenders(first, "pose", [contender(tmp_path / "c", "j", 1.5, {"1.0": 2.0})])
    assert better.contenders[0].value == "1.0" and better.contenders[0].errors.mae == pytest.approx(1.505, abs=1e-2)
    with pytest.raises(UserError, match=r"has no folds at its best lr, 0\.01: sweep it"):
        with_contenders(first, "pose", [lowered(contender(tmp_path / "d", "j", 1.5, {"1.0": 2.5}))])


def test_groups_of_the_hold_out_are_kept_and_must_be_the_same(tmp_path):
    def tuned_on(folder, code, rows):
        rows = np.flatnonzero(np.isin(GROUPS_OF, rows))
        held = evaluation_of({"expected": np.ones((len(rows), 3))}, GROUPS_OF[rows], [NAMES[i] for i in rows])
        one = contender(folder, code, 2.0, {"0.1": 3.0})
        return replace(one, tuned=replace(one.tuned, runs=[run_with(folder, f"{code} held", held)]))

    first = tuned_on(tmp_path / "a", "j", [0, 2])
    assert first.hold_out == ["0", "2"]
    task = with_contenders(None, "pose", [first])
    write_task(task, tmp_path / "pose")
    (kept,) = (again := read_task(tmp_path / "pose", "pose")).contenders
    assert kept.hold_out == ["0", "2"]
    assert kept.errors.mae_without(kept.hold_out) == pytest.approx(
        first.out_of_fold.group_errors[[1, 3, 4, 5, 6, 7]].mean(), abs=1e-5
    )
    assert len(with_contenders(again, "pose", [tuned_on(tmp_path / "b", "u", [0, 2])]).contenders) == 2
    with pytest.raises(UserError, match="u-150 ce was tuned on other groups than task pose: give it the same"):
        with_contenders(again, "pose", [tuned_on(tmp_path / "c", "u", [0, 1])])


def test_a_regulariser_is_compared_with_the_same_head_without_one(tmp_path):
    def tuned(code, error, regulariser):
        params = {"regulariser": regulariser, "regulariser_weight": "10.0"}
        one = contender(tmp_path / regulariser, code, error, {"0.1": 3.0}, params=params)
        return replace(one, tuned=replace(one.tuned, field="regulariser_weight"))

    whole = with_contenders(
        None, "pose", [contender(tmp_path, "j", 2.0, {"0.1": 3.0}), contender(tmp_path, "u", 3.0, {"0.1": 3.0})]
    )
    part = with_contenders(None, "pose/regularisers", [tuned("u", 2.5, "ranksim"), tuned("j", 2.2, "ranksim")])
    part = with_contenders(part, "pose/regularisers", [tuned("j", 1.8, "conr")])
    assert "j-150 ce lr=0.1 regulariser=conr" in [one.name for one in part.contenders]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in regulariser_table(whole, part).text.splitlines()[2:]
    ]
    assert [(row[0], row[1], row[5], row[6]) for row in rows] == [
        ("j-150 ce", "conr", "1.805", "-0.200"),
        ("j-150 ce", "ranksim", "2.205", "+0.200"),
        ("u-150 ce", "ranksim", "2.505", "-0.500"),
    ]
    with pytest.raises(UserError, match=r"has no contender that differs from u-150 ce lr=0\.1 regulariser=ranksim in"):
        regulariser_table(Task("pose", whole.contenders[:1]), part)


def lowered(one):
    """The contender, on whose hold-out a value without folds was the best."""
    return replace(one, tuned=replace(one.tuned, value="1.0", tuning={**one.tuned.tuning, "0.01": 1.0}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"params": {"epochs": "5"}}, "u-150 ce has epochs 5, task pose has 4: add it to a folder of its own"),
        ({"targets": TARGETS + 1}, "u-150 ce was not measured on the images of task pose"),
    ],
)
def test_what_was_measured_otherwise_is_refused(tmp_path, changes, message):
    task = with_contenders(None, "pose", [contender(tmp_path, "j", 2.0, {"0.1": 3.0})])
    with pytest.raises(UserError, match=message):
        with_contenders(task, "pose", [contender(tmp_path, "u", 2.0, {"0.1": 3.0}, **changes)])


def test_a_contender_of_the_same_name_and_other_parameters_is_refused(tmp_path):
    ten, none = ({"theta": theta, "device": device} for theta, device in (("10", "cpu"), ("none", "cuda")))
    task = with_contenders(None, "pose", [contender(tmp_path / "a", "j", 2.0, {"0.1": 3.0}, params=ten)])
    with pytest.raises(UserError, match="j-150 ce has theta none, the contender of that name in task pose has 10"):
        with_contenders(task, "pose", [contender(tmp_path / "b", "j", 1.0, {"0.1": 2.0}, params=none)])
    lacks = {"theta": "10", "device": "cuda"}  # what an earlier version did not have is its default
    fresh = [contender(tmp_path / "c", "j", 1.0, {"0.1": 2.0}, params=lacks | {"regulariser": "none"})]
    assert len(with_contenders(task, "pose", fresh).contenders) == 1


def test_seeds_are_in_their_order_and_words_are_no_ends(tmp_path):
    found = [contender(tmp_path, "j", float(seed), {"none": 3.0, "10": 4.0}, seed) for seed in (10, 2)]
    (one,) = with_contenders(None, "pose", found).contenders
    assert [run["seed"] for run in one.runs] == ["2", "2", "10", "10"] and not one.at_end
    assert [round(float(seed.mean_errors().mean())) for seed in one.seeds] == [2, 10]


def test_an_interrupted_write_leaves_the_earlier_files(tmp_path, monkeypatch):
    found = [contender(tmp_path, code, 2.0, {"0.1": 3.0}) for code in ("j", "u")]
    write_task(with_contenders(None, "pose", found[:1]), tmp_path / "pose")
    monkeypatch.setattr(pd.DataFrame, "to_csv", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_task(with_contenders(None, "pose", found), tmp_path / "pose")
    assert [one.name for one in read_study(tmp_path)["pose"].contenders] == ["j-150 ce"]


@pytest.mark.parametrize("damage", ["no json", "{}", "parquet"])
def test_damaged_files_are_refused(tmp_path, damage):
    write_task(with_contenders(None, "pose", [contender(tmp_path, "j", 2.0, {"0.1": 3.0})]), tmp_path / "pose")
    (tmp_path / "pose" / (PREDICTIONS if damage == "parquet" else CONTENDERS)).write_text(damage)
    with pytest.raises(UserError, match="pose holds no task of a study"):
        read_study(tmp_path)
    with pytest.raises(UserError, match="add a sweep with --add TASK=SWEEP"):
        read_study(tmp_path / "nowhere")


def test_common_parameters_are_written_once(tmp_path):
    found = [contender(tmp_path, code, 2.0, {"0.1": 3.0}) for code in ("j", "u")]
    write_task(with_contenders(None, "pose", found), tmp_path / "pose")
    content = json.loads((tmp_path / "pose" / CONTENDERS).read_text())
    assert content["params"]["epochs"] == "4" and [one["params"] for one in content["contenders"]] == [
        {"code": "j"},
        {"code": "u"},
    ]
