"""`from results import Results`: frames that equal the JSON of the commands, and verdicts in words."""

import json

import numpy as np
import pytest
from mlflow import MlflowClient

from bel.errors import UserError
from bel.run_layout import TRIAL
from results import Model, Results
from results.commands import main as command
from results.store.runs import fetch_predictions
from tests.conftest import children
from tests.results.made import evaluation_of, flat, mean_of, stored_sweep


def said(capsys, *arguments):
    """What a command prints as JSON."""
    assert command.main([*arguments, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def same(frame, rows):
    """Whether a frame holds rows of JSON, their intervals as two columns."""
    assert len(frame) == len(rows)
    for (_, ours), theirs in zip(frame.iterrows(), rows, strict=True):
        for name, value in theirs.items():
            if name.endswith("interval"):
                ends = [ours[name.replace("interval", end)] for end in ("low", "high")]
                assert np.isnan(ends).all() if value is None else ends == value
            else:
                assert ours[name] == value or (value is None and (ours[name] is None or np.isnan(ours[name]))), name


def test_leaderboards_are_those_of_the_command(swept_store, capsys):
    for words, decoders in (([], False), (["--decoders"], True)):
        (record,) = said(capsys, "leaderboard", "fixture", *words)
        frame = Results("fixture").leaderboard(decoders)
        same(frame, record.pop("rows"))
        assert frame.attrs == record
    filtered = Results("fixture", filter="params.head = 'bel'")
    assert set(filtered.leaderboard()["head"]) == {"bel"} and set(filtered.runs()["head"]) == {"bel"}
    assert capsys.readouterr() == ("", "")


def test_a_comparison_is_that_of_the_command(swept_store, capsys):
    found = Results("fixture")
    names = list(found.leaderboard()["configuration"][:3])
    comparison = found.compare(*names)
    values = said(capsys, "compare", *names, "--sweep", "fixture")
    assert comparison.values == values and found.compare(*comparison.frame["run_ids"].str[0]).values["facts"]
    assert command.main(["compare", *names, "--sweep", "fixture"]) == 0
    assert capsys.readouterr().out == f"{comparison}\n"
    same(comparison.frame, [{k: v for k, v in one.items() if k in comparison.frame} for one in values["contenders"]])
    gaps = [{"minus_first": d["mean"], "minus_first_interval": d["interval"]} for d in values["differences"]]
    same(comparison.frame.iloc[1:], gaps)
    assert comparison.frame["verdict"].tolist() == ["first", *(one["verdict"] for one in values["differences"])]
    assert comparison.by_group[["A", "B", "C"]].values.tolist() == [one["mae"] for one in values["by_group"]]
    assert comparison.by_target("yaw")["A"].tolist() == [one["mae"][0] for one in values["by_angle"]["yaw"]]
    lines = comparison.verdict.splitlines()
    assert len(lines) == 2 and lines[0].startswith(f"{names[1]} minus {names[0]}: +")
    assert lines[0].endswith(values["differences"][0]["verdict"])
    with pytest.raises(UserError, match=r"axis must be one of \['yaw', 'pitch', 'roll'\], got 'age'"):
        comparison.by_target("age")


def test_errors_are_image_by_image(swept_store):
    found = Results("fixture")
    frame, (first, *_) = found.errors(), found.leaderboard().to_dict("records")
    assert first["run_ids"] == [found.best] and frame.attrs["configuration"] == first["configuration"]
    assert frame.groupby("group")["error"].mean().mean() == pytest.approx(first["mae"], abs=1e-9)
    assert frame["error"].mean() == pytest.approx(first["mae_by_image"], abs=1e-9)
    run = min(
        (run for run in children("fixture")[1] if run.data.params["head"] == "bel"), key=lambda run: run.info.run_name
    )
    stored, ours = fetch_predictions(run), found.errors(run.info.run_id, decoder="argmax")
    assert ours["image"].tolist() == stored.names.tolist() and ours.attrs["decoder"] == "argmax"
    assert (ours["predicted_yaw"] == stored.values["argmax"][:, 0]).all()
    assert (ours["error_roll"] == stored.errors("argmax")[:, 2]).all() and ours.attrs["units"]["roll"] == "deg"


def test_repeats_are_rows_of_their_own(store):
    stored_sweep("seeds", {"j": flat(2.0)})
    (run_id,) = stored_sweep("more", {"j": flat(3.0)}, {"seed": "1"})
    MlflowClient().set_tag(run_id, TRIAL, "another")
    frame = Results("seeds", "more").errors()
    assert sorted(set(frame["repeat"])) == [0, 1] and len(frame) == 120
    assert np.allclose(frame.groupby("repeat")["error"].mean().diff()[1], 1.0)


def test_a_verdict_says_who_is_first_who_is_tied_and_who_is_worse(store):
    near = mean_of(2.01) - mean_of(0, effect=1)
    stored_sweep("made", {"j": flat(2.0), "u": flat(near, effect=1), "had": flat(9.0, effect=2)})
    lines = Results("made").verdict().splitlines()
    assert lines[0] == "first of 3 configurations: j-150 ce lr=1e-4" and "over 8 groups of 60 images" in lines[1]
    assert lines[2] == "1 configuration is tied with it: u-150 ce lr=1e-4"
    assert lines[3] == "1 configuration is worse: had-150 ce lr=1e-4"
    assert lines[4].startswith("(differences from the first are paired over groups") and len(lines) == 5


def test_too_few_groups_cannot_tell(store):
    few = np.repeat(np.arange(3), 20)
    stored_sweep("few", {"j": flat(2.0, groups=few), "u": flat(2.5, effect=1, groups=few)})
    found = Results("few")
    assert "1 configuration is not to be told from it, by too few groups: u-150" in found.verdict()
    assert found.compare(*found.leaderboard()["configuration"]).verdict.endswith("no interval: cannot tell")


def test_tables_that_are_not_comparable_are_frames_of_their_own(store):
    stored_sweep("one", {"j": flat(2.0)})
    stored_sweep("other", {"u": evaluation_of({"expected": np.ones((6, 3))}, range(6))})
    first, second = Results("one", "other").leaderboards()
    assert first.attrs["fenced"] == "" and "another images" in second.attrs["fenced"]


def test_what_results_cannot_do_is_said(swept_store):
    wrong = {
        "no sweep 'nothing' in the MLflow store": lambda: Results("nothing"),
        "no run '0{32}'": lambda: Results("0" * 32),
        "Results are of one sweep or more": lambda: Results(),
        "has an error to rank": lambda: Results("fixture", filter="params.head = 'corn'").leaderboard(),
        "MLflow refuses the filter": lambda: Results("fixture", filter="head").runs(),
        "has no configuration 'j'": lambda: Results("fixture").errors("j"),
        "compare takes two runs or more, got 1": lambda: Results("fixture").compare("j"),
        r"split must be one of \['val', 'test'\]": lambda: Results("fixture").errors(split="train"),
        "run `bel-eval --run-id": lambda: Results("fixture").errors(split="test"),
        "decoder must be one of": lambda: Results("fixture").errors(decoder="best"),
    }
    for says, call in wrong.items():
        with pytest.raises(UserError, match=says):
            call()
    assert repr(Results("fixture")) == "Results('fixture')"


@pytest.mark.parametrize("odd", [3, None, b"x"])
def test_a_sweep_or_a_model_that_is_no_text_is_refused_in_a_sentence(odd):
    with pytest.raises(UserError, match="a sweep is a name or a run id as text, got"):
        Results("demo", odd)
    with pytest.raises(UserError, match="a model is a run id, NAME@ALIAS, NAME/VERSION or a file, got"):
        Model(odd)
