"""Everything in a data folder that would corrupt a result: lists, files, labels, and what train and test share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from bel.data.checking.findings import (
    find_faults,
    find_leaks,
    find_ranges,
    find_remarks,
    find_sizes,
    find_twins,
    find_units,
)
from bel.data.checking.half import Half
from bel.data.checking.inspection import Facts, Inspection
from bel.data.checking.report import Report
from bel.data.prepare.build import FEW, Progress
from bel.data.prepare.crops import exif_rule
from bel.data.prepare.prepared import MOST_WORKERS, available_cores, silent
from bel.data.prepare.worker import run_jobs
from bel.data.protocols import PROTOCOLS, Protocol
from bel.data.readers.base import Entry, Listing, Source
from bel.errors import UserError

PARTS = ("train", "test")
CHUNK = 32  # images of a job

Found = list[tuple[str, Source, Listing]]  # part, source, and what a scan of it gives


def check(
    root: Path,
    protocol: Protocol | None = None,
    name: str = "",
    progress: Progress = silent,
    workers: int | None = None,
    exif: str | None = None,
) -> Report:
    """Read all that a protocol (None: every published one) finds below `root`, and report what is wrong with it.

    `root` may also be the folder of one dataset; `workers` are processes, one a core if None; `exif` turns images, by default
    as training on each protocol's usual crop does. Raises `UserError` where
    nothing is there, or a table of one's own cannot be read.
    """
    halves = detect(root, protocol, name)
    for half in halves:
        half.exif = exif or half.exif
    inspect_all(root, halves, progress, workers)
    for half in halves:
        find_faults(half)
        find_sizes(half)
        find_units(half)
        find_ranges(half)
        find_twins(half)
    for train, test in pairs(halves):
        find_leaks(train, test)
    for half in halves:
        find_remarks(half)
    return Report(root, halves)


def pairs(halves: list[Half]) -> Iterator[tuple[Half, Half]]:
    """Train and test half of each protocol that has both; a half that is alone is told so."""
    for half in halves:
        others = [other for other in halves if other.protocol == half.protocol and other is not half]
        if not others:
            text = f"the other half of protocol {half.protocol} is not here: what both share is not known"
            half.note("half a protocol", half.listing.origin, text)
        elif half.part == "train":
            yield half, others[0]


def detect(root: Path, protocol: Protocol | None, name: str) -> list[Half]:
    """The halves of protocols that are below `root`. Raises `UserError` where there are none."""
    halves, absent = [], []
    for known, candidate in ({name: protocol} if protocol else PROTOCOLS).items():
        found: Found = []
        for part in PARTS:
            source: Source = getattr(candidate, part)
            try:
                found.append((part, source, source.scanned(root)))
            except UserError as error:
                if not source.filelist:
                    raise  # a table of one's own has to be there
                absent.append(str(error).split(";")[0])
        halves += halves_of(root, known, candidate, found)
    if not halves:
        looked = "; ".join(dict.fromkeys(absent)) or "folders of datasets, but no image in them"
        raise UserError(f"nothing to check in {str(root)!r}: {looked}; give the folder that holds them, or a protocol")
    return halves


def halves_of(root: Path, name: str, protocol: Protocol, found: Found) -> list[Half]:
    """The halves of one protocol; what a list names belongs to its half, wherever a scan would put it."""
    there = Listing(
        [entry for _, _, scan in found for entry in scan.entries],
        {stem: reason for _, _, scan in found for stem, reason in scan.unusable.items()},
        root,
    )
    halves = []
    for part, source, scan in found:
        published = protocol.images[PARTS.index(part)]
        kinds, extras = (protocol.axes, protocol.pose, published), Listing([], {}, scan.origin)
        half = Half(name, part, source, *kinds, scan, extras, frozenset(stems(there)))
        half.exif = exif_rule(None, protocol.crops[0], "clean")
        take_list(half, root, scan, there)
        halves.append(half)
    listed = {stem for half in halves for stem in stems(half.listing)}
    for half, (_, _, scan) in zip(halves, found, strict=True):
        half.extras = Listing(
            [entry for entry in scan.entries if entry.stem not in listed],
            {stem: reason for stem, reason in scan.unusable.items() if stem not in listed},
            scan.origin,
        )
    return [half for half in halves if half.listing.total or half.extras.total or half.problems]


def stems(listing: Listing) -> list[str]:
    """All stems that a listing names."""
    return [*(entry.stem for entry in listing.entries), *listing.unusable]


def take_list(half: Half, root: Path, scan: Listing, there: Listing) -> None:
    """Set what belongs to a half; a faulty list is a problem, and what can be read of it counts."""
    try:
        half.listing = half.source.listed(root)
    except UserError as error:
        folders = (scan.origin, scan.origin.parent)
        path = next(
            (folder / half.source.filelist for folder in folders if (folder / half.source.filelist).exists()), None
        )
        if path is None:
            raise
        half.problem("faulty list", path, f"{error}")
        half.listing = salvaged(path, there) or scan


def salvaged(path: Path, there: Listing) -> Listing | None:
    """The images that the readable lines of a list name, each once; None where there are none."""
    try:
        lines = [line.strip() for line in path.read_bytes().decode("utf-8-sig", errors="replace").splitlines()]
    except OSError:
        return None
    entries = {entry.stem: entry for entry in there.entries}
    found = [entries[stem] for stem in dict.fromkeys(lines) if stem in entries]
    absent = {
        stem: there.unusable.get(stem, f"{path}, line {number}: {stem} does not exist")
        for number, stem in enumerate(lines, 1)
        if stem and stem not in entries
    }
    return Listing(found, absent, path) if found else None


def inspect_all(root: Path, halves: list[Half], progress: Progress, workers: int | None) -> None:
    """Fill in the facts of all entries, several processes at a time."""
    task = Inspection(tuple((half.source.read, half.source.limit, half.exif) for half in halves))
    jobs = []
    for number, half in enumerate(halves):
        entries = [*half.listing.entries, *half.extras.entries]
        jobs += [(number, entries[i : i + CHUNK]) for i in range(0, len(entries), CHUNK)]
    total = sum(len(entries) for _, entries in jobs)
    processes = 1 if total <= FEW else min(workers or available_cores(), MOST_WORKERS)
    keep = os.open(root, os.O_RDONLY)
    try:
        finished = run_jobs(task, jobs, processes, keep)
        for number, entry, facts in progress(one_by_one(finished), total):
            halves[number].facts[entry.stem] = facts
    finally:
        os.close(keep)


def one_by_one(finished: Iterable[tuple[tuple[int, list[Entry]], list[Facts]]]) -> Iterator[tuple[int, Entry, Facts]]:
    """The number of a half, an entry and its facts, from finished jobs."""
    for (number, entries), found in finished:
        for entry, facts in zip(entries, found, strict=True):
            yield number, entry, facts
