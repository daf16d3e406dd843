"""`bel-results folds`: every fold's held-out images and the test split measured again, put together and compared."""

from __future__ import annotations

import argparse
from pathlib import Path

from bel.files import refuse_folder
from bel.text import ALL_AXES
from results.analysis.folds import contenders
from results.retest.evaluate import FREE, settings
from results.store.runs import find_run
from results.tables import folds as fold_tables


def add(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--run-id", required=True, help="MLflow id of the sweep's parent run")
    parser.add_argument("--out", type=Path, help="folder of the table and of CSVs of runs, groups and images")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. data_root=/data, device=cpu"
    )
    parser.add_argument("--all-axes", action="store_true", help=ALL_AXES)
    parser.set_defaults(run=folds)


def folds(a: argparse.Namespace) -> int:
    """Measure every fold's held-out images and the test split again, and print and write the comparison."""
    if a.out:
        refuse_folder("--out", a.out)
    found = contenders(find_run(a.run_id), settings(a.set, FREE), lambda line: print(line, flush=True))
    print(f"\n{fold_tables.text(found, a.all_axes)}")
    if a.out:
        fold_tables.write(found, a.out)
        print(f"\nwritten to {a.out}")
    return 0
