"""`bel-results folds`: the held-out images of all folds of a tuned sweep put together and compared, and test beside them."""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Run

from bel.errors import UserError
from bel.files import refuse_folder
from bel.output import Answer, add_format
from bel.run_layout import BY_IMAGE
from bel.text import ALL_AXES, cell, markdown_table
from results.analysis.configurations import error_of
from results.analysis.folds import Contender, contenders
from results.retest.evaluate import FREE, NOT_REPEATED, add_settings, failed, re_test, settings
from results.retest.loaded_checkpoint import fetch_state, load_network
from results.store.predictions import Floats, Predictions
from results.store.runs import fetch_predictions, find_run
from results.tables.folds import record, table_text


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--run-id", required=True, help="MLflow id of the sweep's parent run")
    parser.add_argument("-o", "--out", type=Path, help="folder of the table and of CSVs of runs, groups and images")
    add_settings(parser, "for the re-test of a run without test predictions, e.g. data_root=/data, device=cpu")
    parser.add_argument("--all-axes", action="store_true", help=ALL_AXES)
    add_format(parser)


def folds(a: argparse.Namespace, answer: Answer) -> int:
    """Print and write the comparison; a run without test predictions is re-tested first, as by bel-eval."""
    if a.out:
        refuse_folder("--out", a.out)
    test_of = partial(test_predictions, changes=settings(a.set, FREE))
    found = contenders(find_run(a.run_id), test_of, partial(print, flush=True))
    answer.values = record(found) | {"folder": a.out}
    answer.say(f"\n{table_text(found, a.all_axes)}")
    if a.out:
        write(found, a.out)
        answer.say(f"\nwritten to {a.out}")
    return 0


def test_predictions(run: Run, changes: Mapping[str, Any]) -> Predictions:
    """Read a run's predictions on the test split, after a re-test where there are none yet.

    Raises `UserError` where the validation error does not repeat, or its images are not here.
    """
    found = fetch_predictions(run, "test", bits=False)
    if found is None:
        if failed(re_test(load_network(fetch_state(run), dict(changes), run))):
            raise UserError(f"run {run.info.run_id} does not repeat its logged error: {NOT_REPEATED}")
        found = fetch_predictions(run, "test", bits=False)
    if found is None:
        raise UserError(
            f"the re-test of run {run.info.run_id} was not logged, because its training images are not here: set "
            "data_root to their folder"
        )
    return found


def write(found: Sequence[Contender], folder: Path) -> None:
    """Write into a folder the table, the runs, the errors by group, and those of each image by contender and axis."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(table_text(found, table=markdown_table) + "\n", encoding="utf-8")
    held = [(one.name, one.out_of_fold.seeds[0], one.out_of_fold.axis_errors) for one in found]
    tested = [
        (one.name, one.tests[0], np.mean([test.errors(one.tuned.decoder) for test in one.tests], 0)) for one in found
    ]
    frames = {
        "runs": run_rows(found),
        "groups": group_errors(found),
        "errors_out_of_fold": image_errors(held),
        "errors_test": image_errors(tested),
    }
    for name, frame in frames.items():
        frame.rename(columns=cell).map(cell).to_csv(folder / f"{name}.csv", index=False)


def run_rows(found: Sequence[Contender]) -> pd.DataFrame:
    """Return trial, fold and decoder, errors on validation and test, and id of every run; on the hold-out as logged."""
    rows = []
    for one in found:
        for run in one.tuned.runs:
            headline = one.out_of_fold.seeds[0].decoders[0]
            rows.append(run_row(run, run.info.run_name, headline, run.data.metrics[BY_IMAGE], error_of(run)))
    for one in found:
        decoder = one.tuned.decoder
        for run, held, mae in zip(one.out_of_fold.runs, one.held, one.test_maes, strict=True):
            by_image, by_group = (held.errors_by_decoder(over_images)[decoder] for over_images in (True, False))
            rows.append(run_row(run, one.name, decoder, by_image, by_group, f"{mae:.4f}"))
    return pd.DataFrame(rows)


def run_row(run: Run, trial: str, decoder: str, by_image: float, by_group: float, test_mae: str = "") -> dict[str, str]:
    """Return the cells of a run."""
    return {
        "trial": trial,
        "fold": run.data.params.get("fold", ""),
        "decoder": decoder,
        "val_mae": f"{by_image:.4f}",
        "val_mae_groups": f"{by_group:.4f}",
        "test_mae": test_mae,
        "run_id": run.info.run_id,
    }


def group_errors(found: Sequence[Contender]) -> pd.DataFrame:
    """Return the error of each group by contender."""
    errors = np.stack([one.out_of_fold.group_errors for one in found], 1)
    frame = pd.DataFrame(errors, columns=[one.name for one in found]).map("{:.4f}".format)
    frame.insert(0, "group", found[0].out_of_fold.seeds[0].group_names)
    return frame


def image_errors(parts: Sequence[tuple[str, Predictions, Floats]]) -> pd.DataFrame:
    """Return image, group, and absolute errors in units by contender and axis, images in the order of the first contender."""
    first = parts[0][1]
    frames = [
        pd.DataFrame(errors, index=part.names, columns=[f"{name} {axis}" for axis in part.axes]).map("{:.3g}".format)
        for name, part, errors in parts
    ]
    joined = pd.concat([frame.loc[first.names] for frame in frames], axis=1)
    joined.insert(0, "image", first.names)
    joined.insert(1, "group", first.groups)
    return joined
