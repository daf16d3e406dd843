"""The predictions of an evaluation, image by image: a Parquet file, read and written without torch or MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow
from numpy.typing import NDArray
from pyarrow import parquet

from bel.angles import differences, rotation_angles
from bel.data.groups import group_means
from bel.errors import UserError, sentence
from bel.run_layout import MEANING

if TYPE_CHECKING:
    from bel.training.evaluate import Evaluation

MOST_ROWS, MOST_BITS = 5_000_000, 10_000  # of a file, and of an axis
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """Images with their groups, and by kind (`target`, a decoder, `std`, `pit`) values (n, axes) in units.

    `levels` (n, axes) are those of the targets; `wrong_bits` by axis says which bits (n, bits) were not the code's.
    """

    names: NDArray[np.str_]
    groups: NDArray[np.str_]
    values: Mapping[str, Floats]
    levels: NDArray[np.int64]
    wrong_bits: Mapping[str, NDArray[np.bool_]]
    meaning: Mapping[str, Any]

    @property
    def axes(self) -> list[str]:
        """Names of the axes."""
        return [axis["name"] for axis in self.meaning["axes"]]

    @property
    def decoders(self) -> list[str]:
        """Names of the decoders, the headline first."""
        return list(self.meaning["decoders"])

    def errors(self, decoder: str | None = None) -> Floats:
        """Absolute errors (n, axes) in units, of the headline unless another decoder is named."""
        return np.abs(self.differences(decoder))

    @property
    def periods(self) -> list[float | None]:
        """The period of each axis; None where it does not wrap, as in files of earlier versions."""
        return [axis.get("period") for axis in self.meaning["axes"]]

    def differences(self, decoder: str | None = None) -> Floats:
        """Predictions minus targets (n, axes) in units, the shorter way round on an axis with a period."""
        return differences(self.values[decoder or self.decoders[0]], self.values["target"], self.periods)

    def mean_errors(self, decoder: str | None = None) -> Floats:
        """Absolute errors (n,) over all axes, in the unit of the headline error."""
        widths = np.array([axis["width"] for axis in self.meaning["axes"]])
        return (self.errors(decoder) * widths).mean(1)

    def errors_by_decoder(self, over_images: bool = False) -> dict[str, float]:
        """Return the mean of `mean_errors` by decoder, over groups, each counted once, or over images, the headline first."""
        errors = {decoder: self.mean_errors(decoder) for decoder in self.decoders}
        return {decoder: float((e if over_images else self.by_group(e)).mean()) for decoder, e in errors.items()}

    def geodesic(self, decoder: str | None = None) -> Floats:
        """Return the angles (n,) in degrees between predicted and true rotations of a pose."""
        order = [self.axes.index(name) for name in ("yaw", "pitch", "roll")]
        return rotation_angles(self.values[decoder or self.decoders[0]][:, order], self.values["target"][:, order])[0]

    @cached_property
    def group_names(self) -> NDArray[np.str_]:
        """The groups (groups,), in order."""
        return np.unique(self.groups)

    def by_group(self, values: Floats) -> Floats:
        """Values of images (n, ...) -> means over the images of each group (groups, ...)."""
        return group_means(values, self.groups)

    def take(self, rows: NDArray[np.intp]) -> Predictions:
        """Return some of the images, in the order of `rows`."""
        return combined([self], lambda arrays: arrays[0][rows])


def write(evaluation: Evaluation, path: Path) -> None:
    """Write an evaluation as trials write theirs: columns as Parquet, and as JSON what they mean."""
    table = pyarrow.table(evaluation.columns(), metadata={MEANING: json.dumps(evaluation.meaning())})
    parquet.write_table(table, path, compression="zstd")


def read(path: Path, bits: bool = True) -> Predictions:
    """Read a file; without wrong bits in a fraction of the time. Raises `UserError` for a file of another kind."""
    try:
        with parquet.ParquetFile(path) as file:
            if (rows := file.metadata.num_rows) > MOST_ROWS:  # equal ones take no room in a file
                raise ValueError(f"it has {rows} rows, more than {MOST_ROWS}")
            meaning = checked(json.loads(file.schema_arrow.metadata[MEANING.encode()]))
            wanted = [name for name in file.schema_arrow.names if bits or not name.startswith("wrong_bits_")]
            return from_table(file.read(columns=wanted), meaning)
    except Exception as error:  # pyarrow, json and numpy raise a dozen kinds on foreign and damaged files
        raise UserError(f"{path} holds no predictions of ours: {sentence(error)}") from error


def checked(meaning: Any) -> dict[str, Any]:
    """Return what a file says of its columns. Raises `ValueError` where that is not as `Evaluation.meaning` gives it."""
    axes, decoders, bits = meaning["axes"], meaning["decoders"], meaning["bits"]
    fits = all(isinstance(axis[name], str) for axis in axes for name in ("name", "unit"))
    fits = fits and all(isinstance(axis["width"], float | int) for axis in axes)
    periods = [axis["period"] for axis in axes if "period" in axis]
    fits = fits and all(isinstance(period, float | int) and 0 < period < np.inf for period in periods)
    fits = fits and all(isinstance(name, str) for name in decoders) and isinstance(meaning["unit"], str)
    fits = fits and isinstance(meaning["pose"], bool) and all(0 < count <= MOST_BITS for count in bits.values())
    if not (fits and axes and decoders):
        raise ValueError("what its columns mean is not said as it should be")
    return dict(meaning)


def from_table(table: Any, meaning: dict[str, Any]) -> Predictions:
    """Return the arrays of a table. Raises `ValueError` for one with empty cells."""
    axes = [axis["name"] for axis in meaning["axes"]]

    def columns(kind: str) -> Floats:
        return np.stack([table[f"{kind}_{axis}"].to_numpy() for axis in axes], -1).astype(
            np.float64, casting="same_kind"
        )

    if any(column.null_count for column in table.columns):
        raise ValueError("it has empty cells")
    more = [kind for kind in ("std", "pit") if f"{kind}_{axes[0]}" in table.column_names]
    kinds = ["target", *meaning["decoders"], *more]
    wrong = {}
    for axis, count in meaning["bits"].items():
        if (name := f"wrong_bits_{axis}") in table.column_names:
            packed = np.frombuffer(b"".join(table[name].to_pylist()), np.uint8).reshape(len(table), -(-count // 8))
            wrong[axis] = np.unpackbits(packed, axis=1, count=count).astype(bool)
    return Predictions(
        names=table["name"].to_numpy(zero_copy_only=False).astype(str),
        groups=table["group"].to_numpy(zero_copy_only=False).astype(str),
        values={kind: columns(kind) for kind in kinds},
        levels=columns("level").astype(np.int64),
        wrong_bits=wrong,
        meaning=meaning,
    )


def concatenated(parts: Sequence[Predictions]) -> Predictions:
    """Join predictions of different images. Raises `UserError` where an image is in two of them."""
    whole = combined(parts, np.concatenate)
    if len(set(whole.names)) < len(whole.names):
        raise UserError("the folds hold an image twice: they are not of one sweep")
    return whole


def combined(parts: Sequence[Predictions], join: Callable[[list[NDArray[Any]]], NDArray[Any]]) -> Predictions:
    """Make predictions of others: every array is `join` of theirs, each with a row an image."""
    first = parts[0]
    return replace(
        first,
        names=join([part.names for part in parts]),
        groups=join([part.groups for part in parts]),
        values={kind: join([part.values[kind] for part in parts]) for kind in first.values},
        levels=join([part.levels for part in parts]),
        wrong_bits={name: join([part.wrong_bits[name] for part in parts]) for name in first.wrong_bits},
    )
