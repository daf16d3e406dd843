"""Text of all rooms: control characters escaped, tables in columns, words of sentences. Imports no torch."""

import hashlib
import json
import math
import re
import sys
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from bel.run_layout import CLAMPED

# Control and invisible characters: controls, line ends, changes of direction, zero widths, surrogates.
UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # in the lines of Ray's workers
PROGRESS = re.compile(r"(?:\x1b\[A)*\r?")  # the start of what tqdm writes: cursor up, and back to the start of the line
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the start of a formula in a spreadsheet


def harmless(value: object) -> str:
    """Return a value as text in one line, with control and invisible characters escaped."""
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), str(value))


def cell(value: Any) -> Any:
    """Return a value for a CSV file, with formulas quoted for spreadsheets; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    text = harmless(value)
    return f"'{text}" if text.startswith(FORMULA) and not is_number(text) else text


def is_number(text: str) -> bool:
    """Return whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def markdown_row(cells: Iterable[str]) -> str:
    """Return a row of a Markdown table."""
    return "| " + " | ".join(harmless(text).replace("|", "\\|").replace("<", "&lt;") for text in cells) + " |"


def markdown_table(lines: Sequence[Sequence[str]], left: Container[int] = (0,)) -> list[str]:
    """Lines of cells, of which the first are titles, as a Markdown table: columns numbered `left` to the left."""
    marks = ["---" if i in left else "--:" for i in range(len(lines[0]))]
    return [markdown_row(line) for line in (lines[0], marks, *lines[1:])]


class Harmless:
    """A stream that writes text as `harmless` does, except for line ends, tabs and, with `progress`, those of tqdm."""

    def __init__(self, stream: Any, progress: bool) -> None:
        self.obeyed = getattr(stream, "obeyed", stream)  # the terminal, for programs that draw in it
        self.progress = progress

    def __getattr__(self, name: str) -> Any:
        return getattr(self.obeyed, name)

    def write(self, text: str) -> int:
        """Write a text; returns its length."""
        begin = PROGRESS.match(text) if self.progress else None
        start = begin[0] if begin else ""
        lines = COLOURS.sub("", text[len(start) :]).split("\n")
        self.obeyed.write(start + "\n".join("\t".join(map(harmless, line.split("\t"))) for line in lines))
        return len(text)


@contextmanager
def harmless_output() -> Iterator[None]:
    """Escape control characters in all that is printed."""
    with redirect_stdout(Harmless(sys.stdout, False)), redirect_stderr(Harmless(sys.stderr, True)):
        yield


@dataclass(frozen=True)
class Selection:
    """How errors of runs are described: heading of the column, split of the images, and how the epoch was selected."""

    heading: str
    images: str
    chosen: str


def selection(*splits: str) -> Selection:
    """Return the description for runs with these `TrainConfig.selection`s; of several the one that is not clean."""
    if "test" in splits:
        return Selection("TEST MAE", "TEST", "SELECTED ON TEST, as published, not comparable with clean numbers")
    chosen = "last epoch, selected on nothing" if "last" in splits else "selected on validation groups"
    return Selection("val MAE", "validation", chosen)


FEW = 3  # axes that a sentence names


def beyond_range(shares: Mapping[str, Mapping[str, float]]) -> str:
    """Return a sentence on labels beyond the range of their axis, given shares by axis of each part; "" where all are 0."""
    axes = dict.fromkeys(axis for part in shares.values() for axis in part)
    worst = {axis: max(part.get(axis, 0.0) for part in shares.values()) for axis in axes}
    found = sorted((axis for axis in axes if worst[axis]), key=lambda axis: -worst[axis])
    if not found:
        return ""
    said = [f"{axis} {', '.join(f'{100 * part.get(axis, 0):.3g}' for part in shares.values())}" for axis in found[:FEW]]
    more = [f"and {len(found) - FEW} more axes"] if len(found) > FEW else []
    return (
        f"labels beyond the range of their axis (% of {', '.join(shares)} images): {'; '.join(said + more)}; a head of "
        "levels takes them for the first or the last one, errors are measured against the labels as they are"
    )


def beyond_of(facts: Iterable[Mapping[str, str]]) -> str:
    """Return `beyond_range` for the facts of several runs: by axis the largest share among them."""
    shares: dict[str, dict[str, float]] = {}
    for values in facts:
        for part, start in CLAMPED.items():
            for name in (name for name in values if name.startswith(start)):
                found, axis = shares.setdefault(part, {}), name.removeprefix(start)
                found[axis] = max(found.get(axis, 0.0), float(values[name]))
    return beyond_range(shares)


SHOWN = 8  # axes; a table of more shows the worst and the best one
ALL_AXES = f"a column for each axis, where there are more than {SHOWN}, too"  # help of --all-axes


def shortened(axes: Sequence[str], all_axes: bool = False) -> bool:
    """Return whether a table shows only the worst and the best of these axes."""
    return len(axes) > SHOWN and not all_axes


def axis_titles(axes: Sequence[str], all_axes: bool = False) -> list[str]:
    """Return the titles of the columns for these axes."""
    return ["worst axis", "best axis"] if shortened(axes, all_axes) else list(axes)


def axis_cells(errors: Mapping[str, float], scale: Mapping[str, float], all_axes: bool = False) -> list[str]:
    """Return the cells below `axis_titles`: errors by axis in units, or the worst and the best one, scaled by `scale`."""
    if not shortened(list(errors), all_axes):
        return [short(error) for error in errors.values()]
    ordered = sorted(errors, key=lambda axis: errors[axis] * scale.get(axis, 1.0))
    return [f"{short(errors[axis] * scale.get(axis, 1.0))} {axis}" for axis in (ordered[-1], ordered[0])]


def short(value: float) -> str:
    """Format a number for a column; empty for nan."""
    return "" if math.isnan(value) else f"{value:.3f}" if abs(value) < 1e6 else f"{value:.1e}"


def duration(seconds: float) -> str:
    """Format a time in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def columns(lines: Sequence[Sequence[str]], left: Container[int] = (0,)) -> list[str]:
    """Align lines of cells, the first of titles, in columns: those numbered `left` to the left, the others to the right."""
    shown = [list(map(harmless, line)) for line in lines]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return [
        "  ".join(
            f"{cell:<{width}}" if i in left else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in shown
    ]


def listed(names: Iterable[str], most: int = SHOWN, between: str = ", ") -> str:
    """Return names for a sentence: the first `most` and the number of the others."""
    found = list(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return between.join(found[:most]) + more


LONG = 40  # characters of a value that is part of a name


def in_a_word(value: object) -> str:
    """Return a value as part of a name: of a mapping its `name`, of a long text both ends, with a digest; else all of it."""
    text = json.dumps(value) if isinstance(value, Mapping) else str(value)
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    if isinstance(value, Mapping):
        return f"{value.get('name', '')}~{digest}"
    return text if len(text) <= LONG else f"{text[:14]}..{text[-14:]}~{digest}"
