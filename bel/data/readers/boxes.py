"""Boxes of images in a CSV: a name and x0, y0, x1, y1 in pixels on each line, with a header or without."""

from pathlib import Path

from bel.data.readers.base import Box
from bel.data.readers.cells import headed, read_cells
from bel.errors import UserError, real

CORNERS = ["x0", "y0", "x1", "y1"]
NAMES = ("stem", "image", "file", "name", "frame")  # possible titles of the column of names


def read_boxes(path: Path) -> dict[str, Box]:
    """Read one box for each stem. Raises `UserError` with the line."""
    found: dict[str, Box] = {}
    for line, name, box in named_boxes(path):
        if name in found:
            raise UserError(f"{path}, line {line}: a second box of {name}: leave one of them out")
        found[name] = box
    return found


def named_boxes(path: Path, key: str = "stem") -> list[tuple[int, str, Box]]:
    """Read line, name and box of each row. Raises `UserError` with the line."""
    cells, wanted = read_cells(path, "the boxes"), ",".join([key, *CORNERS])
    first = [cell for cell in cells.iloc[0] if cell]
    if not any(cell[:1].isdigit() or cell[:1] in "-+." for cell in first[1:]):
        if first[0] not in NAMES or first[1:] != CORNERS:
            raise UserError(f"the boxes {path} must have the columns {wanted}, got {first}: rename or drop some")
        cells = headed(path, cells, first)[first]
    return [(int(line), *named_box(f"{path}, line {line}", list(row), wanted)) for line, *row in cells.itertuples()]


def named_box(where: str, row: list[str], wanted: str) -> tuple[str, Box]:
    """Return name and box in the cells of a line. Raises `UserError`."""
    cells = row[: max(place for place, cell in enumerate(row, 1) if cell)]
    try:
        name, (x0, y0, x1, y1) = cells[0], (round(real(cell)) for cell in cells[1:])
    except ValueError:
        raise UserError(f"{where}: wanted {wanted} with decimal points, got {','.join(cells)!r}") from None
    if x1 <= x0 or y1 <= y0:
        raise UserError(f"{where}: the box of {name} is empty, x1 and y1 must be larger: {cells[1:]}")
    return name, (x0, y0, x1, y1)
