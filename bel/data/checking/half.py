"""A half of a protocol while it is checked: its images, their facts, and what was found."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from bel.angles import Axis
from bel.data.checking.inspection import Facts, Fault
from bel.data.readers.base import Box, Entry, Listing, Source


@dataclass(frozen=True)
class Finding(Fault):
    """A fault of a source, or a fact worth a note; `stems` are the images of the source that it makes unusable."""

    source: str = ""
    stems: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, str]:
        """Plain values."""
        return {"kind": self.kind, "source": self.source, "file": self.file, "sentence": self.sentence}


@dataclass
class Half:
    """A half of a protocol on disk: what its list (or a scan) names, what else is there, the facts of each image.

    `published` is the number of images of the published set, `scanned` are all stems on disk, `exif` is as in a config.
    """

    protocol: str
    part: str
    source: Source
    axes: tuple[Axis, ...]
    pose: bool
    published: int | None
    listing: Listing
    extras: Listing
    scanned: frozenset[str]
    exif: str = "apply"
    facts: dict[str, Facts] = field(default_factory=dict)
    problems: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The source's name."""
        return self.source.name

    @property
    def by_list(self) -> bool:
        """Whether a list, not a scan, says what belongs to the set."""
        return self.listing.origin.is_file()

    def problem(self, kind: str, file: object, sentence: str, *stems: str) -> None:
        """Add what would corrupt a result."""
        self.problems.append(Finding(kind, f"{file}", sentence, self.name, stems))

    def note(self, kind: str, file: object, sentence: str) -> None:
        """Add what is worth knowing."""
        self.notes.append(Finding(kind, f"{file}", sentence, self.name))

    def sound(self) -> list[Entry]:
        """Entries of the listing that no problem names, beyond the limit or not."""
        bad = {stem for finding in self.problems for stem in finding.stems}
        return [entry for entry in self.listing.entries if entry.stem not in bad]

    def usable(self) -> list[Entry]:
        """Entries of the listing that no problem names, within the source's limit."""
        return [entry for entry in self.sound() if max(map(abs, self.target(entry))) <= self.source.limit]

    def target(self, entry: Entry) -> tuple[float, ...]:
        """The target of a sound entry."""
        return self.facts[entry.stem].target or ()


def by_content(half: Half) -> dict[tuple[str, Box | None], list[Entry]]:
    """Readable listed entries by their pixels, and by their box where a picture may show several faces."""
    found = defaultdict(list)
    for entry in half.listing.entries:
        if digest := half.facts[entry.stem].digest:
            found[digest, entry.box].append(entry)
    return found


def by_group(half: Half) -> dict[str, list[Entry]]:
    """Listed entries by their group; images that are their own group have none that both halves could share."""
    found = defaultdict(list)
    alone = {entry.stem for entry in half.listing.entries}
    for entry in half.listing.entries:
        if entry.group not in alone:
            found[entry.group].append(entry)
    return found
