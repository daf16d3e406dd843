"""Sweeps that compare fairly: a tuned one with its folds, and the published trainings fenced off from clean ones."""

import csv
import json
import re
import shutil

import mlflow
import numpy as np
import pytest
import yaml

from bel.codes.library import code_matrix
from bel.run_layout import CODE_FIGURE
from launch import sweep
from results.commands import main as command
from results.retest import evaluate
from results.store.runs import on_fold
from tests.conftest import PROJECT, SWEEP, children, working_in
from tests.documented import check, document

TUNED = {
    "name": "tuned",
    "space": {"head": {"grid": ["direct", "rotation6d", "rlel"]}, "lr": {"grid": [1e-4, 3e-3]}},
    "search": {"method": "grid", "tune": "lr", "folds": 3},
}


@pytest.fixture(scope="module")
def tuned(ray_here, rendered, cache, tmp_path_factory):
    """The folder of a finished tuned sweep, and its file."""
    folder = tmp_path_factory.mktemp("tuned")
    base = SWEEP["base"] | {"data_root": str(rendered), "cache_dir": str(cache), "epochs": 1}
    del base["lr"]
    (folder / "tuned.yaml").write_text(yaml.safe_dump(TUNED | {"base": base}))
    with working_in(folder):
        assert sweep.main([str(folder / "tuned.yaml")]) == 0
    return folder


@pytest.mark.slow
def test_each_contender_goes_on_to_all_folds_with_its_best_value(tuned):
    with working_in(tuned):
        parent, trials = children("tuned")
    hold_out = [run for run in trials if not on_fold(run)]
    assert parent.info.status == "FINISHED" and len(hold_out) == 6 and len(trials) == 6 + 3 * 3
    for head in ("direct", "rotation6d", "rlel"):
        errors = {
            r.data.params["lr"]: r.data.metrics["val/best_mae_groups"]
            for r in hold_out
            if r.data.params["head"] == head
        }
        folds = [run for run in trials if on_fold(run) and run.data.params["head"] == head]
        assert {run.data.params["lr"] for run in folds} == {min(errors, key=errors.get)}
        assert sorted(run.data.params["fold"] for run in folds) == ["0", "1", "2"]
        assert all(run.data.tags["selection"] == "last" and "fold=" in run.info.run_name for run in folds)


@pytest.mark.slow
def test_a_contender_is_whole_before_what_is_left_begins(tuned):
    with working_in(tuned):
        _, trials = children("tuned")
    of = {(head, folds): [run.info for run in trials if (run.data.params["head"], on_fold(run)) == (head, folds)]
          for head in ("direct", "rotation6d", "rlel") for folds in (False, True)}  # fmt: skip
    ended = max(run.end_time for run in of["direct", False])
    whole = max(run.start_time for run in of["direct", True])
    others = [run.start_time for head in ("rotation6d", "rlel") for run in of[head, False]]
    assert sum(ended < start < whole for start in others) <= 2, "what Tune had by then: one that waits for a place"


@pytest.mark.slow
def test_the_same_tuned_sweep_again_runs_nothing(tuned, capsys):
    with working_in(tuned):
        assert sweep.main([str(tuned / "tuned.yaml")]) == 0
    out = capsys.readouterr().out
    assert "0 trials to run" in out and "15 finished before" in out
    assert "bel-results folds --run-id" in out and "fold=" not in out


@pytest.mark.slow
def test_a_fold_that_is_missing_is_said_and_the_same_command_makes_it(tuned, tmp_path, capsys):
    shutil.copytree(tuned, tmp_path / "store")
    with working_in(tmp_path / "store"):
        parent, trials = children("tuned")
        mlflow.MlflowClient().delete_run(next(run for run in trials if on_fold(run)).info.run_id)
        code = command.main(["folds", "--run-id", parent.info.run_id])
        out = capsys.readouterr().out
        assert code == 0 and out.count("left out:") == 1 and "only: run the sweep again to go on" in out
        assert len(re.findall(r"^ *\d+  \S.* s0 +", out, re.M)) == 2
        assert sweep.main([str(tuned / "tuned.yaml")]) == 0
        assert "1 trials to run" in capsys.readouterr().out


@pytest.mark.slow
def test_folds_are_put_together_and_compared_by_groups(tuned, tmp_path, capsys):
    with working_in(tuned):
        parent, trials = children("tuned")
        assert command.main(["folds", "--run-id", parent.info.run_id, "--out", str(tmp_path)]) == 0
        out = capsys.readouterr().out
        assert command.main(["folds", "--run-id", parent.info.run_id, "--format", "json"]) == 0
    found = document(capsys)
    check("bel-results folds", found)
    assert all(f"{row[name]:.3f}" in out for row in found["rows"] for name in ("mae", "test_mae"))
    assert out.count(" repeats (") == out.count("logged test metrics") == 9 and "out of fold on" in out
    rows = {name: list(csv.DictReader((tmp_path / f"{name}.csv").open())) for name in ("runs", "groups")}
    assert {row["run_id"] for row in rows["runs"]} == {run.info.run_id for run in trials}
    names = [name for name in rows["groups"][0] if name != "group"]
    means = [sum(float(row[name]) for row in rows["groups"]) / len(rows["groups"]) for name in names]
    printed = [float(x) for x in re.findall(r"^ *\d+  \S.* s0 +[a-z]+ +(\S+) ", out, re.M)]
    assert len(names) == 3 and means == sorted(means) and printed == pytest.approx(means, abs=6e-4)
    images = list(csv.DictReader((tmp_path / "errors_out_of_fold.csv").open()))
    groups = {}
    for row in images:
        error = sum(float(row[f"{names[0]} {axis}"]) for axis in ("yaw", "pitch", "roll")) / 3
        groups.setdefault(row["group"], []).append(error)
    assert len(images) == len({row["image"] for row in images}) and len(groups) == len(rows["groups"])
    by_hand = sum(sum(errors) / len(errors) for errors in groups.values()) / len(groups)
    assert by_hand == pytest.approx(means[0], abs=0.01)
    tests = list(csv.DictReader((tmp_path / "errors_test.csv").open()))
    assert tests and not {row["group"] for row in tests} & set(groups)
    assert (tmp_path / "table.md").read_text().count("\n| ") >= 4
    with working_in(tuned):
        assert command.main(["folds", "--run-id", parent.info.run_id]) == 0
        again = capsys.readouterr().out
        assert again.count(" repeats (") == 9 and "logged test metrics" not in again, "they are read from the store"
        assert again.splitlines()[-5:] == out.splitlines()[-7:-2]


@pytest.mark.slow
def test_a_study_keeps_the_contenders_of_a_sweep(tuned, tmp_path, capsys):
    (tmp_path / "README.md").write_text("# A study\n<!-- table: pose -->\n<!-- end -->\n")
    with working_in(tuned):
        parent, trials = children("tuned")
        assert command.main(["study", str(tmp_path), "--add", f"pose={parent.info.run_id}"]) == 0
        assert command.main(["folds", "--run-id", parent.info.run_id]) == 0
    out, written = capsys.readouterr().out, (tmp_path / "README.md").read_text()
    printed = set(re.findall(r"^ *\d+  (\S+ \S+) lr=\S+ s0 +([a-z]\S*) +(\S+) ", out, re.M))
    tabled = set(re.findall(r"^\| =?\d+ \| (\S+ \S+) \| \S+ \| (\S+) \| (\S+) \|", written, re.M))
    assert len(printed) == 3 and tabled == printed
    assert (tmp_path / "pose" / "ranks.png").read_bytes()[1:4] == b"PNG"
    assert command.main(["study", str(tmp_path)]) == 0 and (tmp_path / "README.md").read_text() == written
    content = json.loads((tmp_path / "pose" / "contenders.json").read_text())
    kept = {run["run_id"] for one in content["contenders"] for run in one["runs"]}
    assert kept == {run.info.run_id for run in trials if on_fold(run)}


@pytest.mark.slow
def test_the_parent_of_a_tuned_sweep_stands_for_the_best_of_its_folds_and_of_its_hold_out(tuned, tmp_path, capsys):
    shutil.copytree(tuned, tmp_path / "store")
    with working_in(tmp_path / "store"):
        parent, trials = children("tuned")
        assert evaluate.main(["--run-id", parent.info.run_id]) == 0
        best = min((run for run in trials if not on_fold(run)), key=lambda run: run.data.metrics["val/best_mae_groups"])
        tested = re.findall(r"^run ([0-9a-f]{32})", capsys.readouterr().out, re.M)
        assert command.main(["best", "tuned"]) == 0
    said = capsys.readouterr().out
    assert len(tested) == 2 and f"--run-id {tested[0]}" in said and tested[1] == best.info.run_id


@pytest.mark.slow
def test_a_contender_whose_trials_fail_is_left_out_and_the_others_go_on(
    ray_here, rendered, cache, store, capsys, broken_weights
):
    base = SWEEP["base"] | {"data_root": str(rendered), "cache_dir": str(cache), "epochs": 1, "head": "direct"}
    del base["lr"], base["weights"]
    space = {"weights": {"grid": ["none", str(broken_weights)]}, "lr": {"grid": [1e-4, 3e-3]}}
    spec = TUNED | {"name": "fails", "base": base, "space": space}
    (store / "fails.yaml").write_text(yaml.safe_dump(spec))
    assert sweep.main([str(store / "fails.yaml")]) == 0
    parent, trials = children("fails")
    assert parent.info.status == "FINISHED"
    assert sorted(run.info.status for run in trials) == ["FAILED"] * 2 + ["FINISHED"] * (2 + 3)
    capsys.readouterr()
    assert command.main(["folds", "--run-id", parent.info.run_id]) == 0
    assert capsys.readouterr().out.count(" repeats (") == 3


def test_only_a_tuned_sweep_has_folds_to_put_together(swept_store, capsys):
    parent, trials = children("fixture")
    for run in (parent, trials[0]):
        assert command.main(["folds", "--run-id", run.info.run_id]) == 2
        assert "is no tuned sweep: give the parent of one" in capsys.readouterr().err


@pytest.mark.slow
def test_a_code_in_a_file_is_part_of_a_trial_and_of_its_checkpoint(ray_here, rendered, cache, store, capsys):
    base = SWEEP["base"] | {"data_root": str(rendered), "cache_dir": str(cache), "epochs": 1, "code_bits": 8}
    file = store / "mine_{levels}.csv"
    for levels in (6, 8):
        np.savetxt(str(file).format(levels=levels), code_matrix("u", levels), fmt="%d", delimiter=",")
    spec = {"name": "own", "base": base, "space": {"code": {"grid": [f"file:{file}"]}}}
    (store / "own.yaml").write_text(yaml.safe_dump(spec))
    assert sweep.main([str(store / "own.yaml")]) == 0
    parent, (run,) = children("own")
    assert run.info.run_name.startswith("mine_8-8 bce") and "code_digest" in run.data.params
    assert evaluate.main(["--run-id", run.info.run_id]) == 0
    np.savetxt(str(file).format(levels=8), code_matrix("random", 8), fmt="%d", delimiter=",")
    assert evaluate.main(["--run-id", run.info.run_id]) == 2
    assert "is not the one that the checkpoint was trained with: put its file back" in capsys.readouterr().err
    assert sweep.main([str(store / "own.yaml")]) == 0
    assert "1 trials to run" in capsys.readouterr().out and parent.info.run_id


@pytest.mark.slow
def test_a_learned_code_has_a_picture(tuned, tmp_path):
    with working_in(tuned):
        run = next(run for run in children("tuned")[1] if run.data.params["head"] == "rlel")
        picture = mlflow.MlflowClient().download_artifacts(run.info.run_id, CODE_FIGURE, str(tmp_path))
    assert (tmp_path / CODE_FIGURE).stat().st_size > 10_000 and picture


@pytest.mark.parametrize(
    ("search", "more", "says"),
    [
        ({"tune": "lr"}, {}, "search.tune and search.folds belong together"),
        ({"tune": "theta", "folds": 3}, {}, r"search.tune must be one of ['head', 'lr'], got 'theta'"),
        ({"tune": "lr", "folds": 1}, {}, "search.folds must be from 2 to 1000, got 1"),
        ({"tune": "lr", "folds": 3, "scheduler": "asha"}, {}, "use method grid and scheduler none"),
        ({"tune": "lr", "folds": 3, "method": "random", "trials": 2}, {}, "use method grid and scheduler none"),
        ({"tune": "lr", "folds": 3}, {"selection": "last"}, "selection is decided by search.tune"),
        ({"tune": "lr", "folds": 3}, {"folds": 4}, "folds is decided by search.tune"),
        (
            {"tune": "lr", "folds": 3},
            {"recipe": "published", "backbone": "resnet18"},
            "recipe published selects on test",
        ),
    ],
)
def test_a_tuned_sweep_says_what_it_needs(tmp_path, capsys, search, more, says):
    spec = TUNED | {"search": {"method": "grid"} | search, "base": more}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(spec))
    assert sweep.main([str(tmp_path / "bad.yaml")]) == 2
    err = capsys.readouterr().err.strip()
    assert says in err and "\n" not in err


SMALL = ["backbone=resnet10", "weights=none", "image_size=32", "epochs=2", "drop_epoch=1", "batch_size=8",
         "resources.gpu=0", "resources.cpu=1"]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["biwi", "aflw2000"])
def test_the_published_trainings_run_and_are_marked(ray_here, rendered, cache, store, capsys, protocol):
    settings = [*SMALL, f"data_root={rendered}", f"cache_dir={cache}"]
    file = str(PROJECT / "sweeps" / f"published_{protocol}.yaml")
    assert sweep.main([file, *(part for setting in settings for part in ("--set", setting))]) == 0
    parent, trials = children(f"published_{protocol}")
    kinds = {(t.data.params["head"], t.data.params["loss"], t.data.params.get("code")) for t in trials}
    assert kinds == {("bel", "bce", "u"), ("direct", "mse", None), ("classification", "ce", None)}
    assert {t.data.tags["selection"] for t in trials} == {"test"}
    assert {t.data.params["selection_split"] for t in trials} == {"test"}
    out = capsys.readouterr().out
    assert "TEST images of" in out and "SELECTED ON TEST, as published, not comparable with clean numbers" in out
    assert "TEST MAE" in out and not re.search("val MAE|validation", out), (
        "no word of these errors calls them otherwise"
    )
    for name in ("leaderboard", "best", "compare", "report"):
        ids = [t.info.run_id for t in trials[:2]] if name == "compare" else [parent.info.run_id]
        assert command.main([name, *ids, *(["-o", "report.html"] if name == "report" else [])]) == 0
        said = capsys.readouterr().out if name != "report" else (store / "report.html").read_text()
        assert "TEST MAE" in said and not re.search(r"val MAE|[Vv]alidation (MAE|error)|[^T] MAE \(", said), name
    assert evaluate.main(["--run-id", parent.info.run_id]) == 0
    out = capsys.readouterr().out
    assert (
        "SELECTED ON TEST" in out and re.search(r"^TEST MAE \S+ on", out, re.M) and "its error is no clean one" in out
    )


@pytest.mark.slow
def test_clean_and_published_trials_of_one_sweep_share_no_table(ray_here, rendered, cache, store, capsys):
    spec = yaml.safe_load((PROJECT / "sweeps" / "published_biwi.yaml").read_text())
    spec["base"] |= {"head": "direct", "recipe": "published"}
    del spec["base"]["code"], spec["space"]["head"]
    spec["space"] |= {"selection": {"grid": ["val", "test"]}}
    (store / "mixed.yaml").write_text(yaml.safe_dump(spec | {"name": "mixed"}))
    settings = [*SMALL, f"data_root={rendered}", f"cache_dir={cache}"]
    assert sweep.main([str(store / "mixed.yaml"), *(p for setting in settings for p in ("--set", setting))]) == 0
    out = capsys.readouterr().out
    assert out.count("TEST MAE     yaw") == out.count("val MAE     yaw") == 1
    tables = re.split("(?:val|TEST) MAE     yaw", out)[1:]
    assert len(tables) == 2 and all(len(re.findall(r"^ +\d+ ", table, re.M)) == 1 for table in tables)
    assert out.count("SELECTED ON TEST") == 1 and out.count("selected on validation groups") == 1
