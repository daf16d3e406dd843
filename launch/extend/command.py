"""`bel-sweep extend RUN|NAME --epochs N [--top K]`: the best trials of a sweep go on to more epochs."""

import argparse
from collections.abc import Sequence

from bel.output import answering, command_parser
from launch.extend.candidates import TOP
from launch.extend.extending import extended
from launch.running import add_options, announces, carry_out, place_of, refuse_together, silent


def main(argv: Sequence[str]) -> int:
    """Train the best trials of a sweep on, from the states that it kept; exit codes are those of a sweep."""
    arguments = options(argv)
    with answering(arguments.format) as answer:
        ready = extended(
            arguments.sweep,
            arguments.top,
            arguments.epochs,
            arguments.from_start,
            place_of(arguments),
            write=not arguments.plan,
            say=print if announces(arguments) else silent,
        )
        return carry_out(ready, arguments, answer)


def options(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = command_parser("bel-sweep extend", "Train the best trials of a sweep on to more epochs.")
    parser.add_argument("sweep", help="name of a sweep, or the run id of one or of a trial, which alone goes on then")
    parser.add_argument("--epochs", type=int, required=True, help="how many they are to have in all")
    parser.add_argument("--top", type=int, help=f"how many configurations, the best first ({TOP})")
    text = "train a trial from its first epoch where it cannot go on, as its state is not kept"
    parser.add_argument("--from-start", action="store_true", help=text)
    add_options(parser)
    arguments = parser.parse_args(argv)
    refuse_together(arguments)
    return arguments
