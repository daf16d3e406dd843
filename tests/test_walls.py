"""The walls of the house: what each folder may import."""

import ast

import pytest

from tests.conftest import PROJECT

FORBIDDEN = {
    "bel": {"ray", "optuna", "mlflow", "yaml", "pandas", "plotly", "pyarrow", "sqlalchemy", "launch", "results"},
    "launch": {"results"},
    "results": {"launch", "ray"},
}
ALLOWED = {"bel/data/cells.py": {"pandas"}}  # the reader of tables


@pytest.mark.parametrize("room", FORBIDDEN)
def test_no_import_goes_through_a_wall(room):
    files = sorted((PROJECT / room).rglob("*.py"))
    assert files
    for path in files:
        forbidden = FORBIDDEN[room] - ALLOWED.get(path.relative_to(PROJECT).as_posix(), set())
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & forbidden, f"{path}:{node.lineno}"
