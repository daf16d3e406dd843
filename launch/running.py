"""What the commands that run trials have in common: their options, and the way from a sweep that is ready to its end."""

import argparse

from bel.errors import UserError
from bel.output import FORMATS, JSON, Answer, add_format
from launch.console.events import print_event
from launch.driver.driver import Driver
from launch.driver.estimate import announce, plan
from launch.driver.preparation import ReadySweep, Where


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that runs trials."""
    add = parser.add_argument
    add("--plan", action="store_true", help="say what would run, how long it takes and what it needs; run nothing")
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


def refuse_together(arguments: argparse.Namespace) -> None:
    """Raise `UserError` for options of which one would be ignored."""
    if arguments.quiet and arguments.progress == JSON:
        raise UserError("--quiet prints no progress, and --progress json prints it as events: leave one of them out")
    if arguments.plan and arguments.progress == JSON:
        raise UserError("--progress json is of trials, and --plan runs none: leave one of them out")


def place_of(arguments: argparse.Namespace) -> Where:
    """Return where trials run."""
    return Where(arguments.address, arguments.storage)


def carry_out(ready: ReadySweep, arguments: argparse.Namespace, answer: Answer) -> int:
    """Plan a sweep, or run and summarise it, as the options say; return the exit code."""
    with ready.held():
        if arguments.plan:
            answer.values = plan(ready)
            return 0
        if announces(arguments):
            announce(ready.workload)
        return Driver(ready, answer, arguments.quiet, print_event if arguments.progress == JSON else None).run()


def announces(arguments: argparse.Namespace) -> bool:
    """Return whether a command says what it is going to do."""
    return arguments.plan or not (arguments.quiet or arguments.progress == JSON)


def silent(note: str) -> None:
    """Print nothing."""
