"""Every command's JSON: one document on stdout, with the documented keys, and the numbers of its text."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from bel.data import command as data
from launch import codes, sweep, train
from results.analysis.study import with_contenders
from results.analysis.study_files import write_task
from results.commands import main as command
from results.predict import command as predict
from results.retest import evaluate, export
from tests.conftest import SWEEP, children
from tests.documented import check, document
from tests.results.analysis.test_study import TARGETS, contender

JSON = ("--format", "json")


def said(main, capsys, *words, code=0):
    """A command's document, and its text."""
    capsys.readouterr()
    assert main([*map(str, words), *JSON]) == code
    found = document(capsys)
    assert main([*map(str, words)]) == code
    return found, capsys.readouterr().out


def numbers(text):
    """The numbers of a text."""
    return re.findall(r"(?<![\w.])\d+\.\d{3}(?!\d)", text)


def leaves(value):
    """All numbers of a document with three decimals, as a text has them."""
    if isinstance(value, dict | list):
        return {leaf for part in (value.values() if isinstance(value, dict) else value) for leaf in leaves(part)}
    return {f"{abs(value):.3f}"} if isinstance(value, float) else set()


def test_results_of_a_sweep(swept_store, capsys):
    parent, trials = children("fixture")
    ids = [run.info.run_id for run in trials[:3]]
    found, text = said(command.main, capsys, "leaderboard", "fixture")
    check("bel-results leaderboard", found)
    assert set(numbers(text)) <= leaves(found)
    found, text = said(command.main, capsys, "compare", *ids)
    check("bel-results compare", found)
    assert set(numbers(text.split("by group")[0])) <= leaves(found)
    found, text = said(command.main, capsys, "best", "fixture", "--config", "best.yaml")
    assert found["run"]["run_id"] in text and found["best"]["run_ids"] == [found["run"]["run_id"]]
    assert set(numbers(text.split("\n\n")[0])) <= leaves(found)
    registered, _ = said(command.main, capsys, "best", "fixture", "--register", "mine")
    assert registered["registered"]["version"] == 1 and found["registered"] is None
    check("bel-results best", found, registered)
    found, text = said(command.main, capsys, "report", parent.info.run_id)
    check("bel-results report", found)
    assert text.startswith(f"report.html: {found['bytes'] / 1e6:.1f} MB")


def test_a_re_test(swept_store, capsys):
    _, trials = children("fixture")
    run = next(run for run in trials if run.data.params["head"] == "bel")
    found, text = said(evaluate.main, capsys, "--run-id", run.info.run_id)
    check("bel-eval", found)
    (one,) = found["results"]
    assert one["run_id"] == run.info.run_id and one["validation"]["repeats"] and one["logged"]
    assert set(numbers(text.split("test MAE")[1])) <= leaves(found)
    assert one["validation"]["mae"] == pytest.approx(run.data.metrics["val/best_mae"], abs=1e-6)


def test_a_calibration(swept_store, capsys):
    _, trials = children("fixture")
    run = next(run for run in trials if run.data.params["head"] == "bel")
    found, text = said(command.main, capsys, "calibrate", run.info.run_id, "--level", "0.5", "--measure", "test")
    check("bel-results calibrate", found)
    measured = found["measured"]["test"]
    assert f"{measured['coverage']['conformal']['yaw']:.1%}" in text and found["runs"] == [run.info.run_id]


def made_study(folder):
    """A study of two tasks, one with regularisers and half of the images, from contenders made by hand."""
    targets = np.where(TARGETS > 0, 60.0, -60.0)
    parts = {"pose": {}, "age": {}, "pose/size/half": {}, "pose/regularisers": {"regulariser": "conr"}}
    for name, params in parts.items():
        errors = {"rlel": 2.0, "classification": 1.0}
        made = [
            contender(
                folder / "made" / name, code, error, {"0.1": 3.0, "0.01": 4.0}, 0, params, targets, {"argmax": 0.5}
            )
            for code, error in errors.items()
        ]
        write_task(with_contenders(None, name, made), folder / "study" / name)
    return folder / "study"


def test_a_study(tmp_path, capsys):
    found, text = said(command.main, capsys, "study", made_study(tmp_path))
    kinds = {table["kind"] for table in found["tables"]}
    assert kinds == {"task", "decoders", "targets", "ranks", "hold", "claims", "regularisers", "size"}
    check("bel-results study", found)
    assert set(numbers(text)) <= leaves(found)


def test_data(rendered, cache, tmp_path, capsys):
    where = ("--protocol", "biwi", "--data-root", rendered, "--cache-dir", cache, "--crop", "frame", "--image-size", 32)
    found, text = said(data.main, capsys, "prepare", *where, "--verify")
    check("bel-data prepare", found)
    train, _ = found["parts"]
    assert f"train: {train['images']} images of {train['groups']} groups, 34 x 34 px" in text and train["verified"]
    found, text = said(data.main, capsys, "labels", *where, "--part", "train")
    check("bel-data labels", found)
    (part,) = found["parts"]
    assert [sum(row["by_level"]) for row in part["labels"]] == [part["images"]] * 3
    assert all(f" {row['median']:.4g} " in text for row in part["labels"])
    shutil.copytree(rendered / "BIWI", tmp_path / "BIWI")
    twin, other, cut, *_ = sorted((tmp_path / "BIWI").rglob("*_rgb.png"))
    shutil.copy(twin, other)
    cut.write_bytes(b"no image")
    checked = ("check", tmp_path / "BIWI", "--out", tmp_path / "check", "--fix-list", tmp_path / "lists")
    (tmp_path / "lists").mkdir()
    found, text = said(data.main, capsys, *checked, code=1)
    check("bel-data check", found)
    assert found["corrupt"] and f"{len(found['problems'])} problems would corrupt a result" in text
    few = ("synth", "--layout", "csv", "--subjects", 2, "--frames", 1, "--size", 32, "--out")
    assert data.main([*map(str, few), str(tmp_path / "made"), *JSON]) == 0
    check("bel-data synth", document(capsys))


def test_a_code(store, capsys):
    found, text = said(codes.main, capsys, "u", 20)
    check("bel-codes", found)
    assert f"20 words of {found['bits']} bits" in text and f" {found['transitions']['mean']:.2f} " in text


def test_a_training(small, tmp_path, capsys):
    options = [
        part for name, value in (small | {"code": "u"}).items() for part in (f"--{name.replace('_', '-')}", value)
    ]
    assert train.main([*map(str, options), "--out", str(tmp_path / "run"), *JSON]) == 0
    said_on = capsys.readouterr()
    found = json.loads(said_on.out)
    check("bel-train", found)
    assert [epoch["epoch"] for epoch in found["epochs"]] == [1, 2]
    assert f"val MAE {found['epochs'][-1]['mae_groups']:.3f} (" in said_on.err
    assert evaluate.main(["--checkpoint", found["checkpoint"], *JSON]) == 0
    (again,) = document(capsys)["results"]
    assert again["run_id"] is None and again["validation"]["mae"] == pytest.approx(again["validation"]["logged"])


def test_an_export_and_predictions(swept_store, pictures, capsys):
    _, trials = children("fixture")
    run_id = next(run for run in trials if run.data.params["head"] == "bel").info.run_id
    found, text = said(export.main, capsys, "--run-id", run_id, "--to", "torchscript")
    check("bel-export", found)
    assert found["usage"] in text and f"batch sizes (1, 5): {found['greatest_difference']:.1e}" in text
    (pictures / "broken.png").write_bytes(b"no image")
    found, text = said(predict.main, capsys, pictures, "--run-id", run_id, code=1)
    check("bel-predict", found)
    assert len(found["not_predicted"]) == 1 and text.startswith(f"{found['predictions']} predictions of 3 pictures")
    assert Path(found["table"]).read_text().count("\n") == 1 + found["predictions"]


def test_a_sweep_that_is_over(swept_store, swept, capsys):
    found, text = said(sweep.main, capsys, swept[1])
    assert set(numbers(text.split("re-test")[0])) <= leaves(found) and found["trials"]["ended_before"] == 11
    assert all(step["command"] in text for step in found["next_commands"])
    objectives = ("--set", 'search.objective=["val/mae_groups", "bits"]')
    several, text = said(sweep.main, capsys, swept[1], *objectives)
    assert several["trials"]["reused"] == 11 and all(one["trial"] in text for one in several["pareto_front"])
    (table,) = several["tables"]
    assert len(table["configurations"]) == len(table["splits"][0]["runs"]) == 11
    check("bel-sweep", found, several, UNRANKED)
    planned, text = said(sweep.main, capsys, swept[1], "--plan")
    learning = ("--set", "name=warm", "--set", "search.method=tpe", "--set", "warm_start=[fixture]")
    told, words = said(sweep.main, capsys, swept[1], "--plan", *learning)
    assert [(one["told"], one["exact"]) for one in told["warm_start"]] == [
        (11, 11)
    ] and "11 configurations told" in words
    check("bel-sweep --plan", planned, told)
    assert "sweep fixture: 0 trials to run" in text and planned["trials"]["to_run"] == 0


UNRANKED = {"unranked": [{"name": "", "run_id": "", "outcome": "", "reason": ""}]}  # of the sweep below


def test_a_sweep_as_events(ray_here, rendered, cache, store, capsys, broken_weights):
    base = SWEEP["base"] | {"data_root": str(rendered), "cache_dir": str(cache), "head": "direct"}
    del base["weights"]
    spec = {"name": "events", "base": base, "space": {"weights": {"grid": ["none", str(broken_weights)]}}}
    Path("events.yaml").write_text(yaml.safe_dump(spec | {"resources": {"cpu": 1}}))
    capsys.readouterr()
    assert sweep.main(["events.yaml", "--progress", "json", *JSON]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    (one,) = found["unranked"]
    assert (
        set(one) == set(UNRANKED["unranked"][0])
        and one["outcome"] == "diverged"
        and found["trials"]["finished"] == found["trials"]["diverged"] == 1
    )
    lines = [line for line in printed.err.splitlines() if line.startswith("{")]
    events = list(map(json.loads, lines))
    check("bel-sweep --progress json", events)
    kinds = Counter(event["event"] for event in events)
    ended = {"sweep_started": 1, "trial_started": 2, "trial_ended": 2, "sweep_ended": 1}
    assert {kind: kinds[kind] for kind in ended} == ended and kinds["epoch"] >= 2
    assert events[0]["event"] == "sweep_started" and events[-1]["event"] == "sweep_ended"
    (best,) = found["tables"][0]["splits"][0]["runs"]
    of_it = [event for event in events if event.get("name") == best["name"]]
    epochs = [event for event in of_it if event["event"] == "epoch"]
    assert [event["epoch"] for event in epochs] == [1, 2]
    assert min(event["metrics"]["val/mae_groups"] for event in epochs) == best["mae_groups"]
    (end,) = [event for event in of_it if event["event"] == "trial_ended"]
    assert (end["run_id"], end["outcome"], end["mae_groups"]) == (best["run_id"], "finished", best["mae_groups"])
    times = [event["time"] for event in events]
    assert times == sorted(times) and "finished epoch" not in printed.err


@pytest.mark.parametrize("more", ["--quiet", "--plan"])
def test_events_of_nothing_are_refused(store, capsys, more):
    assert sweep.main(["demo", "--progress", "json", more]) == 2
    assert "leave one of them out" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["leaderboard", "nothing"], ["best", "nothing"], ["compare", "0" * 32, "1" * 32]])
def test_an_error_is_a_line_on_stderr_alone(store, capsys, words):
    assert command.main([*words, *JSON]) == 2
    found = capsys.readouterr()
    assert found.out == "" and found.err.startswith("error: ") and found.err.count("\n") == 1
