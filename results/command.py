"""The command `bel-results`: what became of a sweep."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from bel.errors import command
from results import fold_tables
from results.evaluate import FREE, settings
from results.folds import contenders
from results.runs import find_run


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Put together what the trials of a sweep measured."""
    parser = argparse.ArgumentParser(prog="bel-results", description="What became of a sweep.")
    commands = parser.add_subparsers(required=True)
    add_folds(commands.add_parser("folds", help="out-of-fold errors of a tuned sweep, compared by groups"))
    arguments = parser.parse_args(argv)
    code: int = arguments.run(arguments)
    return code


def add_folds(parser: argparse.ArgumentParser) -> None:
    """Options of `bel-results folds`."""
    parser.add_argument("--run-id", required=True, help="MLflow id of the sweep's parent run")
    parser.add_argument("--out", type=Path, help="folder of the table and of CSVs of runs, groups and images")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. data_root=/data, device=cpu"
    )
    parser.set_defaults(run=folds)


def folds(a: argparse.Namespace) -> int:
    """Measure every fold's held-out images and the test split again, and print and write the comparison."""
    found = contenders(find_run(a.run_id), settings(a.set, FREE), lambda line: print(line, flush=True))
    print(f"\n{fold_tables.text(found)}")
    if a.out:
        fold_tables.write(found, a.out)
        print(f"\nwritten to {a.out}")
    return 0
