import os
import re
import shutil
import subprocess
import sys

import mlflow
import pytest

from bel.config import TrainConfig
from bel.data.loading import load
from bel.run_layout import CHECKPOINT
from bel.training import checkpoint
from bel.training.loop import fit
from results.retest import evaluate, export
from results.store.runs import fetch_predictions
from tests.conftest import children, working_in


def best_of(trials):
    return min(trials, key=lambda run: run.data.metrics["val/best_mae_groups"])


def test_the_best_run_repeats_its_logged_number_and_logs_the_test_split(swept_store, capsys, tmp_path):
    best = best_of(children("fixture")[1])
    assert evaluate.main(["--run-id", best.info.run_id]) == 0
    out = capsys.readouterr().out
    assert float(re.search(r"difference (\S+), allowed 1e-06", out).group(1)) <= 1e-6
    run = mlflow.get_run(best.info.run_id)
    assert {"test/mae", "test/mae_yaw", "test/mae_pitch", "test/mae_roll", "test/constant_median_mae"} <= set(
        run.data.metrics
    )
    printed = re.search(r"^\w+ +(\S+) +(\S+) +(\S+) +(\S+)$", out.split("mean\n")[1], re.M).groups()
    logged = [run.data.metrics[name] for name in ("test/mae_yaw", "test/mae_pitch", "test/mae_roll", "test/mae")]
    assert [float(p) for p in printed] == pytest.approx(logged, abs=5e-4)
    test, val = (fetch_predictions(run, split) for split in ("test", "val"))
    assert test.errors()[:, test.axes.index("yaw")].mean() == pytest.approx(run.data.metrics["test/mae_yaw"], abs=1e-9)
    assert val.mean_errors().mean() == pytest.approx(run.data.metrics["val/best_mae"], abs=1e-9)
    assert len(val.names) == int(run.data.params["val_images"]) and set(val.groups).isdisjoint(test.groups)


def test_a_second_re_test_is_identical(swept_store, capsys):
    best = best_of(children("fixture")[1])
    outputs = []
    for _ in range(2):
        assert evaluate.main(["--run-id", best.info.run_id]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0].splitlines()[:9] == outputs[1].splitlines()[:9]
    assert "an earlier re-test logged" in outputs[1] and "difference 0.0e+00" in outputs[1].splitlines()[-1]
    assert len(mlflow.MlflowClient().get_metric_history(best.info.run_id, "test/mae")) == 1


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("head", ["bel", "direct", "classification"])
def test_other_batch_sizes_stay_within_the_tolerance(swept_store, capsys, batch, head):
    run = next(run for run in children("fixture")[1] if run.data.params["head"] == head)
    assert evaluate.main(["--run-id", run.info.run_id, "--set", f"eval_batch_size={batch}"]) == 0
    assert "repeats" in capsys.readouterr().out


def test_a_re_test_in_another_process_with_all_cores_repeats(swept_store):
    best = best_of(children("fixture")[1])
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{swept_store / 'mlflow.db'}"}
    command = [sys.executable, "-c", "import sys; from results.retest.evaluate import main; sys.exit(main())"]
    done = subprocess.run([*command, "--run-id", best.info.run_id], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(re.search(r"difference (\S+), allowed 1e-06", done.stdout).group(1)) <= 1e-6


def test_a_store_that_is_not_there_is_not_made(tmp_path, capsys):
    with working_in(tmp_path):
        (tmp_path / "mlflow.db").unlink()
        assert evaluate.main(["--run-id", "0123"]) == 2
    assert "there is no such file" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_parent_stands_for_its_best_child(swept_store, capsys):
    parent, trials = children("fixture")
    assert evaluate.main(["--run-id", parent.info.run_id]) == 0
    assert best_of(trials).info.run_id in capsys.readouterr().out


def test_a_number_that_does_not_repeat_fails_loudly_and_test_is_not_measured(swept_store, capsys):
    best = best_of(children("fixture")[1])
    value = best.data.metrics["val/best_mae"] + 1e-3
    mlflow.MlflowClient().log_metric(best.info.run_id, "val/best_mae", value, step=9)
    assert evaluate.main(["--run-id", best.info.run_id]) == 1
    captured = capsys.readouterr()
    assert "DOES NOT REPEAT" in captured.out and "test is not measured" in captured.err
    assert "test/mae" not in mlflow.get_run(best.info.run_id).data.metrics


def test_other_data_is_noticed_by_its_split(swept_store, rendered, tmp_path, capsys):
    shutil.copytree(rendered / "BIWI", tmp_path / "BIWI")
    listed = tmp_path / "BIWI" / "70_train.txt"
    listed.write_text("\n".join(listed.read_text().split()[:-1]))
    best = best_of(children("fixture")[1])
    assert evaluate.main(["--run-id", best.info.run_id, "--set", f"data_root={tmp_path}"]) == 2
    assert "gives the split" in capsys.readouterr().err


OWN = {"name": "csv", "train": "train.csv", "test": "test.csv", "targets": {"yaw": {"low": -90, "high": 90}}}


def only_test_images(rendered, root, protocol):
    """A data_root without one training image of a protocol."""
    if protocol == "aflw2000":
        shutil.copytree(rendered / "AFLW2000", root / "AFLW2000")
        return
    shutil.copytree(rendered / "BIWI", root / "BIWI")
    stems = {part: (root / "BIWI" / f"{part}.txt").read_text().split() for part in ("70_train", "30_test")}
    for path in [path for stem in stems["70_train"] for path in (root / "BIWI" / "hpdb").glob(f"{stem}_*")]:
        path.unlink()
    images = [next((root / "BIWI" / "hpdb").glob(f"{stem}_rgb.*")) for stem in stems["30_test"]]
    rows = "".join(f"{path.relative_to(root)},{i}\n" for i, path in enumerate(images))
    (root / "test.csv").write_text(f"image,yaw\n{rows}")


@pytest.mark.parametrize("protocol", ["biwi", "aflw2000", OWN], ids=["biwi", "aflw2000", "csv"])
def test_without_training_images_a_checkpoint_is_measured_on_test_and_says_what_it_leaves_out(
    rendered, tmp_path, made, capsys, protocol
):
    root = tmp_path / "root"
    root.mkdir()
    only_test_images(rendered, root, protocol)
    places = {"data_root": str(root), "cache_dir": str(tmp_path / "cache")}
    path = made(protocol=protocol, **places)
    assert evaluate.main(["--checkpoint", path]) == 0
    out = capsys.readouterr().out
    name = protocol if isinstance(protocol, str) else "csv"
    note = f"note: no training image of {name} is in {root}: the validation error is not repeated, "
    assert out.count(note) == 1 and "test MAE (deg)" in out.replace("own unit", "deg") and "expected   " in out
    assert "repeats" not in out and "constant median  " not in out and "over constant median" not in out
    test = load(TrainConfig.make(checkpoint.load(tmp_path / "made.pt")["config"]), "test")
    assert f"on {len(test)} images of " in out
    shutil.rmtree(root)
    assert evaluate.main(["--checkpoint", path]) == 2
    assert export.main(["--checkpoint", path, "--to", "torchscript", "--out", str(tmp_path / "x.pt")]) == 0, (
        "of no data"
    )


def test_a_run_without_training_images_logs_no_test_error(swept_store, rendered, tmp_path, capsys):
    only_test_images(rendered, tmp_path, "biwi")
    best = best_of(children("fixture")[1])
    assert evaluate.main(["--run-id", best.info.run_id, "--set", f"data_root={tmp_path}"]) == 0
    assert "and nothing is logged" in capsys.readouterr().out
    assert "test/mae" not in mlflow.get_run(best.info.run_id).data.metrics


def test_what_a_user_gets_wrong(swept_store, tmp_path, capsys):
    best = best_of(children("fixture")[1])
    bel = next(run for run in children("fixture")[1] if run.data.params["head"] == "bel")
    mlflow.MlflowClient().download_artifacts(bel.info.run_id, CHECKPOINT, str(tmp_path))
    state = checkpoint.load(tmp_path / CHECKPOINT)
    direct = state["config"] | {"head": "direct", "code": None, "code_bits": None, "theta": None, "loss": "l1"}
    checkpoint.save(state | {"config": direct}, tmp_path / "swapped.pt")
    empty = mlflow.MlflowClient().create_run("0").info.run_id
    cases = [
        (["--run-id", "0123"], "no run '0123' in the MLflow store sqlite:"),
        (["--run-id", empty], "a sweep without a finished trial"),
        (
            ["--run-id", best.info.run_id, "--set", "head=direct"],
            "only ['data_root', 'cache_dir', 'cache', 'device', 'eval_batch_size']",
        ),
        (["--run-id", best.info.run_id, "--set", "data_root=/nowhere"], "no BIWI images in '/nowhere'"),
        (["--run-id", best.info.run_id, "--set", "device"], "--set wants KEY=VALUE"),
        (["--run-id", best.info.run_id, "--set", "data_root=/a: b #[1"], "no BIWI images in '/a: b #[1'"),
        (["--run-id", ""], "no run ''"),
        (["--checkpoint", str(tmp_path / "none.pt")], "no checkpoint at"),
        (["--checkpoint", str(tmp_path / CHECKPOINT), "--set", "code_bits=26"], "--set code_bits would change what"),
        (["--checkpoint", str(tmp_path / "swapped.pt")], "the checkpoint is of another network (head direct"),
    ]
    for arguments, says in cases:
        assert evaluate.main(arguments) == 2, arguments
        err = capsys.readouterr().err.strip()
        assert says in err and "\n" not in err, (arguments, err)
    assert "test/mae" not in mlflow.get_run(best.info.run_id).data.metrics


def test_a_setting_is_as_it_is_typed():
    assert evaluate.settings(["data_root=my data #2", "cache_dir=1e3"], ["data_root", "cache_dir"]) == {
        "data_root": "my data #2",
        "cache_dir": "1e3",
    }


def test_a_checkpoint_from_before_repeats_with_its_center_crop(make, tmp_path, capsys):
    config = make(image_size=40, center_crop="floor", exif="ignore", epochs=1)  # a margin of 3 pixels: 1, and now 2
    state = next(fit(config, load(config, "train"))).state()
    path, older = tmp_path / "older.pt", {name: value for name, value in state.items() if name != "format"}
    older["config"] = {name: value for name, value in state["config"].items() if name not in ("exif", "center_crop")}
    checkpoint.save(older, path)
    assert evaluate.main(["--checkpoint", str(path)]) == 0
    assert "difference 0.0e+00, allowed 1e-06" in capsys.readouterr().out
    checkpoint.save(older | {"format": checkpoint.FORMAT}, path)
    assert evaluate.main(["--checkpoint", str(path)]) == 1
