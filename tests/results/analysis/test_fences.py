"""What a leaderboard fences off with a reason, and how folds are put together so that each image is counted once."""

from functools import partial

import numpy as np
import pytest

from bel.errors import UserError
from results.analysis.leaderboard import boards
from results.tables.leaderboard import caption, table_lines
from tests.results.made import EFFECTS, GROUPS, entry_of, evaluation_of, made_run, mean_of, names


@pytest.fixture
def entry(tmp_path):
    """A run of a code and seed with predictions."""
    return partial(entry_of, tmp_path)


FENCED = {
    "test": ({"selection_split": "test", "selection": "test"}, "selected on the test split"),
    "protocol": ({"protocol": "300w_lp"}, "another protocol (300w_lp, not biwi)"),
    "unit": ({"unit": "% of range"}, "another unit (% of range, not deg)"),
    "last": ({"selection_split": "last", "selection": "last"}, "another selection (last, not val)"),
}


@pytest.mark.parametrize(("params", "reason"), FENCED.values(), ids=FENCED)
def test_what_is_not_comparable_is_fenced_with_a_reason(entry, params, reason):
    runs = [entry("hex16", 0.1, params=params), entry("u", 5.0), entry("j", 4.0)]
    clean, fenced = boards(runs)
    assert names(clean) == ["j-150 ce lr=1e-4", "u-150 ce lr=1e-4"] and not clean.reason
    assert names(fenced) == ["hex16-150 ce lr=1e-4"] and fenced.reason == reason


def test_other_images_targets_or_groups_are_fenced(entry):
    fewer = evaluation_of({"expected": np.full((52, 3), 1.0)}, GROUPS[:52])
    moved = evaluation_of({"expected": np.full((60, 3), 1.0)}, GROUPS, targets=np.ones((60, 3)))
    regrouped = evaluation_of({"expected": np.full((60, 3), 1.0)}, np.arange(60))
    runs = [entry("u", 5.0), entry("j", 4.0)]
    for code, other in (("had", fewer), ("b1jdj", moved), ("b2jdj", regrouped)):
        clean, fenced = boards([*runs, entry(code, 0, evaluation=other)])
        assert len(clean.standings) == 2 and names(fenced) == [f"{code}-150 ce lr=1e-4"]
        assert fenced.reason.startswith("another images (") and "protocol" not in fenced.reason


def test_runs_of_an_earlier_version_are_ranked_by_their_predictions_or_apart(entry):
    logged = {"val/best_mae_groups": 4.5, "val/best_mae_groups_yaw": 4.5}
    bare = [made_run("had-150 ce lr=1e-4 s0", params={"code": "had"}, error=1.0)]  # older, without predictions
    bare += [made_run("gray-150 ce lr=1e-4 s0", params={"code": "gray"}, error=2.0, metrics=logged)]
    first, *others = boards([entry("u", 5.0), entry("j", 4.0, metrics={"val/best_mae_groups": mean_of(4.0)}), *bare])
    assert names(first) == ["j-150 ce lr=1e-4", "u-150 ce lr=1e-4"] and first.leader.mean == "groups"
    assert [(names(one)[0][:4], one.leader.mae, one.leader.mean) for one in others] == [
        ("gray", 4.5, "groups"),
        ("had-", 1.0, "images"),
    ]
    assert "mean (images, not groups)" in others[1].reason and "mean over images, as an earlier version" in caption(
        others[1]
    )
    assert others[0].leader.by_axis == {"yaw": 4.5}


def test_test_selected_numbers_are_never_first_however_many(entry):
    accident = {"selection_split": "test", "selection": "test"}
    runs = [entry(code, 1.0, params=accident) for code in ("j", "u", "hex16")] + [entry("had", 9.0)]
    clean, fenced = boards(runs)
    assert names(clean) == ["had-150 ce lr=1e-4"] and fenced.reason == "selected on the test split"
    assert fenced.facts["selection"].startswith("SELECTED ON TEST")
    assert table_lines(fenced)[0].count("TEST MAE") == 1 and "TEST MAE (deg" in caption(fenced)
    assert table_lines(clean)[0].count("MAE") == 1 and "TEST" not in caption(clean)


def folded(entry, code, error, seed=0, folds=4, held=range(4), repeat=False):
    """The runs of the folds: each holds two of the eight groups."""
    for fold in held:
        rows = np.flatnonzero((0 if repeat else fold) == GROUPS // 2)
        by_image = error + EFFECTS[0][GROUPS[rows]]
        evaluation = evaluation_of(
            {"expected": np.repeat(by_image[:, None], 3, 1)}, GROUPS[rows], [f"{i:05d}.png" for i in rows]
        )
        params = {"folds": str(folds), "fold": str(fold), "split_hash": f"split{fold}", "val_images": str(len(rows))}
        yield entry(code, error, seed=seed, evaluation=evaluation, params=params)


def test_folds_are_joined_so_that_each_image_is_once(entry):
    runs = [*folded(entry, "j", 4.0), *folded(entry, "u", 5.0, seed=0)]
    (table,) = boards(runs[::-1])
    leader = table.leader
    assert names(table) == ["j-150 ce lr=1e-4", "u-150 ce lr=1e-4"] and len(leader.runs) == 4
    assert list(leader.seeds[0].names) == [f"{i:05d}.png" for i in range(60)]
    assert leader.mae == pytest.approx(mean_of(4)) and leader.image_mae == pytest.approx(4 + EFFECTS[0][GROUPS].mean())
    assert table.standings[1].difference.mean == pytest.approx(1)
    assert table.facts["images"] == "60" and table.facts["split"] == "4 folds, split seed 0"


def test_out_of_fold_comes_before_a_hold_out(entry):
    out_of_fold, hold_out = boards([entry("u", 1.0), entry("had", 2.0), *folded(entry, "j", 4.0)])
    assert names(out_of_fold) == ["j-150 ce lr=1e-4"] and "folds (none, not 4)" in hold_out.reason


def test_a_seed_that_lacks_folds_is_left_out_and_said(entry):
    runs = [*folded(entry, "j", 4.0), *folded(entry, "j", 9.0, seed=1, held=(0, 2, 3)), *folded(entry, "u", 5.0)]
    (table,) = boards(runs)
    assert names(table) == ["u-150 ce lr=1e-4", "j-150 ce lr=1e-4"], "one that lacks a fold comes after"
    lacks = table.standings[1].configuration
    assert (
        lacks.lacking == ("seed 1: 3 of 4 folds",) and lacks.mae == pytest.approx(mean_of(4)) and len(lacks.runs) == 4
    )
    whole, rest = boards([*folded(entry, "j", 4.0, held=(0, 1)), *folded(entry, "u", 5.0)])
    assert names(whole) == ["u-150 ce lr=1e-4"] and rest.leader.lacking == ("seed 0: 2 of 4 folds",)


def test_an_image_in_two_folds_is_an_error(entry):
    with pytest.raises(UserError, match="hold an image twice"):
        boards(list(folded(entry, "j", 4.0, repeat=True)))
