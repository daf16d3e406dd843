"""`bel-sweep status|stop|pause|resume|add|prioritise|set NAME|RUN ...`: steer a sweep that runs, from any terminal or host.

Imports torch for `add` and `set` alone.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from bel.errors import UserError, refuse_unknown
from bel.output import Answer, Report, add_format, answering, command_parser
from launch.steering import client
from launch.steering.commands import SETTINGS
from launch.steering.status import status
from launch.steering.targets import find_target

ABOUT = {  # by command: what it does, and what it is of
    "status": ("say what a sweep is doing", "NAME|RUN"),
    "stop": ("end a trial, or the sweep, after the present epochs", "NAME|RUN"),
    "pause": ("let a trial wait after its present epoch; of a sweep all, and none begins", "NAME|RUN"),
    "resume": ("let a trial or a sweep that was paused go on", "NAME|RUN"),
    "prioritise": ("let a trial begin before all others", "RUN"),
    "add": ("add a configuration, or with --value another value of a list", "NAME"),
    "set": ("change trials (of a search) or at_once (trials that run at most at once)", "NAME"),
}


def main(argv: Sequence[str]) -> int:
    """Send a command to a sweep and print the answer: 0 where it is accepted or recorded. Raises `UserError`."""
    arguments = options(argv)
    with answering(arguments.format) as answer:
        report(answer, DO.get(arguments.command, plain)(arguments))
    return 0


def report(answer: Answer, found: Report) -> None:
    """Print a result."""
    answer.values = found.values
    answer.say(found.text)


def plain(arguments: argparse.Namespace) -> Report:
    """Send a command that has no arguments but its target."""
    target = find_target(arguments.target, getattr(arguments, "sweep", None))
    return client.ask(target, arguments.command, wait=arguments.wait)


def stop(arguments: argparse.Namespace) -> Report:
    """Send `stop`."""
    target = find_target(arguments.target, arguments.sweep)
    if arguments.now and target.trial:
        raise UserError(f"--now is of a sweep, and this is {target.title}: a trial stops after its present epoch")
    return client.ask(target, client.STOP, {"now": True} if arguments.now else {}, arguments.wait)


def show(arguments: argparse.Namespace) -> Report:
    """Return the status of a sweep, or of the one that a trial is of."""
    return status(find_target(arguments.target).parent)


def add(arguments: argparse.Namespace) -> Report:
    """Send `add`."""
    given = pairs(arguments.fields)
    if arguments.value and len(given) != 1:
        raise UserError(f"--value adds one value of one list, FIELD=VALUE, got {arguments.fields}: send one at a time")
    return client.ask(
        find_target(arguments.target), client.ADD, {"value" if arguments.value else "values": given}, arguments.wait
    )


def change(arguments: argparse.Namespace) -> Report:
    """Send `set`."""
    given = pairs(arguments.fields)
    refuse_unknown("setting of a running sweep", given, SETTINGS)
    return client.ask(find_target(arguments.target), client.SET, given, arguments.wait)


DO: dict[str, Callable[[argparse.Namespace], Report]] = {"status": show, "stop": stop, "add": add, "set": change}


def pairs(given: Sequence[str]) -> dict[str, Any]:
    """Return names and values of FIELD=VALUE. Raises `UserError` for anything else, and for a name twice."""
    found: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not name or not equals or name in found:
            raise UserError(f"FIELD=VALUE is wanted, each field once, got {pair!r}")
        found[name] = value or None
    return found


def options(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("bel-sweep", "Steer a running sweep.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (about, of) in ABOUT.items():
        one = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.")
        one.add_argument("target", metavar=of, help="a sweep's name, a run id or its beginning, or a trial's name")
        if name in ("add", "set"):
            one.add_argument("fields", nargs="+", metavar="FIELD=VALUE", help="e.g. code=u, or at_once=1 of set")
        if name == "add":
            one.add_argument(
                "--value", action="store_true", help="every combination of the other lists with this value"
            )
        if name == "stop":
            one.add_argument("--now", action="store_true", help="end a sweep at once, within the present epochs")
        if "RUN" in of and name != "status":
            one.add_argument("--sweep", metavar="NAME", help="of which sweep a trial is, by name, that has not begun")
        if name != "status":
            one.add_argument(
                "--wait", type=seconds, default=client.WAIT, metavar="S", help="seconds for an answer (%(default)g)"
            )
        add_format(one)
    return parser.parse_args(argv)


def seconds(text: str) -> float:
    """Return a number of seconds for argparse. Raises `ArgumentTypeError`."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < 86_400:
        raise argparse.ArgumentTypeError(f"--wait must be a number of seconds above 0 and below a day, got {text!r}")
    return number
