"""`bel-results leaderboard`: the configurations of sweeps, the best first, also in MLflow's UI. Imports no torch."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mlflow.entities import Run

from bel.errors import UserError
from bel.output import Answer, OldFlag
from bel.run_layout import Outcome
from bel.text import ALL_AXES
from results.analysis.configurations import error_of, is_ranked
from results.analysis.ranking import rank_key
from results.results import Results
from results.store.description import describe
from results.store.runs import outcome, trials
from results.store.ui_links import MOST, comparison_link, keep_view, ui_address, view_link
from results.tables.leaderboard import FORMATS, markdown, records


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


def leaderboard(a: argparse.Namespace, answer: Answer) -> int:
    """Print the tables; say on stderr how many trials are in none of them."""
    if a.publish and len(a.sweep) > 1:
        raise UserError(
            f"--publish writes into the description of one sweep, got {len(a.sweep)}: publish each by itself"
        )
    results = Results(*a.sweep, filter=a.filter)
    found, missing = results.boards(a.decoders, a.all_axes)
    text = FORMATS[a.format](found)
    if a.out:
        a.out.write_text(text, encoding="utf-8")
    else:
        answer.say(text.removesuffix("\n"))
    answer.values = None if a.out else records(found)
    if missing:
        print(f"in no table: {missing}", file=sys.stderr)
    if a.publish:
        print(f"published: {publish(results.sweeps[0], markdown(found))}", file=sys.stderr)
    return 0


def publish(parent: Run, markdown: str) -> str:
    """Write a leaderboard into the descriptions of a sweep's parent run and of its experiment; keep a view of its trials.

    Returns the address of that view. The rest of a description stays; the leaderboard of an earlier call is
    replaced. Raises `UserError` where its text leaves no room.
    """
    runs = trials([parent])
    describe(parent, markdown, comparison(runs))
    keep_view(parent, runs)
    return f"{ui_address()}/{view_link(parent)}"


def comparison(runs: Sequence[Run]) -> str:
    """Return a link in Markdown to the best trials in parallel coordinates; none to a single one."""
    found = [run for run in runs if is_ranked(run)]
    best = sorted(
        found, key=lambda run: rank_key(error_of(run), run.info.run_name, stopped=outcome(run) == Outcome.STOPPED)
    )[:MOST]
    return f"[the best {len(best)} in parallel coordinates]({comparison_link(best)})" if len(best) > 1 else ""
