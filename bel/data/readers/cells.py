"""Tables in common dialects of CSV, read with pandas: cells as text by column, indexed by their line in the file.

Excel's `sep=;`, semicolons, tabs and UTF-16, R's column of row names, blank lines, and lines that end in a delimiter.
"""

from __future__ import annotations

import csv
import io
import re
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bel.errors import UserError

if TYPE_CHECKING:  # imported late: worker processes do without it
    from pandas import DataFrame

DELIMITERS = ";\t|,"  # that are detected
ANY = DELIMITERS + " " + string.punctuation  # possible delimiters, the likely ones first
MARK = re.compile(r'\s*"?sep=(.)"?[;,\t ]*(?:\r\n|\r|\n|$)', re.IGNORECASE)  # Excel's first line
LINE_END = re.compile(r"\r\n|\r|\n")
SPARE = 100  # blank cells that a line may have beyond those of the first line


def read_text(path: Path, what: str) -> str:
    """Read a file in UTF-8, or in UTF-16 with a byte order mark. Raises `UserError`."""
    if path.is_char_device() or path.is_block_device():  # such as /dev/zero, which never ends
        raise UserError(f"cannot read {what} {path}: it is a device, not a file")
    try:
        content = path.read_bytes()
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {what} {path}: {error}; save it as text in UTF-8") from error
    if "\0" in text:
        raise UserError(f"cannot read {what} {path}: it holds a NUL byte; save it as text in UTF-8")
    return text


def read_lines(path: Path, what: str) -> tuple[list[str], str | None]:
    """Read the lines of a table, and the delimiter in Excel's first line, which is then blank. Raises `UserError`."""
    text = read_text(path, what).lstrip("\ufeff")
    mark = MARK.match(text)
    if mark is None:
        return LINE_END.split(text), None
    return [""] * len(LINE_END.findall(mark.group())) + LINE_END.split(text[mark.end() :]), mark.group(1)


def most_frequent(line: str) -> str:
    """Return the delimiter that is most frequent in a line."""
    return max(DELIMITERS, key=line.count) if any(mark in line for mark in DELIMITERS) else ","


def delimiter_of(line: str, columns: Iterable[str], choices: str = DELIMITERS) -> str | None:
    """Return the first of `choices` that splits a line into cells with all `columns` among them, or None."""
    wanted = set(columns)
    return next((mark for mark in choices if wanted <= {cell.strip(' "') for cell in line.split(mark)}), None)


def read_cells(path: Path, what: str, columns: Sequence[str] = (), delimiter: str | None = None) -> DataFrame:
    """Read the lines that are not blank: stripped cells by position, indexed by the number of their line.

    The delimiter is `delimiter`, else the one that gives the `columns`, else the one in Excel's first line, else the most
    frequent one; `attrs` holds it, and whether all lines below the first begin with a quote. Raises `UserError`.
    """
    import pandas as pd

    lines, said = read_lines(path, what)
    filled = [line for line in lines if line.strip(ANY)]
    if not filled:
        raise UserError(f"{path} is empty: write a header and one row for each image")
    found = delimiter_of(filled[0], columns) if columns else None
    by = delimiter or found or said or most_frequent(filled[0])
    width = min(max(line.count(by) for line in lines), filled[0].count(by) + SPARE) + 1
    try:
        frame = pd.read_csv(
            io.StringIO("\n".join(lines)),
            sep=r"\s+" if by == " " else by,
            header=None,
            names=range(width),
            dtype=str,
            na_filter=False,
            skipinitialspace=True,
            skip_blank_lines=False,
        ).apply(lambda column: column.str.strip())
    except (pd.errors.ParserError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} is no table separated by {by!r}: {reason}; check its quotes and delimiter") from error
    breaks = frame.apply(lambda column: column.str.count("\n")).sum(axis=1).cumsum()  # line breaks in quoted cells
    if breaks.iloc[-1]:
        refuse_quotes(path, lines, by)
    frame.index = frame.index + 1 + breaks
    frame.attrs = {"delimiter": by, "quoted": all(line.startswith('"') for line in filled[1:])}
    return frame[(frame != "").any(axis=1)]


def refuse_quotes(path: Path, lines: Sequence[str], by: str) -> None:
    """Raise `UserError` for a quote that is closed in a later cell: the lines between would be lost."""
    reader = csv.reader(io.StringIO("\n".join(lines)), delimiter=by, skipinitialspace=True, strict=True)
    begin = 1
    try:
        for _ in reader:
            begin = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path}, line {begin} opens a quote that line {reader.line_num} does not close at the end of a cell "
            f"({error}): write a quote within text twice, and the text in quotes"
        ) from error


def read_table(path: Path, columns: Sequence[str], delimiter: str | None = None) -> DataFrame:
    """Read the rows of a table that has `columns`, of which the first is text. Raises `UserError`."""
    return headed(path, read_cells(path, "the table", columns, delimiter), columns)


def headed(path: Path, frame: DataFrame, columns: Sequence[str]) -> DataFrame:
    """Return the rows below the header, by column. Raises `UserError` where a column is missing or a row is too long."""
    header, rows = list(frame.iloc[0]), frame.iloc[1:]
    while not header[-1]:
        header.pop()
    refuse_columns(path, header, columns, frame.attrs["delimiter"])
    if rows.empty:
        raise UserError(f"{path} has no rows below its header {header}: write one for each image")
    beyond = (rows.iloc[:, len(header) :] != "").any(axis=1)
    if beyond.any():
        if not has_row_names(rows, len(header), header.index(columns[0])):
            refuse_long(path, rows[beyond], header)
        header = ["", *header]
    return rows.iloc[:, : len(header)].set_axis(header, axis=1)


def has_row_names(rows: DataFrame, width: int, key: int) -> bool:
    """Return whether each row begins with a name that the header of `width` cells lacks, as R writes tables.

    A decimal comma adds a cell too. Row names are all different, in quotes or the numbers from 1, and the column `key` of
    text then has no numbers.
    """
    names = list(rows[0])
    numbered = set(names) == {str(number) for number in range(1, len(names) + 1)}
    text = not rows[key + 1].str.fullmatch(r"[-+\d.,]*").any()
    long = bool((rows.iloc[:, width + 1 :] != "").to_numpy().any())
    return text and not long and len(set(names)) == len(names) and (numbered or rows.attrs["quoted"])


def refuse_columns(path: Path, header: list[str], columns: Sequence[str], by: str) -> None:
    """Raise `UserError` where a header lacks a column or has it twice; names the delimiter where that is the cause."""
    for column in columns:
        if header.count(column) != 1:
            other = delimiter_of(by.join(header), columns, ANY)
            if column not in header and other not in (None, by):
                raise UserError(f"{path} is separated by {other!r}, not by {by!r}: set delimiter to {other!r}")
            kind = "two columns" if column in header else "no column"
            raise UserError(
                f"{path} has {kind} {column!r}, its columns are {header}: correct the protocol or the header"
            )


def refuse_long(path: Path, rows: DataFrame, header: list[str]) -> None:
    """Raise `UserError` for the first of some rows that have more cells than the header."""
    cells, by = list(rows.iloc[0]), rows.attrs["delimiter"]
    count = max(place for place, cell in enumerate(cells, 1) if cell)
    decimal = " (text, or a number with a decimal comma)" if by == "," else ""
    raise UserError(
        f"{path}, line {rows.index[0]} has {count} cells for {len(header)} columns, separated by {by!r}: put what holds a "
        f"{by!r}{decimal} in quotes, or name the column of row names in the header"
    )


def with_points(path: Path, rows: DataFrame, columns: Sequence[str], decimal: str) -> DataFrame:
    """Return the rows with decimal points in some columns. Raises `UserError` where a number has the other decimal mark."""
    other = "," if decimal == "." else "."
    for name in columns:
        wrong = rows[name][rows[name].str.fullmatch(rf"[-+]?\d*\{other}\d+([eE][-+]?\d+)?")]
        if len(wrong):
            raise UserError(
                f"{path}, line {wrong.index[0]}: column {name!r} is {wrong.iloc[0]!r}, and the decimal mark is {decimal!r}: "
                f"set decimal to {other!r}, or take out what separates thousands"
            )
    return rows.assign(**{name: rows[name].str.replace(decimal, ".") for name in columns})
