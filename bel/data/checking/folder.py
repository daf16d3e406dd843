"""Check a data folder for all that would corrupt a result: lists, files, labels, and images in train and test."""

import os
from collections.abc import Iterator
from pathlib import Path

from bel.data.checking import findings
from bel.data.checking.half import Half
from bel.data.checking.inspection import Inspection
from bel.data.checking.report import Report
from bel.data.prepare.build import FEW, Progress
from bel.data.prepare.crops import exif_rule
from bel.data.prepare.prepared import MOST_WORKERS, available_cores, silent
from bel.data.prepare.worker import run_jobs
from bel.data.protocols import PARTS, PROTOCOLS, Protocol
from bel.data.readers.base import Listing
from bel.errors import UserError

CHUNK = 32  # images of a job


def check(
    root: Path,
    protocol: Protocol | None = None,
    name: str = "",
    progress: Progress = silent,
    workers: int | None = None,
    exif: str | None = None,
) -> Report:
    """Read all images of a protocol (None: of every published one) below `root`, and report what is wrong with them.

    `root` may also be the folder of one dataset; `workers` are processes, one a core if None; `exif` is by default as in
    training on the default crop of each protocol. Raises `UserError` where nothing is there, or a table cannot be read.
    """
    halves = detect(root, protocol, name)
    for half in halves:
        half.exif = exif or half.exif
    inspect_all(root, halves, progress, workers)
    for half in halves:
        findings.find_faults(half)
        findings.find_sizes(half)
        findings.find_units(half)
        findings.find_ranges(half)
        findings.find_twins(half)
    for train, test in pairs(halves):
        findings.find_leaks(train, test)
    for half in halves:
        findings.find_remarks(half)
    return Report(root, halves)


def pairs(halves: list[Half]) -> Iterator[tuple[Half, Half]]:
    """Yield the train and test half of each protocol that has both; add a note to a half without the other."""
    for half in halves:
        others = [other for other in halves if other.protocol == half.protocol and other is not half]
        if not others:
            text = f"the other half of protocol {half.protocol} is not here: what both share is not known"
            half.note("half a protocol", half.listing.origin, text)
        elif half.part == "train":
            yield half, others[0]


def detect(root: Path, protocol: Protocol | None, name: str) -> list[Half]:
    """Return the halves of protocols below `root`. Raises `UserError` where there are none."""
    halves, absent = [], []
    for known, candidate in ({name: protocol} if protocol else PROTOCOLS).items():
        scans = {}
        for part in PARTS:
            try:
                scans[part] = candidate.part(part).scanned(root)
            except UserError as error:
                if not candidate.part(part).filelist:
                    raise  # a table must be there
                absent.append(str(error).split(";")[0])
        halves += halves_of(root, known, candidate, scans)
    if not halves:
        looked = "; ".join(dict.fromkeys(absent)) or "folders of datasets, but no image in them"
        raise UserError(f"nothing to check in {str(root)!r}: {looked}; give the folder that holds them, or a protocol")
    return halves


def halves_of(root: Path, name: str, protocol: Protocol, scans: dict[str, Listing]) -> list[Half]:
    """Return the halves of one protocol; a listed image belongs to the half of its list, wherever a scan would put it."""
    there = Listing(
        [entry for scan in scans.values() for entry in scan.entries],
        {stem: reason for scan in scans.values() for stem, reason in scan.unusable.items()},
        root,
    )
    halves, exif = [], exif_rule(None, protocol.crops[0], "clean")
    for part, scan in scans.items():
        half = Half(name, protocol, part, scan, Listing([], {}, scan.origin), frozenset(stems(there)), exif)
        take_list(half, root, scan, there)
        halves.append(half)
    listed = {stem for half in halves for stem in stems(half.listing)}
    for half, scan in zip(halves, scans.values(), strict=True):
        half.extras = Listing(
            [entry for entry in scan.entries if entry.stem not in listed],
            {stem: reason for stem, reason in scan.unusable.items() if stem not in listed},
            scan.origin,
        )
    return [half for half in halves if half.listing.total or half.extras.total or half.problems]


def stems(listing: Listing) -> list[str]:
    """Return all stems of a listing."""
    return [*(entry.stem for entry in listing.entries), *listing.unusable]


def take_list(half: Half, root: Path, scan: Listing, there: Listing) -> None:
    """Set the listing of a half; a faulty list is a problem, and its readable lines are used."""
    try:
        half.listing = half.source.listed(root)
    except UserError as error:
        paths = [folder / half.source.filelist for folder in (scan.origin, scan.origin.parent)]
        path = next((path for path in paths if path.exists()), None)
        if path is None:
            raise
        half.problem("faulty list", path, f"{error}")
        half.listing = salvaged(path, there) or scan


def salvaged(path: Path, there: Listing) -> Listing | None:
    """Return the images in the readable lines of a list, each once; None where there are none."""
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
    """Fill in the facts of all entries, by several processes."""
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
        results = ((job[0], *pair) for job, found in finished for pair in zip(job[1], found, strict=True))
        for number, entry, facts in progress(results, total):
            halves[number].facts[entry.stem] = facts
    finally:
        os.close(keep)
