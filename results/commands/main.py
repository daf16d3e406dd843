"""The command `bel-results`: evaluate and compare sweeps."""

import importlib
import sys
from collections.abc import Sequence

from bel.output import answering, command_parser, without_collection
from results.store.faults import store_command

# A module each, with `add(parser)` and a function of its name, which gets the options and fills the `Answer`. Only
# the one asked for is imported: some take seconds of torch.
COMMANDS = {
    "leaderboard": "configurations of sweeps, the best first, and which differences are real",
    "compare": "runs against each other: by angle, by sequence, by bit",
    "report": "one HTML page with the leaderboard and pictures",
    "best": "the best configuration's run id, config and next commands; --register puts it into the registry",
    "calibrate": "temperatures and intervals that hold, of a trial, and how far they hold on other groups",
    "folds": "out-of-fold errors of a tuned sweep, and test beside them",
    "study": "tables and pictures of a study over several tasks",
}


@store_command
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command on the results of sweeps; return its exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    parser = command_parser("bel-results", "Evaluate and compare sweeps.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text)
        if given[:1] == [name]:
            with without_collection():
                module = importlib.import_module(f"results.commands.{name}")
            module.add(sub)
            sub.set_defaults(run=getattr(module, name))
    arguments = parser.parse_args(given)
    with answering(arguments.format) as answer:
        code: int = arguments.run(arguments, answer)
    return code
