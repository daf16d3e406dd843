"""Contenders of a tuned sweep out of fold: plain values, and the table that is made of them."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from bel.run_layout import CODE_VERSION
from bel.text import axis_cells, axis_titles, beyond_of, columns, harmless
from results.analysis.folds import Contender
from results.analysis.statistics import LEVEL, paired_difference

Record = dict[str, Any]


def record(found: Sequence[Contender]) -> Record:
    """Return what the table says in plain values: facts, and a row for each contender, the best first."""
    return {"facts": facts(found), "rows": rows(found)}


def facts(found: Sequence[Contender]) -> Record:
    """Return what the numbers are reported with."""
    held, test = found[0].out_of_fold.seeds[0], found[0].tests[0]
    runs = [run for one in found for run in one.out_of_fold.runs]
    common = {
        name: " and ".join(sorted({run.data.params[name] for run in runs}))
        for name in ("protocol", "crop", "folds", "split_seed", "seed")
    }
    return common | {
        "unit": held.meaning["unit"],
        "units": {axis["name"]: axis["unit"] for axis in held.meaning["axes"]},
        "images": len(held.names),
        "groups": len(held.group_names),
        "tuned": found[0].tuned.field,
        "hold_out_groups": len(found[0].hold_out),
        "test_images": len(test.names),
        "test_groups": len(test.group_names),
        "code": ", ".join(sorted({run.data.tags[CODE_VERSION] for run in runs})),
        "beyond": beyond_of(run.data.params for run in runs),
    }


def rows(found: Sequence[Contender]) -> list[Record]:
    """Return the values of each contender."""
    first = found[0].out_of_fold
    gaps = [paired_difference(one.out_of_fold.group_errors, first.group_errors, len(found)) for one in found[1:]]
    return [
        {
            "rank": rank,
            "name": one.name,
            "decoder": one.tuned.decoder,
            "value": one.tuned.value,
            "tuning": dict(one.tuned.tuning),
            "at_end": one.tuned.at_end,
            "mae": one.out_of_fold.mae,
            "mae_not_tuned_on": one.out_of_fold.mae_without(one.hold_out) if one.hold_out else None,
            "by_axis": one.out_of_fold.by_axis,
            "geodesic": one.geodesic if first.seeds[0].meaning["pose"] else None,
            "minus_first": gap.mean if gap else None,
            "minus_first_interval": gap.interval if gap else None,
            "verdict": gap.verdict if gap else "first",
            "test_mae": fmean(one.test_maes),
            "test_mae_by_fold": one.test_maes,
            "run_ids": [run.info.run_id for run in one.out_of_fold.runs],
        }
        for rank, (one, gap) in enumerate(zip(found, [None, *gaps], strict=True), 1)
    ]


def number(value: float | None, form: str = ".3f") -> str:
    """Format a number; empty for None."""
    return "" if value is None else f"{value:{form}}"


def table_columns(found: Sequence[Contender], all_axes: bool = False) -> list[list[str]]:
    """Return the columns of the table, each with its title first: the one place where a column is added."""
    made, scale = rows(found), found[0].out_of_fold.scale
    spans = [one["minus_first_interval"] for one in made]
    axes = zip(*(axis_cells(one["by_axis"], scale, all_axes) for one in made), strict=True)
    tests = [one["test_mae_by_fold"] for one in made]
    pose = made[0]["geodesic"] is not None
    return [
        ["", *(str(one["rank"]) for one in made)],
        *([title, *(one[name] for one in made)] for title, name in (("contender", "name"), ("decoder", "decoder"))),
        ["MAE", *(number(one["mae"]) for one in made)],
        ["not tuned on", *(number(one["mae_not_tuned_on"]) for one in made)],
        *([title, *cells] for title, cells in zip(axis_titles(list(made[0]["by_axis"]), all_axes), axes, strict=True)),
        *([["geodesic", *(number(one["geodesic"]) for one in made)]] if pose else []),
        ["minus the first", *(number(one["minus_first"], "+.3f") for one in made)],
        [f"{LEVEL:.0%} interval", *("" if span is None else "{:+.3f} to {:+.3f}".format(*span) for span in spans)],
        ["", *(one["verdict"] for one in made)],
        ["test MAE", *(number(one["test_mae"]) for one in made)],
        ["of folds", *(f"{min(maes):.3f} to {max(maes):.3f}" for maes in tests)],
    ]


def caption(found: Sequence[Contender]) -> str:
    """Say what the numbers of the table travel with, and what they do not say."""
    said = facts(found)
    field, beyond = said["tuned"], said["beyond"]
    ends = ", ".join(one.name for one in found if one.tuned.at_end)
    return harmless(
        f"{said['protocol']}, crop {said['crop']}: MAE ({said['unit'] or 'own unit'}) out of fold on "
        f"{said['images']} training images, mean over their {said['groups']} groups; {said['folds']} "
        f"folds, split seed {said['split_seed']}, seed {said['seed']}, last epoch, {field} and decoder of each "
        f"contender chosen on a hold-out of {said['hold_out_groups'] or 'some'} of these groups; not tuned on: the MAE over "
        f"the others. "
        f"Differences are paired over the groups, their intervals wide enough to hold for all {len(found)} contenders at once "
        f"(Tukey's studentised range). Test: {said['test_images']} images of {said['test_groups']} groups, mean "
        f"over images, and over the folds' networks, with their range. Code {said['code']}."
        + (f" {beyond[:1].upper()}{beyond[1:]}." if beyond else "")
        + (f" Best {field} at an end of its grid, so perhaps beyond it: {ends}." if ends else "")
    )


def table_text(found: Sequence[Contender], all_axes: bool = False, table: Callable[..., list[str]] = columns) -> str:
    """Return the table for a terminal, or as another `table`."""
    lines = list(zip(*table_columns(found, all_axes), strict=True))
    return "\n".join([caption(found), "", *table(lines, left=(lines[0].index("contender"), lines[0].index("decoder")))])
