"""Your own data: a CSV with an image path and any number of continuous targets on every row, declared in a sweep file."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bel.data.groups import holdout
from bel.data.readers.base import Box, Entry, Label, Listing, NoImagesError, Source, absent
from bel.data.readers.cells import read_table, with_points
from bel.data.readers.table_spec import TableSpec
from bel.errors import UserError, real


@dataclass(frozen=True)
class Row:
    """A row of a table: number of its line, unique stem, group (empty where it has none), cells by column."""

    line: int
    stem: str
    group: str
    cells: Mapping[str, str]


def table_source(spec: TableSpec, part: str) -> Source:
    """Return the source of a part, train or test, of a table, which is list and scan at once."""
    names = partial(listed, spec=spec, part=part)
    return Source(f"csv_{part}", names, names, read)


def read(entry: Entry) -> Label:
    """Return the target that the table gives."""
    return Label(np.array(entry.target, dtype=np.float64))


def listed(data_root: Path, spec: TableSpec, part: str) -> Listing:
    """Return the images of a part. Raises `UserError` for a file that is no table with the columns of the spec."""
    path = data_root / os.path.expanduser((spec.test if part == "test" else None) or spec.train)
    rows = read_rows(path, spec)
    refuse_two_groups(path, rows, spec)
    if spec.test is None:
        rows = draw(path, rows, spec, part)
    entries, unusable = [], {}
    lines: dict[tuple[Path, Box | None], int] = {}
    for row in rows:
        try:
            entry = entry_of(path, row, spec)
            first = lines.setdefault((Path(os.path.normpath(entry.image)), entry.box), row.line)
            if first != row.line:
                raise ValueError(f"it repeats line {first}, of the same {'image and box' if spec.box else 'image'}")
            entries.append(entry)
        except ValueError as reason:
            unusable[row.stem] = f"{path}, line {row.line}: {reason}"
    return Listing(entries, unusable, path)


def refuse_two_groups(path: Path, rows: list[Row], spec: TableSpec) -> None:
    """Raise `UserError` where the rows of one image are of different groups: a split would divide it."""
    groups: dict[str, Row] = {}
    for row in [row for row in rows if row.group and row.cells[spec.image]]:
        first = groups.setdefault(os.path.normpath(row.cells[spec.image]), row)
        if first.group != row.group:
            raise UserError(
                f"{path}: {row.cells[spec.image]} is of group {first.group!r} in line {first.line} and of {row.group!r} in "
                f"line {row.line}: an image belongs to one group, or choose another group column"
            )


def draw(path: Path, rows: list[Row], spec: TableSpec, part: str) -> list[Row]:
    """Return the rows of a part where the test part is drawn by group.

    Unusable rows are drawn too, so that a missing file moves no other; rows without a group belong to train. Raises
    `UserError` where all rows are of one group.
    """
    assert spec.test_fraction is not None and spec.test_seed is not None
    grouped = [row for row in rows if row.group]
    groups = [row.group for row in grouped]
    if len(set(groups)) < 2:
        raise UserError(
            f"a test part is drawn from at least 2 groups, {path} has {len(set(groups))} in column "
            f"{spec.group or spec.image!r}: give a test file (protocol.test) or another group column"
        )
    mask = holdout(groups, spec.test_fraction, spec.test_seed)
    held_out = {group for group, held in zip(groups, mask.tolist(), strict=True) if held}
    return [row for row in rows if (row.group in held_out) == (part == "test")]


def entry_of(path: Path, row: Row, spec: TableSpec) -> Entry:
    """Return the entry of a row of the table at `path`. Raises `ValueError` with the reason where it is unusable."""
    if not row.cells[spec.image]:
        raise ValueError(f"column {spec.image!r}, the image, is empty")
    if not row.group:
        raise ValueError(f"column {spec.group!r}, the group, is empty")
    image = path.parent / row.cells[spec.image]
    try:
        reason = None if image.is_file() else absent(image)
    except OSError as error:
        reason = f"{image} cannot be read: {error.strerror}"
    if reason:
        raise ValueError(reason)
    target = tuple(cell_number(row, t.name) for t in spec.targets)
    return Entry(row.stem, image, row.group, target=target, box=box_of(row, spec.box) if spec.box else None)


def box_of(row: Row, columns: tuple[str, ...]) -> Box:
    """Return the box of a row, rounded to whole pixels. Raises `ValueError` where it is empty or not a box."""
    x0, y0, x1, y1 = (round(cell_number(row, column)) for column in columns)
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"the box {[x0, y0, x1, y1]} of columns {list(columns)} is empty: x1 and y1 must be larger")
    return x0, y0, x1, y1


def cell_number(row: Row, column: str) -> float:
    """Return the finite number in a cell. Raises `ValueError`."""
    try:
        return real(row.cells[column])
    except ValueError:
        raise ValueError(f"column {column!r} must be a finite number, got {row.cells[column]!r}") from None


def read_rows(path: Path, spec: TableSpec) -> list[Row]:
    """Read all rows that are not blank. Raises `UserError` where the file cannot be read or lacks a column."""
    if not os.path.isfile(path):
        raise NoImagesError(f"cannot read the table: {absent(path)}; correct the protocol's file name, or data_root")
    table = read_table(path, spec.columns, spec.delimiter)
    numbers = list(dict.fromkeys([*(spec.box or ()), *(target.name for target in spec.targets)]))
    rows = with_points(path, table[spec.columns], numbers, spec.decimal or ".").to_dict("records")
    stems = unique(row[spec.image] or f"line {line}" for line, row in zip(table.index, rows, strict=True))
    return [
        Row(int(line), stem, group_of(row, spec), row) for line, stem, row in zip(table.index, stems, rows, strict=True)
    ]


def group_of(cells: Mapping[str, str], spec: TableSpec) -> str:
    """Return the group of a row: its cell, or without a group column the normalised path of its image."""
    if spec.group:
        return cells[spec.group]
    return os.path.normpath(cells[spec.image]) if cells[spec.image] else ""


def unique(names: Iterable[str]) -> list[str]:
    """Return unique names, repeated ones with a number: a.jpg, a.jpg#2, a.jpg#3."""
    given: dict[str, None] = {}
    times: Counter[str] = Counter()
    for name in names:
        stem = name
        while stem in given:
            times[name] += 1
            stem = f"{name}#{times[name] + 1}"
        given[stem] = None
    return list(given)
