"""The table of a re-test: the errors on the test split by decoder and axis."""

from __future__ import annotations

from bel.data.labels import clamped_shares
from bel.evaluate import PER_CENT, Evaluation, unit
from bel.text import beyond_range


def print_table(evaluation: Evaluation, median: Evaluation | None) -> None:
    """MAE of the test split: a row a decoder, the headline first, then the constant to beat; a column an axis.

    Without the constant, its row and the ratio to it are left out; the errors of a rotation are a pose's alone.
    """
    images = f"{len(evaluation.names)} images of {len(set(evaluation.groups))} groups, center crop"
    units = ", ".join(dict.fromkeys(axis.unit or "own unit" for axis in evaluation.axes))
    if unit(evaluation.axes) == PER_CENT:
        units += f"; mean: {PER_CENT}"
    print(f"\ntest MAE ({units}) on {images}")
    column = max(9, *(len(axis.name) + 2 for axis in evaluation.axes))
    print(f"{'decoder':<18}" + "".join(f"{axis.name:>{column}}" for axis in evaluation.axes) + f"{'mean':>{column}}")
    rows = [(name, evaluation, name) for name in evaluation.predictions]
    if median is not None:
        rows.append(("constant median", median, "median"))
    for title, read, decoder in rows:
        values = [*read.errors(decoder).mean(0).tolist(), read.mae(decoder)]
        print(f"{title:<18}" + "".join(f"{value:{column}.3f}" for value in values))
    if median is not None or evaluation.pose:
        print()
    if median is not None:
        constant = median.mae("median")
        share = f"{evaluation.mae(evaluation.headline) / constant:.3f}" if constant else "no ratio, its error is 0"
        print(f"{evaluation.headline} over constant median: {share}")
    if evaluation.pose:
        errors = evaluation.rotation_errors(evaluation.headline)
        columns = ", ".join(
            f"{name.removeprefix('column_')} {errors[name]:.3f}" for name in errors if name != "geodesic"
        )
        print(f"rotation of {evaluation.headline}: geodesic {errors['geodesic']:.3f}; columns {columns} (deg)")
    if beyond := beyond_range({"test": clamped_shares(evaluation.targets, evaluation.axes)}):
        print(f"note: {beyond}")
