"""`bel-results folds`: the held-out images of all folds of a tuned sweep put together and compared, and test beside them."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.entities import Run

from bel.errors import UserError
from bel.files import refuse_folder
from bel.run_layout import BY_IMAGE, CODE_VERSION
from bel.text import ALL_AXES, axis_cells, axis_titles, beyond_of, cell, columns, harmless, markdown_table
from results.analysis.configurations import error_of
from results.analysis.folds import Contender, contenders
from results.analysis.statistics import LEVEL, paired_difference
from results.retest.evaluate import FREE, NOT_REPEATED, add_settings, re_test, settings
from results.retest.loaded_checkpoint import fetch_state, load_network
from results.store.predictions import Floats, Predictions
from results.store.runs import fetch_predictions, find_run


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
    print(f"\n{table_text(found, a.all_axes)}")
    if a.out:
        write(found, a.out)
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


def table_columns(found: Sequence[Contender], all_axes: bool = False) -> list[list[str]]:
    """Return the columns of the table, each with its title first: the one place where a column is added."""
    held = [one.out_of_fold for one in found]
    gaps = [paired_difference(one.group_errors, held[0].group_errors, len(held)) for one in held[1:]]
    spans = ["" if gap.interval is None else "{:+.3f} to {:+.3f}".format(*gap.interval) for gap in gaps]
    axes = zip(*(axis_cells(one.by_axis, one.scale, all_axes) for one in held), strict=True)
    tests = [one.test_maes for one in found]
    pose = held[0].seeds[0].meaning["pose"]
    return [
        ["", *map(str, range(1, len(found) + 1))],
        ["contender", *(one.name for one in found)],
        ["decoder", *(one.tuned.decoder for one in found)],
        ["MAE", *(f"{one.mae:.3f}" for one in held)],
        [
            "not tuned on",
            *(f"{one.out_of_fold.mae_without(one.hold_out):.3f}" if one.hold_out else "" for one in found),
        ],
        *([title, *cells] for title, cells in zip(axis_titles(list(held[0].by_axis), all_axes), axes, strict=True)),
        *([["geodesic", *(f"{one.geodesic:.3f}" for one in found)]] if pose else []),
        ["minus the first", "", *(f"{gap.mean:+.3f}" for gap in gaps)],
        [f"{LEVEL:.0%} interval", "", *spans],
        ["", "first", *(gap.verdict for gap in gaps)],
        ["test MAE", *(f"{np.mean(maes):.3f}" for maes in tests)],
        ["of folds", *(f"{min(maes):.3f} to {max(maes):.3f}" for maes in tests)],
    ]


def caption(found: Sequence[Contender]) -> str:
    """Say what the numbers of the table travel with, and what they do not say."""
    held, test, field = found[0].out_of_fold.seeds[0], found[0].tests[0], found[0].tuned.field
    runs = [run for one in found for run in one.out_of_fold.runs]
    facts = {
        name: " and ".join(sorted({run.data.params[name] for run in runs}))
        for name in ("protocol", "crop", "folds", "split_seed", "seed")
    }
    codes = ", ".join(sorted({run.data.tags[CODE_VERSION] for run in runs}))
    beyond = beyond_of(run.data.params for run in runs)
    ends = ", ".join(one.name for one in found if one.tuned.at_end)
    return harmless(
        f"{facts['protocol']}, crop {facts['crop']}: MAE ({held.meaning['unit'] or 'own unit'}) out of fold on "
        f"{len(held.names)} training images, mean over their {len(held.group_names)} groups; {facts['folds']} "
        f"folds, split seed {facts['split_seed']}, seed {facts['seed']}, last epoch, {field} and decoder of each "
        f"contender chosen on a hold-out of {len(found[0].hold_out) or 'some'} of these groups; not tuned on: the MAE over the "
        f"others. "
        f"Differences are paired over the groups, their intervals wide enough to hold for all {len(found)} contenders at once "
        f"(Tukey's studentised range). Test: {len(test.names)} images of {len(test.group_names)} groups, mean "
        f"over images, and over the folds' networks, with their range. Code {codes}."
        + (f" {beyond[:1].upper()}{beyond[1:]}." if beyond else "")
        + (f" Best {field} at an end of its grid, so perhaps beyond it: {ends}." if ends else "")
    )


def table_text(found: Sequence[Contender], all_axes: bool = False, table: Callable[..., list[str]] = columns) -> str:
    """Return the table for a terminal, or as another `table`."""
    lines = list(zip(*table_columns(found, all_axes), strict=True))
    return "\n".join([caption(found), "", *table(lines, left=(lines[0].index("contender"), lines[0].index("decoder")))])


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
