"""A calibration is stored with its run, replaced, and given by exports, predictions, registered models and reports alike."""

import json
import math
import re

import mlflow
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from bel.data.loading import load, split
from bel.deploy.crop import network_input
from bel.run_layout import CALIBRATED, CALIBRATION
from bel.training import checkpoint
from results.analysis.leaderboard import boards
from results.commands.main import main
from results.predict import command as predict
from results.report import best_configurations, report_data
from results.retest import export
from results.retest.loaded_checkpoint import fetch_state
from results.store import registry
from results.store.calibration import fetch_calibration
from tests.conftest import SWEEP, children
from tests.results.conftest import table

HALF = ("--level", "0.5")  # for which one group is enough, and the fixture's runs have no more


def trial(head):
    """The first trial of a head."""
    return next(run for run in children("fixture")[1] if run.data.params["head"] == head)


def again(run):
    """A run as it is in the store now."""
    return mlflow.get_run(run.info.run_id)


def test_a_run_of_few_groups_is_refused_in_a_line(swept_store, capsys):
    run = trial("bel")
    assert main(["calibrate", run.info.run_id]) == 2
    said = capsys.readouterr().err.strip()
    assert "intervals of 0.9 need at least 9 calibration groups, there are 1: take" in said and "\n" not in said
    assert main(["calibrate", run.info.run_id, "--level", "1.5"]) == 2
    mlflow.MlflowClient().log_param(run.info.run_id, "odd", "1")
    assert fetch_calibration(again(run)) is None


def test_a_calibration_is_stored_and_replaced(swept_store, capsys):
    run = trial("bel")
    assert main(["calibrate", run.info.run_id, *HALF]) == 0
    out = capsys.readouterr().out
    assert "repeats the logged" in out and "logged test metrics" in out and "none is left out" in out
    facts, metrics = fetch_calibration(again(run)), again(run).data.metrics
    assert facts["groups"] == 1 and facts["level"] == 0.5 and facts["split_hash"] == [run.data.params["split_hash"]]
    assert facts["images"] == int(run.data.params["val_images"]) and len(facts["temperatures"]) == 3
    coverage = facts["measured"]["test"]["coverage"]["conformal"]
    name = CALIBRATED.format("coverage", "conformal", "test")
    assert metrics[f"{name}_yaw"] == coverage["yaw"] and metrics[name] == pytest.approx(np.mean([*coverage.values()]))
    assert re.search(rf"test, \d+ groups +yaw .* {coverage['yaw']:.1%} ", out)
    assert main(["calibrate", run.info.run_id, "--level", "0.51", "--measure", "left_out"]) == 2, "one group is too few"
    assert fetch_calibration(again(run)) == facts
    assert main(["calibrate", run.info.run_id, *HALF, "--measure", "left_out"]) == 0
    assert fetch_calibration(again(run)) == facts | {"measured": {}}
    assert math.isnan(again(run).data.metrics[name]), "what was not measured again is no number of this calibration"


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("head", ["bel", "direct"])
def test_exports_predictions_and_registered_models_give_the_same_intervals(swept_store, pictures, tmp_path, head):
    run = trial(head)
    source = ["--run-id", run.info.run_id]
    before, after = tmp_path / "before", tmp_path / "after"
    assert predict.main([str(pictures), *source, "--out", str(before)]) == 0
    assert main(["calibrate", run.info.run_id, *HALF]) == 0
    assert predict.main([str(pictures), *source, "--out", str(after)]) == 0
    rows, axes = table(after), ("yaw", "pitch", "roll")
    assert [{k: v for k, v in row.items() if k[:6] not in ("lower_", "upper_")} for row in rows] == table(before)
    kinds = ("{}", "lower_{}", "upper_{}")
    wanted = [np.array([[float(row[kind.format(axis)]) for axis in axes] for row in rows]) for kind in kinds]
    assert np.allclose(wanted[0], (wanted[1] + wanted[2]) / 2, atol=1e-5) and (wanted[1] < wanted[2]).all()
    half = (wanted[2] - wanted[1]) / 2
    assert (np.ptp(half, axis=0) < 1e-5).all() == (head == "direct")

    config = checkpoint.config_of(fetch_state(run))
    pixels = [network_input(Image.open(pictures / row["file"]).convert("RGB"), None, config, 32) for row in rows]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    for to in ("onnx", "torchscript"):
        out = tmp_path / f"model.{to}"
        assert export.main([*source, "--to", to, "--out", str(out)]) == 0
        with torch.inference_mode():
            found = export.FORMATS[to].read(out)(images)
        assert [np.abs(x.numpy() - y).max() < 1e-3 for x, y in zip(found, wanted, strict=True)] == [True] * 3
    registry.register(again(run), "fixture", "heads")
    with torch.inference_mode():
        model = registry.load_model("heads@champion")
        assert all(np.allclose(x, y, atol=1e-3) for x, y in zip(model.intervals(images), wanted, strict=True))
        assert torch.equal(model(images), model.intervals(images)[0])


def test_the_printed_lines_of_an_export_name_the_ends(swept_store, capsys):
    run = trial("bel").info.run_id
    assert main(["calibrate", run, *HALF, "--measure", "left_out"]) == 0
    assert export.main(["--run-id", run, "--to", "pt2"]) == 0
    out = capsys.readouterr().out
    assert "out: predictions, lower, upper, float64 (batch, 3) each, lower and upper the ends" in out
    names = {"images": torch.zeros(2, 3, 32, 32, dtype=torch.uint8)}
    exec(out.split("\n\n")[-1], names)
    assert all(tuple(names[name].shape) == (2, 3) for name in ("predictions", "lower", "upper"))


def test_a_calibration_of_something_else_is_refused(swept_store, pictures, tmp_path, capsys):
    run = trial("bel")
    assert main(["calibrate", run.info.run_id, *HALF, "--measure", "left_out"]) == 0
    facts, path = fetch_calibration(again(run)), tmp_path / CALIBRATION
    cases = [
        (json.dumps(facts | {"epoch": 99}), "the calibration is of epoch 99"),
        (json.dumps(facts | {"quantiles": [1.0, math.nan, 1.0]}), "holds no calibration of ours"),
        ("[]", "holds no calibration of ours"),
        ("{", "holds no calibration of ours"),
    ]
    for text, says in cases:
        path.write_text(text)
        mlflow.MlflowClient().log_artifact(run.info.run_id, str(path))
        capsys.readouterr()
        assert predict.main([str(pictures), "--run-id", run.info.run_id, "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err.strip()
        assert says in said and "run `bel-results calibrate` on its run again" in said and "\n" not in said
    with pytest.raises(Exception, match="has no calibration"):
        registry.register(trial("direct"), "fixture", "plain")
        registry.load_model("plain@champion").intervals(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))


def test_the_report_shows_calibrated_coverage_beside_the_raw_one(swept_store):
    _, runs = children("fixture")
    data = report_data.ReportData(boards(runs), {})
    assert best_configurations.intervals(data.with_predictions) == []
    best = data.board.leader.runs[0]
    assert main(["calibrate", best.info.run_id, *HALF]) == 0
    (shown,) = best_configurations.intervals(data.with_predictions)
    (row,) = shown.bodies[0]
    measured = fetch_calibration(best)["measured"]["test"]["coverage"]
    assert row.cells[1] == "50%" and row.cells[2].startswith("test, ")
    assert row.cells[5] == f"{np.mean([*measured['conformal'].values()]):.1%}"


@pytest.mark.slow
def test_the_folds_of_a_contender_calibrate_together(ray_here, rendered, cache, store, capsys):
    from launch import sweep

    base = SWEEP["base"] | {"data_root": str(rendered), "cache_dir": str(cache), "head": "bel", "code": "u"}
    del base["lr"]
    search = {"method": "grid", "tune": "lr", "folds": 2}
    content = {"name": "folded", "base": base, "space": {"lr": {"grid": [1e-3, 2e-3]}}, "search": search}
    (store / "folded.yaml").write_text(yaml.safe_dump(content))
    assert sweep.main([str(store / "folded.yaml")]) == 0
    folds = [run for run in children("folded")[1] if "fold" in run.data.params]
    assert main(["calibrate", "folded", *HALF]) == 0
    out = capsys.readouterr().out
    config = checkpoint.config_of(fetch_state(folds[0]), {"cache_dir": str(cache)})
    train = load(config, "train")
    groups = len(set(train.groups))
    assert f"calibrated on {len(train)} out-of-fold (of 2 folds) images of {groups} groups" in out
    facts = [fetch_calibration(again(run)) for run in folds]
    assert [one["groups"] for one in facts] == [groups] * 2 and facts[0]["quantiles"] == facts[1]["quantiles"]
    assert set(facts[0]["measured"]) == {"left_out", "test"} and len(split(config, train).val) < len(train)
    mlflow.MlflowClient().delete_run(folds[0].info.run_id)
    assert main(["calibrate", folds[1].info.run_id, *HALF]) == 2
    assert "has finished" in capsys.readouterr().err
