"""Findings in a whole set: its sizes, its units, the same picture or the same group twice."""

import re
from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch

from bel.data.checking.half import Half, by_content, by_group
from bel.data.checking.inspection import Fault
from bel.data.labels import FEWEST, odd_units, refuse_off_range
from bel.errors import UserError

UNIFORM = 0.9  # share of images of one size that makes another size odd; the real crops' share is 0.7
OVER_HALF_TURN = 0.1  # share of labels beyond half a turn from which the unit is doubted; 0.006 in AFLW2000
ABSENT = {" does not exist": "missing", " is a link that leads to no file": "dead link of", " is a folder": "missing"}
LABEL_FILES = (".txt", ".mat")


def find_faults(half: Half) -> None:
    """Add the faults of single files: problems of listed ones, notes on files that the list leaves out."""
    for stem, reason in half.listing.unusable.items():
        fault = absence(reason)
        half.problem(fault.kind, fault.file, fault.sentence, stem)
    for entry in half.listing.entries:
        for fault in half.facts[entry.stem].faults:
            half.problem(fault.kind, fault.file, fault.sentence, entry.stem)
    others = [absence(reason) for reason in half.extras.unusable.values()]
    others += [fault for entry in half.extras.entries for fault in half.facts[entry.stem].faults]
    for fault in others:
        half.note(f"{fault.kind}, not listed", fault.file, fault.sentence)


def absence(reason: str) -> Fault:
    """Return the fault in a listing's reason for an unusable image: of a file, or of a line of a table."""
    place, what = re.fullmatch(r"(?s)(?:(.*?, line \d+): )?(.*)", reason).groups()  # type: ignore[union-attr]
    for ending, kind in ABSENT.items():
        if what.endswith(ending):
            path = what.removesuffix(ending)
            which = "label" if path.endswith(LABEL_FILES) else "image"
            return Fault(f"{kind} {which}", path, reason)
    return Fault("not finite" if "finite number" in what else "bad row", place or what, reason)


def find_sizes(half: Half) -> None:
    """Add images of another size than the others; a whole set of another size than published is only a note."""
    sizes = {entry.stem: size for entry in half.sound() if (size := half.facts[entry.stem].size)}
    frame = half.source.frame
    if frame is None or not sizes:
        return
    counts = Counter(sizes.values())
    usual, most = counts.most_common(1)[0]
    if 2 * counts[frame] < len(sizes):
        uniform = most >= UNIFORM * len(sizes)
        which = f"{len(counts)} sizes, {size_text(min(counts))} to {size_text(max(counts))}"
        which = f"most {size_text(usual)}" if uniform else which
        text = f"{len(sizes) - counts[frame]} images are not {size_text(frame)} as published ({which}): "
        text += "already cropped: use crop frame"
        if any(half.facts[stem].face for stem in sizes):
            text += ", unless their landmarks were made at this size"
        half.note("already cropped", half.listing.origin, text)
        odd = {size for size in counts if size == frame or (uniform and differs(size, usual))}
        name_sizes(half, sizes, odd, size_text(usual) if uniform else "crops")
    else:
        name_sizes(half, sizes, set(counts) - {frame}, size_text(frame))


def name_sizes(half: Half, sizes: dict[str, tuple[int, int]], odd: set[tuple[int, int]], others: str) -> None:
    """Add a problem for each image of an odd size."""
    for entry in half.sound():
        size = sizes.get(entry.stem)
        if size in odd:
            text = f"{entry.image} is {size_text(size)}, the others are {others}: "
            text += "cropped or resized by itself; use the original"
            half.problem("odd size", entry.image, text, entry.stem)


def differs(size: tuple[int, int], usual: tuple[int, int]) -> bool:
    """Return whether a side is more than a fifth longer or shorter than usual; boxes of detectors vary by less."""
    return any(abs(side - other) > other / 5 for side, other in zip(size, usual, strict=True))


def size_text(size: tuple[int, int]) -> str:
    """Return a size in words."""
    return f"{size[0]} x {size[1]}"


def find_ranges(half: Half) -> None:
    """Add axes of which most labels are beyond the range."""
    usable = half.usable()
    if usable:
        targets = torch.tensor([half.target(entry) for entry in usable], dtype=torch.float64)
        try:
            refuse_off_range(targets, half.axes, half.listing.origin)
        except UserError as error:
            half.problem("outside the range", half.listing.origin, f"{error}")


def find_units(half: Half) -> None:
    """Add radians in place of degrees, or the other way round, by the range of the whole set."""
    targets, where = np.array([half.target(entry) for entry in half.sound()]), half.listing.origin
    if len(targets) < FEWEST:
        return
    for kind, sentence in odd_units(targets, half.axes, half.definition.pose, where):
        half.problem(kind, where, sentence)
    share = (np.abs(targets) > 180).any(1).mean()
    if half.definition.pose and share > OVER_HALF_TURN:
        text = f"{share:.0%} of the labels of {where} are beyond +-180 degrees: degrees where radians belong?"
        half.problem("degrees for radians", where, text)


def find_twins(half: Half) -> None:
    """Add pictures that are in one half twice: they count double, but leak nothing."""
    twins = [entries for entries in by_content(half).values() if len(entries) > 1]
    if twins:
        first, second = twins[0][0].image, twins[0][1].image
        unlike = sum(len({half.facts[entry.stem].target for entry in entries}) > 1 for entries in twins)
        text = f"{sum(map(len, twins))} images are {len(twins)} pictures, each more than once: {first} and {second}"
        half.note("duplicates", first, f"{text}; {unlike} of the pictures have different labels")


def find_leaks(train: Half, test: Half) -> None:
    """Add pictures and groups that are in train and in test: problems of the training images."""
    tests, taken = by_content(test), by_group(test)
    for key, entries in by_content(train).items():
        for entry in entries if key in tests else []:
            text = f"{entry.image} trains and is the same picture as {tests[key][0].image}, which tests: leave one out"
            train.problem("leak", entry.image, text, entry.stem)
    for group, entries in by_group(train).items():
        if other := taken.get(group):
            text = (
                f"group {group} is on both sides: {len(entries)} images train ({entries[0].stem}), "
                f"{len(other)} test ({other[0].stem}): give it to one"
            )
            train.problem("group on both sides", train.listing.origin, text, *(entry.stem for entry in entries))


def find_remarks(half: Half) -> None:
    """Add notes: rotations in EXIF, images that are left out or missing."""
    turned = [entry.image for entry in half.listing.entries if half.facts[entry.stem].turned]
    if turned:
        text = f"{len(turned)} images ask for a rotation in their EXIF, {turned[0]} first: they are "
        text += "read as stored" if half.exif == "ignore" else "turned upright"
        half.note("EXIF orientation", turned[0], text)
    for kind, text in remarks(half):
        half.note(kind, half.listing.origin, text)


def remarks(half: Half) -> Iterator[tuple[str, str]]:
    """Yield kind and sentence of notes on the number of images."""
    usable, sound, origin = half.usable(), half.sound(), half.listing.origin
    if half.extras.total:
        first = next(iter([*(entry.stem for entry in half.extras.entries), *half.extras.unusable]))
        yield "not listed", f"{half.extras.total} images on disk are not in {origin}, {first} first: they are not used"
    if len(usable) < len(sound):
        beyond = len(sound) - len(usable)
        yield "beyond the limit", f"{beyond} images of {origin} are beyond +-{half.source.limit:g} and left out"
    if half.published and len(usable) != half.published:
        text = f"{len(usable):,} of {half.published:,} published images: figures are not comparable"
        yield "subset", text
