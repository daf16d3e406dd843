"""A fold's stored predictions are of its logged error, or are refused."""

import pytest

from bel.errors import UserError
from results.analysis.folds import checked, chosen, decided
from results.store.runs import fetch_predictions
from tests.results.made import flat, run_with


def test_stored_predictions_of_another_error_are_refused(tmp_path):
    run = run_with(tmp_path, "j s0 fold=0", flat(4.0))
    held = fetch_predictions(run)
    assert " repeats (" in checked(run, held, held, "expected")
    other = run_with(tmp_path, "j s0 fold=1", flat(4.0), metrics={"val/expected/mae": 5.0})
    with pytest.raises(UserError, match="does not repeat its logged error: its stored predictions have"):
        checked(other, held, held, "expected")


def test_a_contender_without_the_tuned_field_has_one_value(tmp_path):
    plain = [run_with(tmp_path, f"none s{seed}", flat(3.0), params={"seed": str(seed)}) for seed in (0, 1)]
    found = decided("regulariser_weight", plain, lambda run: run.data.metrics["val/best_mae"])
    assert [(tuned.value, tuned.at_end, tuned.runs) for tuned in found] == [("", False, [run]) for run in plain]
    assert [[chosen(tuned, run) for run in plain] for tuned in found] == [[True, False], [False, True]]
