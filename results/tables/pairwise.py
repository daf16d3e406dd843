"""A comparison as text for a terminal, of about 100 columns."""

from collections.abc import Iterator, Sequence
from typing import Any

from bel.text import columns, harmless, shortened
from results.analysis.statistics import LEAST, LEVEL

GROUPS, BITS = 20, 5  # rows of groups, and worst bits
ENOUGH = 10  # images of a range of targets, below which it is not called the worst, unless all have fewer
Result = dict[str, Any]


def text(result: Result, all_axes: bool = False) -> str:
    """Return all parts; of many axes, only the first contender's worst and best one."""
    if shortened(list(result["facts"]["units"]), all_axes):
        result = with_two_axes(result)
    makers = (heading, errors, differences, by_angle, by_group, bits, agreement)
    return "\n\n".join("\n".join(lines) for maker in makers if (lines := list(maker(result))))


def with_two_axes(result: Result) -> Result:
    """Return a result with only the first contender's worst and best axis."""
    errors, widths = result["contenders"][0]["by_axis"], result["facts"]["widths"]
    ordered = sorted(errors, key=lambda axis: errors[axis] * widths[axis])

    def two(by_axis: Result) -> Result:
        return {axis: by_axis[axis] for axis in (ordered[-1], ordered[0])}

    note = f"of {len(errors)} axes the worst and the best of {letters(result)[0]} are shown: --all-axes shows all"
    return result | {
        "facts": result["facts"] | {"units": two(result["facts"]["units"]), "axes": note},
        "differences": [one | {"by_axis": two(one["by_axis"])} for one in result["differences"]],
        "by_angle": two(result["by_angle"]),
        "bits": two(result["bits"]),
        "agreement": [
            one | {"correlation": two(one["correlation"]), "apart": two(one["apart"])} for one in result["agreement"]
        ],
    }


def verdict(result: Result) -> str:
    """Return a line for each contender after the first: its difference from that one, its interval, and what follows."""
    unit, names = result["facts"]["unit"], {one["letter"]: one["name"] for one in result["contenders"]}
    first = names[letters(result)[0]]
    lines = []
    for one in result["differences"]:
        interval = f"{LEVEL:.0%} interval {span(one['interval'], '+.3f')}" if one["interval"] else "no interval"
        change = " ".join(filter(None, (number(one["mean"], "+.3f"), unit)))
        lines.append(harmless(f"{names[one['letter']]} minus {first}: {change}, {interval}: {one['verdict']}"))
    return "\n".join(lines)


def number(value: float | None, form: str = ".3f") -> str:
    """Format a number; a dash for None."""
    return "-" if value is None else f"{value:{form}}"


def span(interval: Sequence[float] | None, form: str = ".3f") -> str:
    """Format an interval; a dash for None."""
    return "-" if interval is None else f"{interval[0]:{form}} to {interval[1]:{form}}"


def letters(result: Result) -> list[str]:
    """The letters of the contenders."""
    return [one["letter"] for one in result["contenders"]]


def heading(result: Result) -> Iterator[str]:
    """Say what is compared, on which images, and what the numbers are reported with."""
    facts = result["facts"]
    place = "out of fold" if facts["out_of_fold"] else facts["heading"].removesuffix(" MAE")
    yield (
        f"{facts['protocol']}, crop {facts['crop']}: {place}, {facts['images']} images of {facts['groups']} groups, "
        f"{'trained on ' if facts['split'] == 'test' else ''}split {facts['split_hash']}; code {facts['code']}"
    )
    for note in (facts["beyond"], facts.get("axes")):
        if note:
            yield f"note: {note}"
    yield ""
    for one in result["contenders"]:
        ids = one["run_ids"]
        runs = f"run {ids[0]}" if len(ids) == 1 else f"{len(ids)} runs, {one['seeds']} seeds"
        stopped = ", early stopping ended it" if one["stopped_early"] else ""
        yield harmless(f"{one['letter']}  {one['name']}: {runs}")
        yield f"   decoder {one['decoder']}; {one['selection']}{stopped}"
    if len({one["selection"] for one in result["contenders"]}) > 1:
        yield "note: their epochs were selected differently, so that a difference may be of the selection"


def errors(result: Result) -> Iterator[str]:
    """Make the table of mean errors by axis."""
    unit, units = result["facts"]["unit"], result["facts"]["units"]
    own = unit or "own unit"
    yield f"{result['facts']['heading']}, mean over groups ({own}; by image: mean over images)"
    axes = [f"{axis} ({name})" if name != unit and name else axis for axis, name in units.items()]
    rows = [
        [
            one["letter"],
            *(number(one["by_axis"][axis]) for axis in units),
            number(one["mae"]),
            span(one["interval"]),
            number(one["mae_by_image"]),
        ]
        for one in result["contenders"]
    ]
    yield from columns([["", *axes, "mean", f"{LEVEL:.0%} interval", "by image"], *rows])


def differences(result: Result) -> Iterator[str]:
    """Make the table of paired differences from the first."""
    groups = result["facts"]["groups"]
    few = f"; fewer than {LEAST} groups cannot tell" if groups < LEAST else ""
    at_once = f", intervals for all {len(letters(result))} at once" if len(letters(result)) > 2 else ""
    yield f"difference from {letters(result)[0]}, paired over {groups} groups{at_once}{few}"
    rows = []
    for one in result["differences"]:
        parts = {"mean": one, **one["by_axis"]}
        for i, (axis, value) in enumerate(parts.items()):
            name = one["letter"] if i == 0 else ""
            rows.append([name, axis, value["verdict"], number(value["mean"], "+.3f"), span(value["interval"], "+.3f")])
    yield from columns([["", "axis", "verdict", "difference", f"{LEVEL:.0%} interval"], *rows], left=range(3))


def by_angle(result: Result) -> Iterator[str]:
    """Make a table for each axis."""
    yield f"{result['facts']['heading']} by the target, mean over images"
    for axis, bins in result["by_angle"].items():
        rows = [[place(b), str(b["images"]), *map(number, b["mae"])] for b in bins]
        yield from columns([[axis, "images", *letters(result)], *rows])


def place(part: Result) -> str:
    """The edges of a bin."""
    return f"{part['from']:g} to {part['to']:g}"


def by_group(result: Result) -> Iterator[str]:
    """Make the table of the groups with the largest differences."""
    groups = result["by_group"]
    shown = groups[:GROUPS]
    more = f"; the {GROUPS} of {len(groups)} with the largest" if len(groups) > len(shown) else ""
    yield f"{result['facts']['heading']} by group, the largest difference from {letters(result)[0]} first{more}"
    rows = []
    for one in shown:
        gaps = [None if None in (m, one["mae"][0]) else m - one["mae"][0] for m in one["mae"][1:]]
        rows.append(
            [one["group"], str(one["images"]), *map(number, one["mae"]), *(number(gap, "+.3f") for gap in gaps)]
        )
    first, *others = letters(result)
    yield from columns([["group", "images", first, *others, *(f"{other} - {first}" for other in others)], *rows])


def bits(result: Result) -> Iterator[str]:
    """Make the table of wrong bits, for contenders with bits."""
    if not any(result["bits"].values()):
        return
    yield "wrong bits in per cent of all; the worst bits (counted from 0), and the worst range of targets"
    rows = []
    for axis, contenders in result["bits"].items():
        for i, one in enumerate(contenders):
            worst = sorted(enumerate(one["by_bit"]), key=lambda pair: -pair[1])[:BITS]
            part = max(one["by_angle"], key=lambda part: (part["images"] >= ENOUGH, part["mean"]))
            low, high = part["levels"]
            rows.append(
                [
                    "" if i else axis,
                    one["letter"],
                    f"{len(one['by_bit'])} bits",
                    f"{100 * one['mean']:.1f}",
                    ", ".join(f"{bit}: {100 * rate:.0f}" for bit, rate in worst),
                    f"{place(part)} ({low}-{high}): {100 * part['mean']:.0f}",
                ]
            )
    yield from columns([["", "", "code", "wrong", "worst bits", "worst range (levels)"], *rows], left=range(3))


def agreement(result: Result) -> Iterator[str]:
    """Say how far the errors of each two agree."""
    yield "agreement over images: correlation of signed errors (r), mean distance of the predictions (apart)"
    pairs, units = result["agreement"], result["facts"]["units"]
    rows = [
        [
            " ".join(one["letters"]),
            *(number(one["correlation"][axis], "+.2f") for axis in units),
            *(number(one["apart"][axis]) for axis in units),
        ]
        for one in pairs
    ]
    yield from columns([["", *(f"{axis} r" for axis in units), *(f"{axis} apart" for axis in units)], *rows])
    if "within_5_deg" in pairs[0]:
        yield "per cent of images within 5 deg on every axis"
        for one in pairs:
            shares = ", ".join(f"{name} {100 * share:.1f}" for name, share in one["within_5_deg"].items())
            yield f"{' '.join(one['letters'])}  {shares}"
