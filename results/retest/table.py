"""The table of a re-test: the errors on the test split by decoder and axis."""

from bel.data.labels import clamped_shares
from bel.text import axis_cells, axis_titles, beyond_range, columns, short
from bel.training.evaluate import PER_CENT, Evaluation, unit, width


def print_table(evaluation: Evaluation, median: Evaluation | None, all_axes: bool = False) -> None:
    """MAE of the test split: a row a decoder, the headline first, then the constant to beat; a column an axis, of few.

    Without the constant, its row and the ratio to it are left out; the errors of a rotation are a pose's alone.
    """
    images = f"{len(evaluation.names)} images of {len(set(evaluation.groups))} groups, center crop"
    units = ", ".join(dict.fromkeys(axis.unit or "own unit" for axis in evaluation.axes))
    if unit(evaluation.axes) == PER_CENT:
        units += f"; mean: {PER_CENT}"
    over_groups = f"{evaluation.headline}, mean over groups: {short(evaluation.mae_groups(evaluation.headline))}"
    print(f"\ntest MAE ({units}) on {images}; {over_groups}")
    scale = {axis.name: width(axis, evaluation.axes) / axis.span for axis in evaluation.axes}
    lines = [[f"{'decoder':<16}", *(f"{title:>7}" for title in (*axis_titles(list(scale), all_axes), "mean"))]]
    rows = [(name, evaluation, name) for name in evaluation.predictions]
    if median is not None:
        rows.append(("constant median", median, "median"))
    for title, read, decoder in rows:
        errors = dict(zip(scale, read.errors(decoder).mean(0).tolist(), strict=True))
        lines.append([title, *axis_cells(errors, scale, all_axes), short(read.mae(decoder))])
    print("\n".join(columns(lines)))
    if median is not None or evaluation.pose:
        print()
    if median is not None:
        constant = median.mae("median")
        share = f"{evaluation.mae(evaluation.headline) / constant:.3f}" if constant else "no ratio, its error is 0"
        print(f"{evaluation.headline} over constant median: {share}")
    if evaluation.pose:
        errors = evaluation.rotation_errors(evaluation.headline)
        angles = ", ".join(
            f"{name.removeprefix('column_')} {errors[name]:.3f}" for name in errors if name != "geodesic"
        )
        print(f"rotation of {evaluation.headline}: geodesic {errors['geodesic']:.3f}; columns {angles} (deg)")
    if beyond := beyond_range({"test": clamped_shares(evaluation.targets, evaluation.axes)}):
        print(f"note: {beyond}")
