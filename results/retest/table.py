"""The table of a re-test: the errors on the test split by decoder and axis."""

from collections.abc import Iterator
from typing import Any

from bel.data.labels import clamped_shares
from bel.text import axis_cells, axis_titles, beyond_range, columns, short
from bel.training.evaluate import PER_CENT, Evaluation, unit, width


def values_of(evaluation: Evaluation, median: Evaluation | None) -> dict[str, Any]:
    """Return what the table of a re-test says: errors by decoder, the headline first, and by axis in units."""
    axes, headline = evaluation.axes, evaluation.headline
    constant = None if median is None else errors_of(median, "median")
    return {
        "unit": unit(axes),
        "units": {axis.name: axis.unit for axis in axes},
        "images": len(evaluation.names),
        "groups": len(set(evaluation.groups)),
        "decoder": headline,
        "mae": evaluation.mae(headline),
        "mae_groups": evaluation.mae_groups(headline),
        "by_decoder": {name: errors_of(evaluation, name) for name in evaluation.predictions},
        "constant_median": constant,
        "over_constant_median": evaluation.mae(headline) / constant["mae"] if constant and constant["mae"] else None,
        "rotation": evaluation.rotation_errors(headline) if evaluation.pose else None,
        "beyond": beyond_range({"test": clamped_shares(evaluation.targets, axes)}),
    }


def errors_of(evaluation: Evaluation, decoder: str) -> dict[str, Any]:
    """Return the mean error of a decoder over images, and by axis."""
    names = [axis.name for axis in evaluation.axes]
    by_axis = dict(zip(names, evaluation.errors(decoder).mean(0).tolist(), strict=True))
    return {"mae": evaluation.mae(decoder), "by_axis": by_axis}


def print_table(evaluation: Evaluation, median: Evaluation | None, all_axes: bool = False) -> dict[str, Any]:
    """MAE of the test split: a row a decoder, the headline first, then the constant to beat; a column an axis, of few.

    Without the constant, its row and the ratio to it are left out; the errors of a rotation are a pose's alone. Returns the
    values.
    """
    found = values_of(evaluation, median)
    units = ", ".join(dict.fromkeys(name or "own unit" for name in found["units"].values()))
    if found["unit"] == PER_CENT:
        units += f"; mean: {PER_CENT}"
    headline, constant = found["decoder"], found["constant_median"]
    print(
        f"\ntest MAE ({units}) on {found['images']} images of {found['groups']} groups, center crop; "
        f"{headline}, mean over groups: {short(found['mae_groups'])}"
    )
    scale = {axis.name: width(axis, evaluation.axes) / axis.span for axis in evaluation.axes}
    lines = [[f"{'decoder':<16}", *(f"{title:>7}" for title in (*axis_titles(list(scale), all_axes), "mean"))]]
    rows = found["by_decoder"] | ({} if constant is None else {"constant median": constant})
    for title, one in rows.items():
        lines.append([title, *axis_cells(one["by_axis"], scale, all_axes), short(one["mae"])])
    print("\n".join(columns(lines)))
    print("".join(f"{line}\n" for line in remarks(found)), end="")
    return found


def remarks(found: dict[str, Any]) -> Iterator[str]:
    """Yield the lines below the table."""
    headline, rotation = found["decoder"], found["rotation"]
    if found["constant_median"] is not None or rotation is not None:
        yield ""
    if found["constant_median"] is not None:
        share = found["over_constant_median"]
        yield f"{headline} over constant median: {'no ratio, its error is 0' if share is None else f'{share:.3f}'}"
    if rotation is not None:
        angles = ", ".join(
            f"{name.removeprefix('column_')} {error:.3f}" for name, error in rotation.items() if name != "geodesic"
        )
        yield f"rotation of {headline}: geodesic {rotation['geodesic']:.3f}; columns {angles} (deg)"
    if found["beyond"]:
        yield f"note: {found['beyond']}"
