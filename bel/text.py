"""Texts that several rooms print. Imports no torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Container, Iterable, Mapping, Sequence

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


SHOWN = 8  # axes, above which a table has the worst and the best one
ALL_AXES = f"a column for each axis, where there are more than {SHOWN}, too"  # of the option --all-axes


def shortened(axes: Sequence[str], all_axes: bool = False) -> bool:
    """Whether a table shows the worst and the best of some axes, and not each."""
    return len(axes) > SHOWN and not all_axes


def axis_titles(axes: Sequence[str], all_axes: bool = False) -> list[str]:
    """Titles of the columns that a table has for some axes."""
    return ["worst axis", "best axis"] if shortened(axes, all_axes) else list(axes)


def axis_cells(errors: Mapping[str, float], scale: Mapping[str, float], all_axes: bool = False) -> list[str]:
    """Cells below `axis_titles`: errors by axis in units, or the worst and the best one, as `scale` makes them comparable."""
    if not shortened(list(errors), all_axes):
        return [short(error) for error in errors.values()]
    ordered = sorted(errors, key=lambda axis: errors[axis] * scale.get(axis, 1.0))
    return [f"{short(errors[axis] * scale.get(axis, 1.0))} {axis}" for axis in (ordered[-1], ordered[0])]


def short(value: float) -> str:
    """A number that leaves the columns of a table in line; empty for what is no number."""
    return "" if math.isnan(value) else f"{value:.3f}" if abs(value) < 1e6 else f"{value:.1e}"


def columns(lines: Sequence[Sequence[str]], left: Container[int] = (0,)) -> list[str]:
    """Lines of cells, of which the first are titles, in columns: those numbered `left` to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            f"{cell:<{width}}" if i in left else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def listed(names: Iterable[str], most: int = SHOWN, between: str = ", ") -> str:
    """Names in a sentence, of many the first ones and how many more there are."""
    found = list(names)
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return between.join(found[:most]) + more


LONG = 40  # characters of a value in a name


def in_a_word(value: object) -> str:
    """A value in a name: a mapping by its own name, a long text by its ends, both with a digest, everything else as it is."""
    text = json.dumps(value) if isinstance(value, Mapping) else str(value)
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]
    if isinstance(value, Mapping):
        return f"{value.get('name', '')}~{digest}"
    return text if len(text) <= LONG else f"{text[:14]}..{text[-14:]}~{digest}"
