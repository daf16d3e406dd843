"""The contract of a reader: images with groups, labels that repeat and fit the axes, no group on both sides."""

import pickle
from pathlib import Path

import numpy as np

from bel.data.images import decoded
from bel.data.loading import refuse_leak
from bel.data.protocols import PARTS, PROTOCOLS
from bel.data.readers.base import Listing

MOST = 50  # entries of each part that are read


def check_reader(name: str, data_root: Path) -> None:
    """Check a reader by the name of its protocol, on data in a folder. Raises `UserError` where the data are not right."""
    protocol = PROTOCOLS[name]
    names = [axis.name for axis in protocol.axes]
    assert names and len(set(names)) == len(names), f"axes of {name} must have different names, got {names}"
    listings = {part: check_part(name, part, data_root) for part in PARTS}
    refuse_leak(listings["train"].entries, listings["test"].entries, data_root)


def check_part(name: str, part: str, data_root: Path) -> Listing:
    """Check the train or the test part of a protocol; return its listing."""
    protocol = PROTOCOLS[name]
    source = protocol.part(part)
    pickle.loads(pickle.dumps(source))  # for the processes that prepare images
    listing, scanned = source.listed(data_root), source.scanned(data_root)
    stems = [entry.stem for entry in listing.entries]
    assert stems, f"{name} lists no usable image to {part} in {data_root}: {listing.unusable}"
    assert len(set(stems)) == len(stems), f"{name} lists an image to {part} twice"
    assert {entry.stem for entry in scanned.entries} >= set(stems), f"{name} lists images to {part} that no scan finds"
    assert source.listed(data_root) == listing, f"{name} lists other images to {part} when it is called again"
    low, high = (
        np.array([bound(axis) for axis in protocol.axes]) for bound in (lambda a: a.low, lambda a: a.low + a.span)
    )
    inside = []
    for entry in listing.entries[:: -(-len(stems) // MOST)]:
        assert entry.group, f"{entry.stem} of {name} has no group"
        decoded(entry.image, "apply")
        target = source.read(entry).target
        assert target.dtype == np.float64 and target.shape == low.shape, (
            f"{entry.stem}: target must be float64 {low.shape}"
        )
        assert np.isfinite(target).all(), f"{entry.stem}: the target {target} is not finite"
        assert (source.read(entry).target == target).all(), f"{entry.stem}: the target is another one when read again"
        inside.append(((low <= target) & (target <= high)).all())
    assert np.mean(inside) > 0.5, f"most targets of {name} to {part} are beyond the ranges of its axes"
    return listing
