"""The report of a check: counts of each source, problems, notes and ranges of labels, as text and as plain values."""

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bel.data.checking.findings import LABEL_FILES, absence
from bel.data.checking.half import Finding, Half
from bel.data.checking.inspection import Fault
from bel.data.checking.sheet import draw_sheet
from bel.data.labels import axis_row, range_text
from bel.data.readers.base import Source
from bel.errors import one_of
from bel.text import columns

WIDTH = 100  # columns
SHOWN = 3  # files of a kind of problem
COLUMNS = {"on disk": 9, "listed": 9, "usable": 9, "within": 9, "groups": 8, "no label": 10, "no image": 10}
NO_IMAGE = ("missing image", "dead link of image")


@dataclass(frozen=True)
class Report:
    """The halves of protocols that were found below `root`, with their findings."""

    root: Path
    halves: list[Half]

    @property
    def problems(self) -> list[Finding]:
        """Findings that would corrupt a result."""
        return [finding for half in self.halves for finding in half.problems]

    @property
    def notes(self) -> list[Finding]:
        """Findings that corrupt no result."""
        return [finding for half in self.halves for finding in half.notes]

    @property
    def corrupt(self) -> bool:
        """Whether there is any problem."""
        return bool(self.problems)

    def usable_list(self, source: Source | str) -> list[str]:
        """Return the stems of a source, in the order of its list, without any problem and within the limit."""
        name = source if isinstance(source, str) else source.name
        one_of("source", name, [half.name for half in self.halves])
        return [entry.stem for half in self.halves if half.name == name for entry in half.usable()]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as values for JSON."""
        return {
            "root": str(self.root),
            "corrupt": self.corrupt,
            "sources": [described(half) for half in self.halves],
            "problems": [finding.as_dict() for finding in self.problems],
            "notes": [finding.as_dict() for finding in self.notes],
        }

    def table(self) -> str:
        """Return lines of at most 100 columns: sources, problems by kind, notes, labels."""
        blocks = [source_lines(self.halves), self.problem_lines(), self.note_lines(), label_lines(self.halves)]
        return "\n\n".join("\n".join(block) for block in blocks if block)

    def problem_lines(self) -> list[str]:
        """Return lines with the number of problems of each kind, and the first files of each."""
        if not self.corrupt:
            return ["no problem found"]
        kinds: dict[str, list[Finding]] = {}
        for problem in self.problems:
            kinds.setdefault(problem.kind, []).append(problem)
        lines = [f"{len(self.problems)} problems would corrupt a result"]
        for kind, found in kinds.items():
            lines.append(f"  {kind}: {len(found)}")
            lines += [line for problem in found[:SHOWN] for line in self.sentence(problem, "    ")]
            if len(found) > SHOWN:
                lines.append(f"    and {len(found) - SHOWN} more")
        return lines

    def note_lines(self) -> list[str]:
        """Return lines with the first notes of each kind and source."""
        kinds: dict[tuple[str, str], list[Finding]] = {}
        for note in self.notes:
            kinds.setdefault((note.source, note.kind), []).append(note)
        lines = []
        for (name, kind), found in kinds.items():
            for note in found[:SHOWN]:
                lines += self.sentence(note, "  ", f"{name}: ")
            if len(found) > SHOWN:
                lines.append(f"  {name}: and {len(found) - SHOWN} more of {kind}")
        return ["notes", *lines] if lines else []

    def sentence(self, fault: Fault, indent: str, before: str = "") -> list[str]:
        """Return the sentence of a finding in lines, with paths relative to the root."""
        text = before + re.sub(rf"(?<![\w./-]){re.escape(str(self.root))}/", "", fault.sentence)
        wrapper = textwrap.TextWrapper(WIDTH, indent, f"{indent}  ", break_long_words=False, break_on_hyphens=False)
        return wrapper.wrap(text)

    def write_sheet(self, path: Path) -> None:
        """Write a PNG of images of every source with their labels drawn in."""
        draw_sheet(self.halves).save(path, "PNG")


def counts(half: Half) -> dict[str, int]:
    """Return the numbers of images and groups of a half, from those on disk to those within the limit."""
    usable = half.usable()
    lacking = [
        (stem, absence(reason)) for there in (half.listing, half.extras) for stem, reason in there.unusable.items()
    ]
    no_label = sum(fault.file.endswith(LABEL_FILES) for _, fault in lacking)
    no_image = sum(stem in half.scanned and fault.kind in NO_IMAGE for stem, fault in lacking)
    return {
        "on disk": len(half.listing.entries) + len(half.extras.entries) + no_label,
        "listed": half.listing.total,
        "usable": len(half.sound()),
        "within": len(usable),
        "groups": len({entry.group for entry in usable}),
        "no label": no_label,
        "no image": no_image,
    }


def described(half: Half) -> dict[str, Any]:
    """Return a half as plain values."""
    return {
        "name": half.name,
        "protocol": half.protocol,
        "part": half.part,
        "origin": str(half.listing.origin),
        "by_list": half.listing.origin.is_file(),
        "counts": {name.replace(" ", "_"): number for name, number in counts(half).items()},
        "not_listed": half.extras.total,
        "published": half.published,
        "labels": ranges(half),
    }


def ranges(half: Half) -> list[dict[str, Any]]:
    """Return least, median and largest usable target of each axis, and how many are beyond its levels."""
    usable = half.usable()
    if not usable:
        return []
    targets = torch.tensor([half.target(entry) for entry in usable], dtype=torch.float64)
    return [axis_row(values, axis) for axis, values in zip(half.axes, targets.T, strict=True)]


def source_lines(halves: list[Half]) -> list[str]:
    """Return lines with the counts of each source."""
    lines = [[f"{'source':<10}", *(f"{name:>{width - 2}}" for name, width in COLUMNS.items()), f"{'published':>19}"]]
    for half in halves:
        found = counts(half)
        share = f"{found['within']:,} of {half.published:,}" if half.published else "-"
        lines.append([half.name, *(f"{found[name]:,}" for name in COLUMNS), share])
    if len(halves) > 1:
        lines.append(["all", *(f"{sum(counts(half)[name] for half in halves):,}" for name in COLUMNS), ""])
    return columns(lines)


def label_lines(halves: list[Half]) -> list[str]:
    """Return lines with the range of the labels of each source and axis."""
    numbers = [f"{name:>8}" for name in ("least", "median", "most")]
    lines = [[f"{'labels':<10}", f"{'axis':<11}", "levels", f"{'range':>16}", *numbers, f"{'beyond the levels':>18}"]]
    for half in halves:
        for row in ranges(half):
            numbers = [f"{row[name]:.4g}" for name in ("least", "median", "most")]
            clamps = f"{row['clamped']:,} ({row['clamped_share']:.2%})"
            lines.append([half.name, row["axis"], str(row["levels"]), range_text(row), *numbers, clamps])
    return columns(lines, left=(0, 1)) if len(lines) > 1 else []
