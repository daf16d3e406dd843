"""Leaderboards of hand-built runs: what is ranked, tied and left out."""

from functools import partial

import numpy as np
import pytest
from mlflow import MlflowClient

from bel.run_layout import OUTCOME, PREDICTIONS, TRIAL
from results.analysis.configurations import configurations
from results.analysis.leaderboard import board, boards, left_out, method
from results.store import predictions
from results.store.runs import find_sweeps, trials
from results.tables.leaderboard import caption
from tests.results.made import (
    EFFECTS,
    GROUPS,
    PARAMS,
    RANDOM,
    TAGS,
    coded,
    entry_of,
    evaluation_of,
    flat,
    made_run,
    mean_of,
    names,
    run_with,
)  # fmt: skip


@pytest.fixture
def entry(tmp_path):
    """A run of a code and seed with predictions."""
    return partial(entry_of, tmp_path)


def test_order_differences_and_ties(entry):
    runs = [entry("u", 5.0, 1), entry("j", 4.0, 2), entry("hex16", 4.01 + EFFECTS[2].mean() - EFFECTS[3].mean(), 3)]
    (table,) = boards(runs)
    assert names(table) == ["j-150 ce lr=1e-4", "hex16-150 ce lr=1e-4", "u-150 ce lr=1e-4"]
    first, second, third = table.standings
    assert [one.rank for one in table.standings] == [1, 2, 3]
    assert (first.difference, first.tied, second.tied, third.tied) == (None, False, True, False)
    assert second.difference.verdict == "no difference shown" and third.difference.verdict == "worse"
    assert second.difference.mean == pytest.approx(0.01)
    assert third.difference.mean == pytest.approx(mean_of(5, 1) - mean_of(4, 2))
    low, high = third.difference.interval
    assert low < third.difference.mean < high
    assert "Student's t" in method(table) and table.facts["groups"] == "8" and table.facts["images"] == "60"


def test_groups_count_once_and_images_besides(entry):
    (table,) = boards([entry("j", 4.0, 2)])
    leader = table.leader
    by_image = 4 + EFFECTS[2][GROUPS]
    assert leader.mae == pytest.approx(mean_of(4, 2)) and leader.image_mae == pytest.approx(by_image.mean())
    assert leader.by_axis == pytest.approx({"yaw": leader.mae, "pitch": leader.mae, "roll": leader.mae})
    assert leader.runs[0].data.metrics["val/best_mae"] == pytest.approx(by_image.mean())
    assert leader.interval[0] < leader.mae < leader.interval[1] and leader.seed_spread is None


def test_equal_errors_are_in_order_of_names_whatever_the_order_of_runs(entry):
    runs = [entry(code, 4.0, 0) for code in ("u", "j", "b1jdj", "hex16")]
    expected = sorted(names(boards(runs)[0]))
    for order in (runs, runs[::-1], [runs[2], runs[0], runs[3], runs[1]]):
        (table,) = boards(order)
        assert names(table) == expected
        assert [one.tied for one in table.standings] == [False, True, True, True]


def test_seeds_are_one_row_and_one_that_lacks_a_seed_comes_after(entry):
    runs = [entry("u", error, 0, seed) for seed, error in enumerate((5.0, 5.4))] + [entry("j", 4.0, 0)]
    (table,) = boards(runs)
    assert names(table) == ["u-150 ce lr=1e-4", "j-150 ce lr=1e-4"]
    first, second = (standing.configuration for standing in table.standings)
    assert first.mae == pytest.approx(mean_of(5.2)) and first.seed_spread == pytest.approx(np.std([5, 5.4], ddof=1))
    assert (first.seed_count, second.seed_count) == (2, 1)
    assert table.standings[1].difference.mean == pytest.approx(-1.2) and not table.standings[1].tied


def test_early_stopped_ones_come_after_whole_ones(entry):
    stopped = entry("j", 3.0, 1, tags={OUTCOME: "stopped"})
    (table,) = boards([stopped, entry("u", 5.0, 2), entry("hex16", 9.0, 3)])
    assert names(table) == ["u-150 ce lr=1e-4", "hex16-150 ce lr=1e-4", "j-150 ce lr=1e-4"]
    assert table.standings[-1].configuration.stopped
    (table,) = boards([entry("j", 5.0, 2, tags={OUTCOME: "stopped"}), entry("u", 5.0, 2), entry("hex16", 5.0, 2)])
    assert [one.tied for one in table.standings] == [False, True, False], "an equal error of fewer epochs is no tie"


ENDS = {
    "diverged": ("FAILED", "diverged"),
    "failed": ("FAILED", "failed"),
    "cut": ("KILLED", None),
    "running": ("RUNNING", None),
}


def test_what_came_to_no_error_is_left_out_and_counted(entry):
    ended = [
        entry("j", 1.0, seed=seed, status=status, tags={OUTCOME: outcome})
        for seed, (status, outcome) in enumerate(ENDS.values())
    ]
    nan = made_run("nan s0", error=float("nan"))
    none, infinite = made_run("none s0", error=None), made_run("infinite s0", error=float("inf"))
    runs = [*ended, nan, none, infinite, entry("u", 5.0)]
    (table,) = boards(runs)
    assert names(table) == ["u-150 ce lr=1e-4"]
    assert left_out(runs) == dict.fromkeys(ENDS, 1) | {"no finite error": 3}
    assert boards(ended) == [] and boards([]) == []


def test_a_decoder_without_a_number_is_last_in_any_order(entry):
    def with_nan(code, error):
        errors = {"expected": np.full((60, 3), error), "argmax": np.full((60, 3), error + 0.5)}
        errors["broken"] = np.full((60, 3), np.nan)
        return entry(code, error, evaluation=evaluation_of(errors, GROUPS))

    runs = [with_nan("u", 5.0), with_nan("j", 4.0)]
    for order in (runs, runs[::-1]):
        (table,) = boards(order, by_decoder=True)
        found = [one.configuration.name.replace("-150 ce lr=1e-4", "") for one in table.standings]
        assert found == ["j · expected", "j · argmax", "u · expected", "u · argmax", "j · broken", "u · broken"]
        assert table.standings[-1].difference.verdict == "cannot tell"
    (table,) = boards(runs)
    assert names(table) == ["j-150 ce lr=1e-4", "u-150 ce lr=1e-4"], "the headline alone"
    assert [one.configuration.decoder for one in table.standings] == ["expected", "expected"]


def test_runs_without_predictions_are_ranked_among_themselves_and_nothing_is_said_of_differences(entry):
    old = [made_run(f"{code}-150 ce lr=1e-4 s0", params=coded(code), error=e) for code, e in (("u", 3.0), ("j", 2.0))]
    (table,) = boards(old)
    assert names(table) == ["j-150 ce lr=1e-4", "u-150 ce lr=1e-4"] and table.leader.mae == 2
    assert all(one.difference is None and not one.tied for one in table.standings)
    assert "no predictions" in method(table) and table.leader.interval is None
    assert table.facts["images"] == "70" and table.facts["groups"] == "7"
    mixed = boards([*old, entry("hex16", 5.0), entry("had", 6.0), entry("b1jdj", 7.0)])
    assert [len(one.standings) for one in mixed] == [3, 2] and "split 0123456789ab" in mixed[1].reason


def test_a_seed_without_predictions_takes_the_row_back_to_the_logged_errors(entry):
    lost = made_run("u-150 ce lr=1e-4 s1", params=coded("u", seed="1"), error=7.0)
    (one,) = configurations([entry("u", 5.0), lost])
    assert one.seeds == () and one.mae == pytest.approx((5 + EFFECTS[0][GROUPS].mean() + 7) / 2)


def test_fewer_than_six_groups_cannot_tell(entry):
    groups = GROUPS % 5
    runs = [entry(code, error, 0, evaluation=flat(error, 0, groups)) for code, error in (("u", 50.0), ("j", 1.0))]
    (table,) = boards(runs)
    assert table.standings[1].difference.verdict == "cannot tell" and table.standings[1].tied
    assert table.standings[1].difference.mean == pytest.approx(49) and table.leader.interval is None
    assert method(table) == "too few groups to tell differences: 5, at least 6 are needed"


def test_other_code_and_fields_that_the_names_do_not_show_are_rows_told_apart(entry, tmp_path):
    fields = {"longer": {"params": {"epochs": "9"}}, "newer": {"tags": {"code_version": "beef"}}}
    runs = [entry("j", 4.0)]
    for i, (place, own) in enumerate(fields.items(), 1):
        (tmp_path / place).mkdir()
        params = coded("j") | own.get("params", {})
        run = run_with(tmp_path / place, "j-150 ce lr=1e-4 s0", flat(4.0 + i), params=params, tags=own.get("tags"))
        runs.append(run)
    (table,) = boards(runs)
    base = "j-150 ce lr=1e-4 code_version"
    assert names(table) == [f"{base}=c0de epochs=4", f"{base}=c0de epochs=9", f"{base}=beef epochs=4"]
    assert table.facts["code"] == "beef and c0de"


def test_thirty_groups_and_more_are_drawn_again(entry):
    groups = np.arange(60) % 30
    runs = [
        entry(code, 0, evaluation=evaluation_of({"expected": RANDOM.normal(error, 1, (60, 3))}, groups))
        for code, error in (("j", 20.0), ("u", 25.0))
    ]
    (table,) = boards(runs)
    assert "bootstrap" in method(table) and table.standings[1].difference.verdict == "worse"
    low, high = table.leader.interval
    assert low < table.leader.mae < high


def test_one_table_does_not_need_two_seeds_or_a_second_row(entry):
    table = board(configurations([entry("j", 4.0)]), "why")
    assert table.reason == "why" and table.standings[0].rank == 1 and table.standings[0].difference is None


def test_from_a_real_store(store, tmp_path):
    client = MlflowClient()
    experiment = client.create_experiment("made", artifact_location=str(tmp_path / "artifacts"))
    parent = client.create_run(experiment, run_name="made (grid)")
    ends = {"j": ("FINISHED", "finished"), "u": ("FINISHED", "stopped"), "hex16": ("FAILED", "diverged")}
    ends |= {"had": ("KILLED", None), "b1jdj": ("RUNNING", None)}
    for number, (code, (status, outcome)) in enumerate(ends.items()):
        tags = TAGS | {"mlflow.parentRunId": parent.info.run_id, TRIAL: f"{number:016x}"}
        tags |= {OUTCOME: outcome} if outcome else {}
        if outcome is None:
            del tags[OUTCOME]
        run = client.create_run(experiment, tags=tags, run_name=f"{code}-150 ce lr=1e-4 s0")
        for key, value in (PARAMS | coded(code)).items():
            client.log_param(run.info.run_id, key, value)
        evaluation = flat(3.0 + number)
        client.log_metric(run.info.run_id, "val/best_mae", evaluation.mae("expected"))
        path = tmp_path / PREDICTIONS["val"]
        predictions.write(evaluation, path)
        client.log_artifact(run.info.run_id, str(path))
        if status != "RUNNING":
            client.set_terminated(run.info.run_id, status)
    found = trials(find_sweeps(["made"]))
    (table,) = boards(found)
    assert names(table) == ["j-150 ce lr=1e-4", "u-150 ce lr=1e-4"] and table.standings[1].configuration.stopped
    assert left_out(found) == {"diverged": 1, "cut": 1, "running": 1}
    assert table.leader.mae == pytest.approx(mean_of(3)) and len(table.leader.seeds[0].names) == 60


def test_labels_beyond_their_range_stand_in_the_caption_and_part_no_rows(tmp_path):
    shares = [{"clamped_yaw": "0.2", "val_clamped_yaw": "0.1"}, {"clamped_yaw": "0.3", "val_clamped_yaw": "0"}]
    runs = [entry_of(tmp_path, "u", 1.0, seed=seed, params=share) for seed, share in enumerate(shares)]
    (table,) = boards(runs)
    assert len(table.standings) == 1 and table.leader.seed_count == 2
    assert "Labels beyond the range of their axis (% of training, selection images): yaw 30, 10; a" in caption(table)
    (clean,) = boards([entry_of(tmp_path, "j", 1.0, params={"clamped_yaw": "0", "val_clamped_yaw": "0"})])
    assert "beyond" not in caption(clean)
