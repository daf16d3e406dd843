"""The walls of the house: what each folder may import."""

import ast

import pytest

from tests.conftest import PROJECT

FORBIDDEN = {
    "bel": {"ray", "optuna", "mlflow", "yaml", "pandas", "plotly", "pyarrow", "sqlalchemy", "launch", "results"},
    "launch": {"results"},
    "results": {"launch", "ray"},
}
ALLOWED = {"bel/data/readers/cells.py": {"pandas"}}  # the reader of tables
DOORS = {
    "launch": {"results.analysis.ranking"}
}  # which of runs is best is decided there, also for those of a running sweep


def imported(path):
    """Line and full name of what a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


@pytest.mark.parametrize("room", FORBIDDEN)
def test_no_import_goes_through_a_wall(room):
    files = sorted((PROJECT / room).rglob("*.py"))
    assert files
    for path in files:
        forbidden = FORBIDDEN[room] - ALLOWED.get(path.relative_to(PROJECT).as_posix(), set())
        for line, name in imported(path):
            assert name in DOORS.get(room, ()) or name.split(".")[0] not in forbidden, f"{path}:{line}"


def test_a_worker_imports_nothing_of_results():
    seen, left = set(), ["launch.driver.trainable"]
    while left:
        name = left.pop()
        seen.add(name)
        found = {other for _, other in imported(PROJECT / f"{name.replace('.', '/')}.py")}
        assert not {other for other in found if other.startswith("results")}, name
        left += [other for other in found if other.startswith("launch.") and other not in seen]
    assert len(seen) > 5
