"""The train or test half of a protocol while it is checked: its images, their facts, and the findings."""

from collections import defaultdict
from dataclasses import dataclass, field

from bel.angles import Axis
from bel.data.checking.inspection import Facts, Fault
from bel.data.protocols import PARTS, Protocol
from bel.data.readers.base import Box, Entry, Listing, Source


@dataclass(frozen=True)
class Finding(Fault):
    """A problem or a note about a source; `stems` are the images of the source that it makes unusable."""

    source: str = ""
    stems: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, str]:
        """Plain values."""
        return {"kind": self.kind, "source": self.source, "file": self.file, "sentence": self.sentence}


@dataclass
class Half:
    """A half of a protocol on disk: the images of its list (or of a scan), the others on disk, the facts of each.

    `published` is the number of images in the published set, `scanned` are all stems on disk, `exif` is as in a config.
    """

    protocol: str
    definition: Protocol
    part: str
    listing: Listing
    extras: Listing
    scanned: frozenset[str]
    exif: str = "apply"
    facts: dict[str, Facts] = field(default_factory=dict)
    problems: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)

    @property
    def source(self) -> Source:
        """The source of this half."""
        return self.definition.part(self.part)

    @property
    def published(self) -> int | None:
        """Number of images in the published set."""
        return self.definition.images[PARTS.index(self.part)]

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes of the protocol."""
        return self.definition.axes

    @property
    def name(self) -> str:
        """The name of the source."""
        return self.source.name

    def problem(self, kind: str, file: object, sentence: str, *stems: str) -> None:
        """Add a finding that would corrupt a result."""
        self.problems.append(Finding(kind, f"{file}", sentence, self.name, stems))

    def note(self, kind: str, file: object, sentence: str) -> None:
        """Add a finding that corrupts no result."""
        self.notes.append(Finding(kind, f"{file}", sentence, self.name))

    def sound(self) -> list[Entry]:
        """Return the listed entries without a problem, beyond the limit or not."""
        bad = {stem for finding in self.problems for stem in finding.stems}
        return [entry for entry in self.listing.entries if entry.stem not in bad]

    def usable(self) -> list[Entry]:
        """Return the listed entries without a problem and within the limit of the source."""
        return [entry for entry in self.sound() if max(map(abs, self.target(entry))) <= self.source.limit]

    def target(self, entry: Entry) -> tuple[float, ...]:
        """Return the target of a sound entry."""
        return self.facts[entry.stem].target or ()


def by_content(half: Half) -> dict[tuple[str, Box | None], list[Entry]]:
    """Return the readable listed entries by the digest of their pixels and their box."""
    found = defaultdict(list)
    for entry in half.listing.entries:
        if digest := half.facts[entry.stem].digest:
            found[digest, entry.box].append(entry)
    return found


def by_group(half: Half) -> dict[str, list[Entry]]:
    """Return the listed entries by group, without images that are a group alone."""
    found = defaultdict(list)
    alone = {entry.stem for entry in half.listing.entries}
    for entry in half.listing.entries:
        if entry.group not in alone:
            found[entry.group].append(entry)
    return found
