"""`bel-results leaderboard` on a real sweep: every format says the same, and it needs no torch."""

import csv
import io
import json
import os
import re
import subprocess
import sys

import mlflow
import pytest

from results.commands import main as command
from tests.conftest import children


def said(capsys, *arguments):
    assert command.main(["leaderboard", "fixture", *arguments]) == 0
    return capsys.readouterr().out


def test_the_rows_are_the_logged_errors_best_first(swept_store, capsys):
    (record,) = json.loads(said(capsys, "--format", "json"))
    trials = {run.info.run_id: run for run in children("fixture")[1]}
    errors = [row["mae"] for row in record["rows"]]
    assert len(record["rows"]) == len(trials) == 11 and errors == sorted(errors)
    for row in record["rows"]:
        (run_id,) = row["run_ids"]
        metrics = trials[run_id].data.metrics
        assert row["mae_by_image"] == pytest.approx(metrics["val/best_mae"], abs=1e-9)
        assert row["bits"] == metrics["bits"] and row["parameters"] == metrics["parameters"] > 4e6
        axes = [row[f"mae_{name}"] for name in ("yaw", "pitch", "roll")]
        assert sum(axes) / 3 == pytest.approx(row["mae"]) and re.search(r" lr=1e-3", row["configuration"])
        assert row["verdict"] == ("first" if row["rank"] == 1 else "cannot tell"), "one group of twelve images"
    facts = record["facts"]
    run = next(iter(trials.values()))
    assert (facts["split"], facts["images"], facts["groups"]) == (run.data.params["split_hash"], "12", "1")
    assert facts["selection"] == "selected on validation groups" and "too few" in record["method"]


def test_every_format_has_every_row(swept_store, capsys, tmp_path):
    (record,) = json.loads(said(capsys, "--format", "json"))
    names, maes = ([row[key] for row in record["rows"]] for key in ("configuration", "mae"))
    table = list(csv.DictReader(io.StringIO(said(capsys, "--format", "csv"))))
    assert [row["configuration"] for row in table] == names and [float(row["mae"]) for row in table] == maes
    for form in ("text", "markdown", "latex"):
        text = said(capsys, "--format", form)
        places = [text.index(f"{mae:.3f}") for mae in maes]
        assert places == sorted(places) and all(name.split(" s0")[0] in text for name in names)
        assert (
            said(capsys, "--format", form, "-o", str(tmp_path / form)) == "" and (tmp_path / form).read_text() == text
        )
    latex = said(capsys, "--format", "latex")
    assert r"\toprule" in latex and latex.count(r"\\") == 12 and "%" not in latex.replace(r"\%", "")


def test_decoders_are_rows_and_a_filter_leaves_rows_out(swept_store, capsys):
    (record,) = json.loads(said(capsys, "--format", "json", "--decoders", "--filter", "params.head = 'bel'"))
    names = [row["configuration"] for row in record["rows"]]
    assert len(names) == 8 * 3 == len(set(names)) and {name.split(" · ")[1] for name in names} == {
        "expected", "argmax", "native",
    }  # fmt: skip
    for run in children("fixture")[1]:
        for row in record["rows"]:
            name, _, decoder = row["configuration"].partition(" · ")
            if row["run_ids"] == [run.info.run_id] and run.data.metrics["val/best_epoch"] == 2:
                assert row["mae_by_image"] == pytest.approx(run.data.metrics[f"val/{decoder}/mae"], abs=1e-9), name


def test_the_old_word_of_an_option_works_with_a_note(swept_store, capsys):
    rows = said(capsys, "--decoders")
    assert command.main(["leaderboard", "fixture", "--read-outs"]) == 0
    out, err = capsys.readouterr()
    assert out == rows and err == "note: --read-outs is now --decoders\n"
    with pytest.raises(SystemExit):
        command.main(["leaderboard", "--help"])
    assert "read-outs" not in capsys.readouterr().out


def test_it_imports_no_torch(swept_store):
    code = (
        "import sys; from results.commands.main import main; code = main(['leaderboard', 'fixture']); "
        "sys.exit(code or ('torch' in sys.modules and 9))"
    )
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{swept_store / 'mlflow.db'}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "u-76 ce lr=1e-3" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "no sweep 'nothing' in the MLflow store"),
        (["0" * 32], "no run '00000000000000000000000000000000'"),
        (["fixture", "--filter", "params.head == bel"], "MLflow refuses the filter"),
        (["fixture", "--filter", "params.head = 'none'"], "no trial of fixture has an error to rank (no trial at all)"),
        (["fixture", "fixture", "--publish"], "--publish writes into the description of one sweep, got 2"),
    ],
)
def test_bad_input_is_one_line(swept_store, capsys, arguments, message):
    assert command.main(["leaderboard", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("error: ") and message in err


def test_a_server_that_is_not_there_is_said(store, capsys):
    mlflow.set_tracking_uri("http://me:secret@127.0.0.1:9")
    assert command.main(["leaderboard", "fixture"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: cannot read the MLflow store http://127.0.0.1:9: ") and "secret" not in said
