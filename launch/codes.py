"""Properties and a picture of a label encoding: `bel-codes NAME LEVELS [--out FILE]`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from bel.codes.file import Bits
from bel.codes.library import code_matrix, names, normal_code, short_name
from bel.codes.properties import Properties, properties
from bel.errors import UserError, convert_to, within
from bel.output import Answer, add_format, answering, command, command_parser
from bel.plugins.registry import load
from bel.text import columns
from launch.tracking.figures import draw_matrix

MOST_LEVELS = 10_000


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Print the properties of a code and save a picture of its matrix."""
    parser = command_parser("bel-codes", "Properties and picture of a label encoding.")
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(names())}")
    parser.add_argument("levels", metavar="LEVELS", help=f"number of levels, 2 to {MOST_LEVELS}")
    parser.add_argument("--out", type=Path, help="file of the picture (runs/codes/NAME-LEVELS.png)")
    parser.add_argument(
        "--plugins", action="append", metavar="FILE", help="module with codes of one's own, or its file"
    )
    add_format(parser)
    arguments = parser.parse_args(argv)
    with answering(arguments.format) as answer:
        return describe(arguments, answer)


def describe(arguments: argparse.Namespace, answer: Answer) -> int:
    """Print and draw the code that the options name."""
    load(arguments.plugins)
    normal_code(arguments.name)
    levels = convert_to(int, "LEVELS", arguments.levels)
    within("LEVELS", levels, 2, MOST_LEVELS)
    name = short_name(arguments.name, levels)
    out = arguments.out or Path("runs/codes", f"{name.replace(':', '-')}-{levels}.png")
    figure = figure_for(out)
    matrix = code_matrix(arguments.name, levels)
    found = properties(matrix)
    answer.values = {"name": arguments.name, **as_values(found), "picture": out}
    answer.say("\n".join(table(arguments.name, found)))
    draw(figure, matrix, name, out)
    answer.say(f"\npicture: {out}")
    return 0


def as_values(found: Properties) -> dict[str, Any]:
    """Return properties in plain values."""
    spreads = {"flips": found.flips._asdict(), "transitions": found.transitions._asdict()}
    distances = [{"levels_apart": apart, **values._asdict()} for apart, values in found.distances.items()]
    return vars(found) | spreads | {"distances": distances}


def figure_for(out: Path) -> Figure:
    """Return an empty figure. Raises `UserError` for a file format that it cannot be saved in."""
    figure = Figure(figsize=(6, 5), layout="constrained")
    formats = sorted(figure.canvas.get_supported_filetypes())
    if out.suffix[1:].lower() not in formats:
        raise UserError(f"--out must end in a format of pictures, one of {formats}, got {str(out)!r}")
    return figure


def draw(figure: Figure, matrix: Bits, name: str, out: Path) -> None:
    """Draw a code matrix (levels, bits) and save the picture."""
    draw_matrix(figure.subplots(), matrix, name)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=120)


def table(name: str, p: Properties) -> list[str]:
    """Return lines of text: the size of a code, then a row for each property and each level distance."""
    rows = [
        ("", "min", "mean", "max"),
        ("bits that flip to the next level", *cells(*p.flips)),
        ("from the last level to the first (seam)", "", str(p.seam), ""),
        ("changes of a bit over all levels", *cells(*p.transitions)),
        ("", "", "", ""),
        ("Hamming distance", "min", "mean", ""),
        *((apart(levels), *cells(*values), "") for levels, values in p.distances.items()),
        ("of any two levels", *cells(p.min_distance), "", ""),
    ]
    words = "all different" if p.unique == p.levels else f"only {p.unique} of them different"
    head = f"code {name}: {p.levels} words of {p.bits} bits, {words}"
    return [head, "", *columns(rows)]


def apart(levels: int) -> str:
    """Return the label of a level distance's row."""
    return f"of levels {levels} apart" if levels > 1 else "of neighbouring levels"


def cells(*values: float) -> tuple[str, ...]:
    """Format counts as they are, means with two decimals."""
    return tuple(str(value) if isinstance(value, int) else f"{value:.2f}" for value in values)
