"""Run a sweep: `python launch/sweep.py sweeps/demo.yaml [--plan] [--set KEY=VALUE ...]`; or a command on one.

What is slow is imported where a sweep runs: a command on a sweep that runs answers in a second or two.
"""

import argparse
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from bel.errors import UserError
from bel.output import answering, command_parser, without_collection
from launch.steering import command_line as steering
from results.store.faults import store_command

EXTEND = "extend"
COMMANDS = (EXTEND, *steering.ABOUT)  # first words that are no sweep file


@store_command
def main(argv: Sequence[str] | None = None) -> int:
    """Run a sweep from its file, or a command on one; return the exit code."""
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] in steering.ABOUT:
        return steering.main(words)
    if words and words[0] == EXTEND:
        with without_collection():
            from launch.extend import command as extend
        return extend.main(words[1:])
    refuse_near_command(words)
    return run(words)


def run(words: Sequence[str]) -> int:
    """Plan, check, run and summarise a sweep: 0 if it ended well, 1 if a trial failed, 130 if it was interrupted."""
    with without_collection():
        from launch.driver.preparation import prepare
        from launch.running import carry_out, place_of
        from launch.spec.sweep_file import read_sweep

    arguments = options(words)
    with answering(arguments.format) as answer:
        sweep = read_sweep(arguments.file, arguments.set)
        ready = prepare(sweep, place_of(arguments), write=not arguments.plan, fresh=arguments.fresh)
        return carry_out(ready, arguments, answer)


def refuse_near_command(words: Sequence[str]) -> None:
    """Raise `UserError` where the first word is no file and nearly a command."""
    near = get_close_matches(words[0], COMMANDS, 1, 0.75) if words else []
    if near and words[0].isalpha() and not Path(words[0]).exists():
        raise UserError(f"no command and no sweep file {words[0]}; did you mean {near[0]!r}?")


def options(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    from launch.running import add_options, refuse_together

    parser = command_parser("sweep.py", "Run a sweep of label encodings.")
    add = parser.add_argument
    add(
        "file",
        type=Path,
        help="sweep file, e.g. sweeps/demo.yaml, or the name of one that comes with the project, e.g. demo; or a command: "
        f"{', '.join(COMMANDS)} (`bel-sweep COMMAND --help`)",
    )
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. epochs=1, search.trials=4")
    add("--fresh", action="store_true", help="begin anew: take no finished trial from this sweep or another")
    add_options(parser)
    arguments = parser.parse_args(argv)
    refuse_together(arguments)
    return arguments


if __name__ == "__main__":
    sys.exit(main())
