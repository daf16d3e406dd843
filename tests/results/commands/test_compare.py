"""`bel-results compare`: known answers of hand-made runs, refusals in one line, and a real sweep."""

import json
import subprocess
import sys

import numpy as np
import pytest

from bel.run_layout import OUTCOME, PREDICTIONS
from results.commands import compare as comparison
from results.commands import main as command
from tests.conftest import children
from tests.results.made import GROUPS, coded, evaluation_of, flat, made_run, run_with


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Adds a run to a dict, which stands for the store."""
    known = {}

    def add(name, evaluation, split="val", folder="", **fields):
        (tmp_path / folder).mkdir(exist_ok=True)
        run = run_with(tmp_path / folder, name, evaluation, split, **fields)
        known[run.info.run_id] = run
        return run.info.run_id

    monkeypatch.setattr("results.analysis.contenders.find_run", known.__getitem__)
    monkeypatch.setattr(comparison, "find_sweeps", list)
    monkeypatch.setattr(comparison, "trials", lambda sweeps: list(known.values()))
    add.known = known
    return add


def said(capsys, *arguments, code=0):
    """What the command prints, as it is, or with `--format json` read."""
    assert command.main(["compare", *arguments]) == code
    out, err = capsys.readouterr()
    if code:
        assert err.count("\n") == 1, "one line"
        return err
    return json.loads(out) if "json" in arguments else out


def line(text, start):
    (found,) = [line for line in text.splitlines() if line.startswith(start)]
    return found.split()


TARGETS = np.stack([np.linspace(-40, 39.9, 60), np.linspace(0, 20, 60), np.full(60, 7.0)], 1)


def wrong(yaw, pitch=1.0, roll=1.0, **more):
    """An evaluation with these signed errors."""
    errors = np.stack([np.broadcast_to(value, 60) for value in (yaw, pitch, roll)], 1).astype(float)
    return evaluation_of({"expected": errors, "argmax": 2 * errors}, GROUPS, targets=TARGETS, **more)


def test_known_errors_differences_bins_groups_and_agreement(runs, capsys):
    a = runs("j s0", wrong(np.where(TARGETS[:, 0] < 0, 2.0, 6.0)))
    b = runs("u s0", wrong(np.where(TARGETS[:, 0] < 0, 2.0, 6.0) + np.where(GROUPS == 4, 4.0, 1.0), -2.0))
    found = said(capsys, a, b, "--format", "json")
    assert [one["letter"] for one in found["contenders"]] == ["A", "B"] and found["contenders"][0]["run_ids"] == [a]
    (difference,) = found["differences"]
    assert difference["by_axis"]["yaw"]["mean"] == pytest.approx((7 * 1 + 4) / 8)
    assert difference["by_axis"]["pitch"]["mean"] == pytest.approx(1) and difference["verdict"] == "worse"
    assert difference["mean"] == pytest.approx((11 / 8 + 1) / 3)
    assert difference["by_axis"]["roll"] == {"mean": 0, "interval": [0, 0], "verdict": "no difference shown"}
    yaw = found["by_angle"]["yaw"]
    assert [(one["from"], one["to"]) for one in yaw] == [(low, low + 10) for low in range(-40, 40, 10)]
    assert [yaw[0]["images"], sum(one["images"] for one in yaw)] == [8, 60] and [
        one["mae"][0] for one in yaw
    ] == pytest.approx([2] * 4 + [6] * 4)
    assert [one["images"] for one in found["by_angle"]["roll"]] == [60]
    groups = found["by_group"]
    assert groups[0]["group"] == "4" and groups[0]["images"] == 20 and len(groups) == 8
    assert groups[0]["mae"][1] - groups[0]["mae"][0] == pytest.approx((4 + 1) / 3)
    (pair,) = found["agreement"]
    assert pair["letters"] == ["A", "B"] and pair["apart"]["pitch"] == pytest.approx(3)
    assert pair["correlation"]["pitch"] is None and 0.5 < pair["correlation"]["yaw"] < 1
    assert pair["apart"]["yaw"] == pytest.approx((20 * 4 + 40) / 60)
    near_a, near_b = TARGETS[:, 0] < 0, (TARGETS[:, 0] < 0) & (GROUPS != 4)
    shares = {"both": near_b.mean(), "only A": (near_a & ~near_b).mean(), "only B": 0, "neither": (~near_a).mean()}
    assert pair["within_5_deg"] == pytest.approx(shares)


def test_the_same_as_text(runs, capsys):
    a, b = runs("j s0", wrong(2.0)), runs("u s0", wrong(5.0))
    text = said(capsys, a, b)
    assert text.startswith("biwi, crop frame: val, 60 images of 8 groups, split 0123456789ab; code c0de\n")
    assert (
        line(text, "A  j s0") == ["A", "j", "s0:", "run", a]
        and "decoder expected; selected on validation groups" in text
    )
    assert line(text, "B  5.000")[:5] == ["B", "5.000", "1.000", "1.000", "2.333"]
    assert line(text, "B  mean")[:4] == ["B", "mean", "worse", "+1.000"]
    assert line(text, "-40 to -30") == ["-40", "to", "-30", "8", "2.000", "5.000"]
    assert line(text, "A B  both") == [
        "A",
        "B",
        "both",
        "100.0,",
        "only",
        "A",
        "0.0,",
        "only",
        "B",
        "0.0,",
        "neither",
        "0.0",
    ]
    assert max(map(len, text.splitlines())) <= 100


def test_a_decoder_is_of_all(runs, capsys):
    a, b = runs("j s0", wrong(2.0)), runs("u s0", wrong(5.0))
    found = said(capsys, a, b, "--format", "json", "--decoder", "argmax")
    assert [one["by_axis"]["yaw"] for one in found["contenders"]] == [4, 10]
    other = runs("direct s0", evaluation_of({"direct": np.ones((60, 3))}, GROUPS, targets=TARGETS))
    assert [one["decoder"] for one in said(capsys, a, other, "--format", "json")["contenders"]] == [
        "expected",
        "direct",
    ]
    text = said(capsys, a, other, "--decoder", "argmax", code=2)
    assert "decoder must be one of ['direct'], those of 'direct s0', got 'argmax'" in text


def test_wrong_bits_by_bit_level_and_range(runs, capsys):
    flags = np.zeros((60, 4), dtype=bool)
    flags[:, 2] = True
    flags[TARGETS[:, 0] > 30, 0] = True
    bits = {"yaw": flags, "pitch": flags[:, :3], "roll": flags[:, :2]}
    a, b = runs("j s0", wrong(2.0, bits=bits)), runs("direct s0", wrong(5.0))
    found = said(capsys, a, b, "--format", "json")
    (yaw,) = found["bits"]["yaw"]
    high = float((TARGETS[:, 0] > 30).mean())
    assert yaw["letter"] == "A" and yaw["by_bit"] == pytest.approx([high, 0, 1, 0])
    assert yaw["mean"] == pytest.approx((1 + high) / 4)
    assert [one["mean"] for one in yaw["by_angle"]] == pytest.approx([0.25] * 7 + [0.5])
    level = {int(name): rate for name, rate in yaw["by_level"].items()}
    assert level[35] == pytest.approx(0.25) and level[115] == pytest.approx(0.5) and min(level) == 35
    text = said(capsys, a, b)
    assert "2: 100, 0: 13, 1: 0, 3: 0  30 to 40 (105-115): 50\n" in text
    assert "wrong bits" not in said(capsys, b, runs("direct s1", wrong(4.0)))


def test_seeds_and_folds_of_a_sweep_are_one(runs, capsys):
    for code, errors in (("j", (2.0, 8.0)), ("u", (5.0, 3.0))):
        for seed, error in enumerate(errors):
            for fold in range(2):
                rows = np.flatnonzero(fold == GROUPS % 2)
                part = evaluation_of(
                    {"expected": np.full((len(rows), 3), error)}, GROUPS[rows], [f"{i:03d}" for i in rows]
                )
                params = coded(code, seed=str(seed), folds="2", fold=str(fold), split_hash=f"fold{fold}")
                runs(f"{code}-150 ce lr=1e-4 s{seed} fold={fold}", part, params=params)
    pair = ["j-150 ce lr=1e-4", "u-150 ce lr=1e-4"]
    found = said(capsys, "--sweep", "made", *pair, "--format", "json")
    assert [one["mae"] for one in found["contenders"]] == pytest.approx([5, 4])
    assert found["facts"]["images"] == 60 and found["facts"]["out_of_fold"]
    assert found["agreement"][0]["apart"]["yaw"] == pytest.approx((3 + 1 + 3 + 5) / 4), "all pairs"
    text = said(capsys, "--sweep", "made", *pair)
    assert "out of fold, 60 images of 8 groups, split 2 folds, split seed 0" in text and "4 runs, 2 seeds" in text
    text = said(capsys, "--sweep", "made", "j", pair[1], code=2)
    assert "the sweep has no configuration 'j'" in text and str(pair) in text


def test_on_test_every_fold_is_a_run_of_the_same_images(runs, capsys):
    for fold, error in enumerate((2.0, 4.0)):
        params = coded("j", folds="2", fold=str(fold))
        place = {"params": params, "folder": f"fold{fold}"}
        rows = slice(0, 30) if fold == 0 else slice(30, 60)
        name = f"j-150 ce lr=1e-4 s0 fold={fold}"
        part = evaluation_of({"expected": np.ones((30, 3))}, GROUPS[rows], [f"{i:03d}" for i in range(60)][rows])
        runs(name, part, **place)
        runs(name, flat(error), split="test", **place)
    other = runs("u-150 ce lr=1e-4 s0", flat(5.0), split="test", params=coded("u"))
    found = said(capsys, "--sweep", "made", "--split", "test", "j-150 ce lr=1e-4", other, "--format", "json")
    assert found["differences"][0]["mean"] == pytest.approx(2) and not found["facts"]["out_of_fold"]
    assert found["contenders"][1]["selection"] == "selected on validation groups"


def test_twenty_of_many_groups(runs, capsys):
    groups = np.arange(60) % 30
    a = runs("j s0", evaluation_of({"expected": np.ones((60, 3))}, groups))
    b = runs("u s0", evaluation_of({"expected": np.repeat((1 + groups[:, None]) / 10 + 1, 3, 1)}, groups))
    text = said(capsys, a, b)
    assert "MAE by group, the largest difference from A first; the 20 of 30 with the largest" in text
    part = text.split("MAE by group")[1].split("\n\n")[0].splitlines()
    assert len(part) == 22 and part[2].split() == ["29", "2", "1.000", "4.000", "+3.000"]


def test_an_error_without_a_number_is_null(runs, capsys):
    a, b = runs("j s0", wrong(2.0)), runs("u s0", wrong(np.nan), error=1.0)
    found = said(capsys, a, b, "--format", "json")
    assert found["contenders"][1]["mae"] is None and found["differences"][0]["verdict"] == "cannot tell"
    assert ["B", "-", "1.000", "1.000", "-", "-", "-"] in [row.split() for row in said(capsys, a, b).splitlines()]


def test_other_selections_are_said(runs, capsys):
    a = runs("j s0", wrong(2.0))
    b = runs("u s0", wrong(3.0), params={"selection_split": "test"}, tags={OUTCOME: "stopped"})
    text = said(capsys, a, b)
    assert "SELECTED ON TEST, as published, not comparable with clean numbers, early stopping ended it" in text
    assert "note: their epochs were selected differently" in text
    assert "not comparable" in text and "worse" not in text, "no verdict between a clean run and one selected on test"


def test_refusals(runs, capsys):
    a = runs("j s0", wrong(2.0))
    assert "two runs or more, got 1" in said(capsys, a, code=2)
    assert f"has a run of '{a}'" in said(capsys, a, a, code=2)
    assert "32 hex digits, got 'j'" in said(capsys, a, "j", code=2)
    shifted = evaluation_of({"expected": np.ones((60, 3))}, GROUPS, [f"{i + 20:05d}.png" for i in range(60)], TARGETS)
    text = said(capsys, a, runs("shifted s0", shifted), code=2)
    assert "'j s0' and 'shifted s0' were measured on different val images: 60 and 60, 40 of them in common" in text
    moved = wrong(1.0)
    moved.targets[:3, 1] += 0.5
    text = said(capsys, a, runs("moved s0", moved), code=2)
    assert "different labels, targets of 3 of the 60 images" in text
    regrouped = evaluation_of({"expected": np.ones((60, 3))}, np.arange(60), targets=TARGETS)
    assert "different labels, groups of the images" in said(capsys, a, runs("regrouped s0", regrouped), code=2)
    yaw = evaluation_of({"expected": np.ones((60, 1))}, GROUPS)
    assert "different axes, ['yaw', 'pitch', 'roll'] and ['yaw']" in said(capsys, a, runs("yaw s0", yaw), code=2)
    bare = made_run("old s0")
    runs.known[bare.info.run_id] = bare
    text = said(capsys, a, bare.info.run_id, code=2)
    assert f"has no {PREDICTIONS['val']}: it came to no epoch, or is older" in text
    text = said(capsys, a, bare.info.run_id, "--split", "test", code=2)
    assert f"has no {PREDICTIONS['test']}: run `bel-eval --run-id {a}` first" in text
    parent = made_run("small (grid)", params=dict.fromkeys(bare.data.params))
    runs.known[parent.info.run_id] = parent
    assert "(small (grid)) is no trial but a sweep" in said(capsys, a, parent.info.run_id, code=2)


def test_a_real_sweep(swept_store, capsys):
    found = {run.info.run_name: run for run in children("fixture")[1]}
    picked = [next(run for name, run in found.items() if start in name) for start in ("hex16-76", "u-38", "direct-150")]
    ids = [run.info.run_id for run in picked]
    result = said(capsys, *ids, "--format", "json")
    for one, run in zip(result["contenders"], picked, strict=True):
        assert one["mae_by_image"] == pytest.approx(run.data.metrics["val/best_mae"], abs=1e-9)
        assert one["by_axis"]["yaw"] == pytest.approx(run.data.metrics["val/best_mae_yaw"], abs=1e-9)
    widths = [int(run.data.params["bits_yaw"]) for run in picked[:2]]
    assert [len(part["by_bit"]) for part in result["bits"]["yaw"]] == widths
    text = said(capsys, *ids)
    assert "fewer than 6 groups cannot tell" in text and "A C" in text and max(map(len, text.splitlines())) <= 128
    labels = [run.info.run_name.removesuffix(" s0") for run in picked]
    assert said(capsys, "--sweep", "fixture", *labels, "--format", "json")["differences"] == result["differences"]


def test_it_needs_no_torch_nor_ray():
    script = "import sys, results.commands.compare; assert not {'torch', 'ray', 'launch'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
