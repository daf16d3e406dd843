"""A fold's stored predictions are of its logged error, or are refused."""

import numpy as np
import pytest

from bel.errors import UserError
from results.analysis.configurations import error_of
from results.analysis.folds import checked, chosen, contender, decided, image_error
from results.store.runs import fetch_predictions
from tests.results.made import GROUPS, evaluation_of, flat, made_run, run_with


def test_stored_predictions_of_another_error_are_refused(tmp_path):
    run = run_with(tmp_path, "j s0 fold=0", flat(4.0))
    held = fetch_predictions(run)
    assert " repeats (" in checked(run, held, held, "expected")
    other = run_with(tmp_path, "j s0 fold=1", flat(4.0), metrics={"val/expected/mae": 5.0})
    with pytest.raises(UserError, match="does not repeat its logged error: its stored predictions have"):
        checked(other, held, held, "expected")


def read_by(expected, argmax, native):
    """An evaluation with these errors by decoder; that of `native` is of the largest group alone."""
    errors = {"expected": np.full((60, 3), expected), "argmax": np.full((60, 3), argmax)}
    errors["native"] = np.where(GROUPS[:, None] == 4, native, 0).repeat(3, 1)
    return evaluation_of(errors, GROUPS)


def hold_out(folder):
    """Runs on the hold-out: the best is the first by the headline, by any decoder the second, over groups by `native`."""
    return [
        run_with(folder, "j lr=1", read_by(2.5, 2.6, 90), params={"lr": "1"}),
        run_with(folder, "j lr=2", read_by(3, 2.4, 9), params={"lr": "2"}),
    ]


def test_value_and_decoder_are_chosen_together(tmp_path):
    runs = hold_out(tmp_path)
    (by_group,) = decided("lr", runs, error_of)
    assert (by_group.value, by_group.decoder, by_group.at_end) == ("2", "native", True)
    assert by_group.tuning == {"1": 2.5, "2": pytest.approx(9 / 8)}
    (earlier,) = decided("lr", runs, error_of, {"1"})
    assert (earlier.value, earlier.decoder) == ("1", ""), "an earlier version put the headline's value on folds"
    (by_image,) = decided("lr", runs, image_error)
    assert (by_image.value, by_image.decoder) == ("2", "argmax"), "a third of the images are in the largest group"


def test_equal_decoders_are_read_by_the_headline_and_runs_without_predictions_too(tmp_path):
    equal = [run_with(tmp_path, "j s0", read_by(1.5, 1.5 - 1e-12, 90))]
    assert [one.decoder for one in decided("lr", equal, error_of)] == [""]
    old = made_run("u s0", error=2.0, metrics={"val/best_mae_groups": 2.0})
    better = run_with(tmp_path, "u s1", read_by(3, 2, 1), params={"seed": "1"})
    (tuned, _) = decided("lr", [old, better], error_of)
    assert tuned.decoder == "" and tuned.tuning == {"0.0001": 2.5}
    fold = run_with(tmp_path, "u s0 fold=0", read_by(3, 2, 1), params={"fold": "0", "folds": "1"})
    assert contender(tuned, [fold], fetch_predictions, print).out_of_fold.mae == pytest.approx(3)


def test_a_contender_is_read_by_the_decoder_throughout(tmp_path):
    (tuned,) = decided("lr", hold_out(tmp_path), error_of)
    params, said = {"lr": "2", "fold": "0", "folds": "1"}, []
    fold = run_with(tmp_path, "j lr=2 s0 fold=0", read_by(3, 2, 16), params=params)
    found = contender(tuned, [fold], fetch_predictions, said.append)
    assert found.out_of_fold.mae == pytest.approx(2) and found.test_maes == pytest.approx([16 / 3])
    assert len(said) == 1 and "5.333 repeats" in said[0] and said[0].endswith("5.333  native")
    older = run_with(tmp_path, "j lr=2 s0 fold=0 before", flat(4.0), params=params)
    with pytest.raises(UserError, match=r"was not read by decoder native: run the sweep again with this version"):
        contender(tuned, [older], fetch_predictions, print)
    with pytest.raises(UserError, match=r"was not read by decoder native"):
        contender(tuned, [fold], lambda run: fetch_predictions(older), print)


def test_a_contender_without_the_tuned_field_has_one_value(tmp_path):
    plain = [
        run_with(tmp_path, f"none s{seed}", read_by(3 + seed, 9, 90), params={"seed": str(seed)}) for seed in (0, 1)
    ]
    found = decided("regulariser_weight", plain, lambda run: run.data.metrics["val/best_mae"])
    assert [tuned.tuning for tuned in found] == [{"": 3.5}] * 2, "the mean over seeds"
    assert [(tuned.value, tuned.at_end, tuned.runs) for tuned in found] == [("", False, [run]) for run in plain]
    assert [[chosen(tuned, run) for run in plain] for tuned in found] == [[True, False], [False, True]]
