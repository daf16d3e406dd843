"""One best: on uneven groups, where the mean over images calls another run and another epoch the best, all say the same."""

import json
import re

import mlflow
import numpy as np
import pytest
import yaml
from PIL import Image

from bel.data.groups import holdout
from bel.run_layout import BY_IMAGE, OBJECTIVE
from launch import sweep
from results.analysis.ranking import pooled_mean, rank_key, table_key
from results.commands import main as command
from results.retest import evaluate
from results.store.ui_links import VIEW
from tests.conftest import children, working_in

LARGE, SMALL = 200, 8  # images of the one group that is in the middle of the range, and of each of nine near its end
GROUPS = ["large"] * LARGE + [f"small{i}" for i in range(9) for _ in range(SMALL)]
SEED = next(seed for seed in range(99) if "large" in np.asarray(GROUPS)[holdout(GROUPS, 0.5, seed)])
SEARCHES = {"grid": {}, "tuned": {"tune": "lr", "folds": 2}, "images": {"objective": "val/mae"}}


@pytest.fixture(scope="module")
def uneven(ray_here, tmp_path_factory):
    """The folder of sweeps over two rates, one of which hardly moves a network from the middle of the range."""
    folder = tmp_path_factory.mktemp("uneven")
    noise = np.random.default_rng(0).integers(256, size=(len(GROUPS) + 8, 36, 36, 3), dtype=np.uint8)
    lines = []
    for i, (group, pixels) in enumerate(zip([*GROUPS, *["other"] * 6, *["another"] * 2], noise, strict=True)):
        Image.fromarray(pixels).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{group},{45 if group in ('large', 'other') else 95}\n")
    for name, part in (("train", lines[: len(GROUPS)]), ("test", lines[len(GROUPS) :])):
        (folder / f"{name}.csv").write_text("image,who,age\n" + "".join(part))
    return folder


@pytest.fixture(scope="module")
def made(uneven):
    """Runs a sweep of a kind once; what it printed, its parent and trials, and what its end was told."""
    known = {}

    def make(kind, capsys):
        if kind not in known:
            protocol = {"name": "csv", "train": "train.csv", "test": "test.csv", "group": "who", "image": "image"}
            protocol["targets"] = {"age": {"low": 0, "high": 100}}
            base = {
                "protocol": protocol, "data_root": str(uneven), "crop": "frame", "image_size": 32, "device": "cpu",
                "backbone": "resnet10", "weights": "none", "batch_size": 8, "epochs": 3, "head": "direct",
                "schedule": "constant", "split_seed": SEED, "val_fraction": 0.5, "precision": "fp32",
            }  # fmt: skip
            content = {
                "name": kind, "base": base, "space": {"lr": {"grid": [1e-7, 1e-3]}}, "resources": {"cpu": 1},
                "search": SEARCHES[kind], "on_end": f"echo $BEL_BEST_RUN $BEL_BEST > {uneven}/{kind}.end",
            }  # fmt: skip
            (uneven / f"{kind}.yaml").write_text(yaml.safe_dump(content))
            with working_in(uneven):
                assert sweep.main([str(uneven / f"{kind}.yaml")]) == 0
                known[kind] = capsys.readouterr().out, *children(kind), (uneven / f"{kind}.end").read_text().split()
        return known[kind]

    return make


def histories(run):
    """Epochs of the errors over images and over groups."""
    client = mlflow.MlflowClient()
    found = [client.get_metric_history(run.info.run_id, name) for name in ("val/mae", "val/mae_groups")]
    return [[point.value for point in sorted(history, key=lambda point: point.step)] for history in found]


def lasting(capsys, *arguments):
    """What `bel-results` prints, and the run ids in it in their order."""
    assert command.main(list(arguments)) == 0
    out = capsys.readouterr().out
    return out, re.findall(r"\b[0-9a-f]{32}\b", out)


def test_the_data_tells_the_two_means_apart(made, capsys, uneven):
    _, _, trials, _ = made("grid", capsys)
    with working_in(uneven):
        slow, fast = sorted(trials, key=lambda run: float(run.data.params["lr"]))
        (slow_images, slow_groups), (fast_images, fast_groups) = histories(slow), histories(fast)
    assert min(slow_images) < min(fast_images) and min(fast_groups) < min(slow_groups), "another run"
    assert np.argmin(fast_images) != np.argmin(fast_groups), "another epoch"
    assert fast.data.metrics["val/best_epoch"] == np.argmin(fast_groups) + 1
    assert fast.data.metrics[OBJECTIVE] == min(fast_groups)
    assert fast.data.metrics[BY_IMAGE] == fast_images[np.argmin(fast_groups)]


def test_every_command_names_the_same_run(made, capsys, uneven, tmp_path):
    out, parent, trials, end = made("grid", capsys)
    best, other = sorted(trials, key=lambda run: run.data.metrics[OBJECTIVE])
    assert best.data.metrics[BY_IMAGE] > other.data.metrics[BY_IMAGE]
    name, error = best.info.run_name, f"{best.data.metrics[OBJECTIVE]:.3f}"
    rows = re.findall(r"^ +(\d+) +(\S+) .* ([0-9a-f]{32})$", out, re.M)
    assert [row[::2] for row in rows] == [("1", best.info.run_id), ("2", other.info.run_id)] and rows[0][1] == error
    assert f"bel-eval --run-id {best.info.run_id}" in out and "mean over groups" in out
    assert f"finished epoch 3  val MAE {error}" in out
    assert end == [best.info.run_id, f"{best.data.metrics[OBJECTIVE]:.6g}"]
    with working_in(uneven):
        assert lasting(capsys, "best", "grid")[0].count(best.info.run_id) > 1
        text = lasting(capsys, "leaderboard", "grid", "--publish")[0]
        assert re.search(r"^ *1 +(\S+ \S+ \S+) .*", text, re.M)[1] == name.removesuffix(" s0") and error in text
        rows = json.loads(lasting(capsys, "leaderboard", "grid", "--format", "json")[0])[0]["rows"]
        assert rows[0]["run_ids"] == [best.info.run_id]
        assert rows[0]["mae"] == pytest.approx(best.data.metrics[OBJECTIVE], abs=1e-9)
        assert rows[0]["mae_by_image"] == pytest.approx(best.data.metrics[BY_IMAGE], abs=1e-9)
        assert command.main(["report", "grid", "-o", str(tmp_path / "report.html")]) == 0
        html = (tmp_path / "report.html").read_text()
        assert html.index(name.removesuffix(" s0")) < html.index(other.info.run_name.removesuffix(" s0"))
        assert "after each epoch, mean over groups" in html
        assert evaluate.main(["--run-id", parent.info.run_id]) == 0
        out = capsys.readouterr().out
        assert out.count("\nrun ") + out.startswith("run ") == 1 and f"run {best.info.run_id}" in out
        assert (
            f"repeats the logged {best.data.metrics[BY_IMAGE]:.6f}" in out
            and f"{best.data.metrics[OBJECTIVE]:.6f}" in out
        )
        tested = mlflow.get_run(best.info.run_id).data.metrics
        assert tested["test/mae"] != pytest.approx(tested["test/mae_groups"]), "two groups, of six images and of two"
        client = mlflow.MlflowClient()
        note = client.get_run(parent.info.run_id).data.tags["mlflow.note.content"]
        view = json.loads(client.get_experiment(parent.info.experiment_id).tags[VIEW + parent.info.run_id])
        assert note.index(best.info.run_id) < note.index(other.info.run_id) and OBJECTIVE in view["orderByKey"]
        assert lasting(capsys, "best", "grid", "--register", "ages")
        assert client.get_model_version_by_alias("ages", "champion").run_id == best.info.run_id


@pytest.mark.slow
def test_a_fight_tunes_by_groups_and_its_folds_are_pooled_over_groups(made, capsys, uneven):
    out, parent, trials, end = made("tuned", capsys)
    folds = [run for run in trials if "fold" in run.data.params]
    assert len(trials) == 4 and {run.data.params["lr"] for run in folds} == {"0.001"}, (
        "the rate of the least mean over groups"
    )
    values, counts = zip(*((r.data.metrics[OBJECTIVE], int(r.data.params["val_groups"])) for r in folds), strict=True)
    mean = np.average(values, weights=counts)
    assert len(set(counts)) > 1, "folds of different numbers of groups"
    assert f"{mean:.3f}" in out.split("means over 1 seeds and 2 folds")[1]
    with working_in(uneven):
        said, ids = lasting(capsys, "best", "tuned")
        assert f"MAE {mean:.3f}" in said and end[0] in ids[1:]
        assert evaluate.main(["--run-id", parent.info.run_id]) == 0
        tested = re.findall(r"^run ([0-9a-f]{32})", capsys.readouterr().out, re.M)
        hold_out = min((run for run in trials if run not in folds), key=lambda run: run.data.metrics[OBJECTIVE])
        assert tested == [end[0], hold_out.info.run_id], "of each table the best, the first one first"
        table = lasting(capsys, "folds", "--run-id", parent.info.run_id)[0]
        assert f"{mean:.3f}" in table and "MAE (own unit) out of fold" in table


def test_a_file_that_asks_for_images_is_searched_by_them_and_ranked_as_all_others(made, capsys, uneven):
    out, _, trials, end = made("images", capsys)
    best = min(trials, key=lambda run: run.data.metrics[OBJECTIVE])
    assert end[0] == best.info.run_id and f"bel-eval --run-id {best.info.run_id}" in out
    with working_in(uneven):
        assert best.info.run_id in lasting(capsys, "best", "images")[1]


def test_places():
    runs = [(2.0, "a s1"), (float("nan"), "b s0"), (1.0 + 1e-12, "c s0"), (1.0, "d s0")]
    assert sorted(runs, key=lambda run: rank_key(*run)) == [runs[2], runs[3], runs[0], runs[1]], (
        "rounding decides nothing"
    )
    assert rank_key(9.0, "whole") < rank_key(8.0, "stopped", stopped=True) < rank_key(1.0, "lacks", lacks=True)
    assert pooled_mean([1.0, 4.0], [1, 2]) == 3.0
    kinds = [("val", "", "groups", 9), ("val", "3", "groups", 1), ("test", "", "groups", 9), ("val", "3", "images", 9)]
    assert sorted(kinds, key=lambda kind: table_key(*kind)) == [kinds[1], kinds[0], kinds[3], kinds[2]]
