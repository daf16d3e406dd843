"""The command `bel-results`: evaluate and compare sweeps."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from results.store.faults import store_command

# Each in a module of its own with an `add(parser)`, imported only where it is asked for: some take seconds of torch.
COMMANDS = {
    "leaderboard": (
        "results.commands.leaderboard",
        "configurations of sweeps, the best first, and which differences are real",
    ),
    "compare": ("results.commands.compare", "runs against each other: by angle, by sequence, by bit"),
    "report": ("results.commands.report", "one HTML page with the leaderboard and pictures"),
    "best": (
        "results.commands.best",
        "the best configuration's run id, config and next commands; --register puts it into the registry",
    ),
    "folds": ("results.commands.folds", "out-of-fold errors of a tuned sweep, and test beside them"),
}


@store_command
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command on the results of sweeps; return its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="bel-results", description="Evaluate and compare sweeps.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (module, text) in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text)
        if given[:1] == [name]:
            importlib.import_module(module).add(sub)
    arguments = parser.parse_args(given)
    code: int = arguments.run(arguments)
    return code
