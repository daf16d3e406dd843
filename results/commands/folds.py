"""`bel-results folds`: the held-out images of all folds of a tuned sweep put together and compared, and test beside them."""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mlflow.entities import Run

from bel.errors import UserError
from bel.files import refuse_folder
from bel.text import ALL_AXES
from results.analysis.folds import contenders
from results.retest.evaluate import FREE, NOT_REPEATED, add_settings, re_test, settings
from results.retest.loaded_checkpoint import fetch_state, load_network
from results.store.predictions import Predictions
from results.store.runs import fetch_predictions, find_run
from results.tables import folds as tables


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--run-id", required=True, help="MLflow id of the sweep's parent run")
    parser.add_argument("-o", "--out", type=Path, help="folder of the table and of CSVs of runs, groups and images")
    add_settings(parser, "for the re-test of a run without test predictions, e.g. data_root=/data, device=cpu")
    parser.add_argument("--all-axes", action="store_true", help=ALL_AXES)


def folds(a: argparse.Namespace) -> int:
    """Print and write the comparison; a run without test predictions is re-tested first, as by bel-eval."""
    if a.out:
        refuse_folder("--out", a.out)
    test_of = partial(test_predictions, changes=settings(a.set, FREE))
    found = contenders(find_run(a.run_id), test_of, partial(print, flush=True))
    print(f"\n{tables.text(found, a.all_axes)}")
    if a.out:
        tables.write(found, a.out)
        print(f"\nwritten to {a.out}")
    return 0


def test_predictions(run: Run, changes: Mapping[str, Any]) -> Predictions:
    """Read a run's predictions on the test split, after a re-test where there are none yet.

    Raises `UserError` where the validation error does not repeat, or its images are not here.
    """
    found = fetch_predictions(run, "test", bits=False)
    if found is None:
        if re_test(load_network(fetch_state(run), dict(changes), run)):
            raise UserError(f"run {run.info.run_id} does not repeat its logged error: {NOT_REPEATED}")
        found = fetch_predictions(run, "test", bits=False)
    if found is None:
        raise UserError(
            f"the re-test of run {run.info.run_id} was not logged, because its training images are not here: set "
            "data_root to their folder"
        )
    return found
