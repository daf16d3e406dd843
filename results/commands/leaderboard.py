"""`bel-results leaderboard`: the configurations of sweeps, the best first. Imports no torch."""

import argparse
import sys
from pathlib import Path

from bel.errors import UserError
from bel.text import ALL_AXES, OldFlag
from results.analysis.leaderboard import boards, left_out
from results.store.runs import find_sweeps, trials
from results.tables.leaderboard import FORMATS, markdown


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument(
        "sweep", nargs="+", help="name of a sweep (its MLflow experiment), or a run id of it; or several"
    )
    parser.add_argument("--filter", default="", help="an MLflow filter of trials, e.g. \"params.head = 'bel'\"")
    parser.add_argument("--decoders", action="store_true", help="a row for each decoder of a configuration")
    parser.add_argument("--read-outs", action=OldFlag, dest="decoders", new="--decoders")
    parser.add_argument("--all-axes", action="store_true", help=ALL_AXES)
    parser.add_argument("--format", choices=FORMATS, default="text", help="text, markdown, csv, latex or json")
    parser.add_argument("-o", "--out", type=Path, help="a file instead of the terminal")
    parser.add_argument("--publish", action="store_true", help="write it into the sweep's description in MLflow")


def leaderboard(a: argparse.Namespace) -> int:
    """Print the tables; say on stderr how many trials are in none of them."""
    if a.publish and len(a.sweep) > 1:
        raise UserError(
            f"--publish writes into the description of one sweep, got {len(a.sweep)}: publish each by itself"
        )
    sweeps = find_sweeps(a.sweep)
    runs = trials(sweeps, a.filter)
    found = boards(runs, a.decoders, a.all_axes)
    missing = ", ".join(f"{count} {how}" for how, count in sorted(left_out(runs).items()))
    if not found:
        raise UserError(
            f"no trial of {' '.join(a.sweep)} has an error to rank ({missing or 'no trial at all'}): run the sweep"
        )
    text = FORMATS[a.format](found)
    if a.out:
        a.out.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    if missing:
        print(f"in no table: {missing}", file=sys.stderr)
    if a.publish:
        from results.commands.publish import publish

        print(f"published: {publish(sweeps[0], markdown(found))}", file=sys.stderr)
    return 0
