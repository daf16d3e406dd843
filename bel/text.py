"""Texts that several rooms print. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

FACTS = {"training": "clamped_", "selection": "val_clamped_"}  # how the facts of a run that say a share by axis begin
FEW = 3  # axes that a sentence names


def beyond_range(shares: Mapping[str, Mapping[str, float]]) -> str:
    """What is said of labels beyond the range of their axis, given shares by axis of each part; empty where all are 0."""
    axes = dict.fromkeys(axis for part in shares.values() for axis in part)
    worst = {axis: max(part.get(axis, 0.0) for part in shares.values()) for axis in axes}
    found = sorted((axis for axis in axes if worst[axis]), key=lambda axis: -worst[axis])
    if not found:
        return ""
    said = [f"{axis} {', '.join(f'{part.get(axis, 0):.3g}' for part in in_per_cent(shares))}" for axis in found[:FEW]]
    more = [f"and {len(found) - FEW} more axes"] if len(found) > FEW else []
    return (
        f"labels beyond the range of their axis (% of {', '.join(shares)} images): {'; '.join(said + more)}; a head of "
        "levels takes them for the first or the last one, errors are measured against the labels as they are"
    )


def in_per_cent(shares: Mapping[str, Mapping[str, float]]) -> list[dict[str, float]]:
    """The shares of each part in per cent."""
    return [{axis: 100 * share for axis, share in part.items()} for part in shares.values()]


def beyond_of(facts: Iterable[Mapping[str, str]]) -> str:
    """`beyond_range` of what runs trained and selected on: by axis the largest share among them."""
    shares: dict[str, dict[str, float]] = {}
    for values in facts:
        for part, start in FACTS.items():
            for name in (name for name in values if name.startswith(start)):
                found, axis = shares.setdefault(part, {}), name.removeprefix(start)
                found[axis] = max(found.get(axis, 0.0), float(values[name]))
    return beyond_range(shares)
