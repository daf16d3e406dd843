"""`sweeps/tour.ipynb` runs from the first cell to the last in an empty folder, and ends with a leaderboard and its verdict."""

import os
import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import PROJECT

TOUR = PROJECT / "sweeps/tour.ipynb"


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(cell):
    """What a cell prints, and the text of what it shows."""
    return "".join(out.get("text", "") or out.get("data", {}).get("text/plain", "") for out in cell.outputs)


def test_the_tour_is_kept_without_outputs():
    notebook = nbformat.read(TOUR, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.outputs or cell.execution_count for cell in code_cells(notebook))


@pytest.mark.slow
def test_the_tour_ends_with_a_leaderboard_and_its_verdict(tmp_path):
    notebook = nbformat.read(TOUR, as_version=4)
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    kept = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    client.execute(env=kept | {"PYTHONPATH": str(PROJECT)})
    *cells, last = code_cells(notebook)
    pictures = [out for cell in cells for out in cell.outputs if "image/png" in out.get("data", {})]
    assert len(pictures) == 5 and not any(out.output_type == "error" for cell in cells for out in cell.outputs)
    assert not [out for cell in cells for out in cell.outputs if out.get("name") == "stderr"]
    printed = texts(last)
    assert re.search(r"^first of 3 configurations: (.+ lr=1e-3)\nMAE [\d.]+ deg, 95 % interval", printed)
    assert "paired over groups (Student's t over groups" in printed and "verdict" in printed and "first" in printed
    assert {path.name for path in tmp_path.iterdir()} <= {"datasets", "mlflow.db", "mlruns", "runs", "prepared"}
