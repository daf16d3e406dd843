"""`bel-results compare`: runs, or configurations of a sweep, against each other on the same images. Imports no torch."""

import argparse

from bel.output import Answer, add_format
from bel.run_layout import PREDICTIONS
from bel.text import ALL_AXES
from results.analysis.configurations import configurations
from results.analysis.contenders import contenders
from results.analysis.pairwise import comparison
from results.store.runs import find_sweeps, trials
from results.tables.pairwise import text


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("names", nargs="+", metavar="RUN", help="run id of a trial; with --sweep also a configuration")
    parser.add_argument(
        "--sweep",
        help="sweep (its MLflow experiment, or a run id) whose configurations are meant, over seeds and folds",
    )
    parser.add_argument(
        "--split", choices=PREDICTIONS, default="val", help="val, or test, which bel-eval measures first"
    )
    parser.add_argument("--decoder", help="decoder of all runs; default: the headline of each")
    parser.add_argument("--all-axes", action="store_true", help=ALL_AXES)
    add_format(parser)


def compare(a: argparse.Namespace, answer: Answer) -> int:
    """Print the comparison. Raises `UserError` for what cannot be compared."""
    known = a.sweep and {one.name: one for one in configurations(trials(find_sweeps([a.sweep])))}
    answer.values = comparison(contenders(a.names, known, a.split, a.decoder), a.split)
    answer.say(text(answer.values, a.all_axes))
    return 0
