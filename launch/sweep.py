"""Run a sweep: `python launch/sweep.py sweeps/demo.yaml [--plan] [--set KEY=VALUE ...]`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bel.errors import UserError
from bel.output import FORMATS, JSON, Answer, add_format, answering
from bel.text import command_parser
from launch.console.events import print_event
from launch.driver.driver import Driver
from launch.driver.estimate import announce
from launch.driver.preparation import Where, prepare
from launch.spec.sweep_file import read_sweep
from results.store.faults import store_command


@store_command
def main(argv: Sequence[str] | None = None) -> int:
    """Plan, check, run and summarise a sweep: 0 if it ended well, 1 if a trial failed, 130 if it was interrupted."""
    arguments = options(argv)
    with answering(arguments.format) as answer:
        return run(arguments, answer)


def run(arguments: argparse.Namespace, answer: Answer) -> int:
    """Plan, run and summarise the sweep that the options name."""
    sweep, events = read_sweep(arguments.file, arguments.set), arguments.progress == JSON
    where = Where(arguments.address, arguments.storage)
    ready = prepare(sweep, where, write=not arguments.plan, fresh=arguments.fresh)
    with ready.held():
        if arguments.plan:
            answer.values = announce(ready.workload, full=True)
            return 0
        if not (arguments.quiet or events):
            announce(ready.workload, full=False)
        return Driver(ready, answer, arguments.quiet, print_event if events else None).run()


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("sweep.py", "Run a sweep of label encodings.")
    add = parser.add_argument
    add(
        "file",
        type=Path,
        help="sweep file, e.g. sweeps/demo.yaml, or the name of one that comes with the project, e.g. demo",
    )
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. epochs=1, search.trials=4")
    add("--plan", action="store_true", help="say what would run, how long it takes and what it needs; run nothing")
    add("--fresh", action="store_true", help="begin anew: take no finished trial from this sweep or another")
    add("--address", metavar="HOST:PORT", help="a running Ray cluster (or RAY_ADDRESS); default: Ray on this machine")
    add(
        "--storage",
        default="runs",
        metavar="PATH",
        help="where trials keep their state: a folder or URL all nodes reach",
    )
    add("--quiet", action="store_true", help="say only what went wrong, and the table at the end")
    add(
        "--progress",
        choices=FORMATS,
        default="text",
        help="json: an event in each line of stderr, in the place of what is said while it runs (%(default)s)",
    )
    add_format(parser)
    arguments = parser.parse_args(argv)
    if arguments.quiet and arguments.progress == JSON:
        raise UserError("--quiet prints no progress, and --progress json prints it as events: leave one of them out")
    if arguments.plan and arguments.progress == JSON:
        raise UserError("--progress json is of trials, and --plan runs none: leave one of them out")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
