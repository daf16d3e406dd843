"""Every command's JSON: one document on stdout, with the documented keys, and the numbers of its text."""

import re

import numpy as np
import pytest

from results.analysis.study import with_contenders
from results.analysis.study_files import write_task
from results.commands import main as command
from results.retest import evaluate
from tests.conftest import children
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


@pytest.mark.parametrize("words", [["leaderboard", "nothing"], ["best", "nothing"], ["compare", "0" * 32, "1" * 32]])
def test_an_error_is_a_line_on_stderr_alone(store, capsys, words):
    assert command.main([*words, *JSON]) == 2
    found = capsys.readouterr()
    assert found.out == "" and found.err.startswith("error: ") and found.err.count("\n") == 1
