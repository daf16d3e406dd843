"""The walls of the house: what each folder may import, and no circle of imports."""

import ast
from functools import cache

import pytest

from tests.conftest import PROJECT

FORBIDDEN = {  # by folder: packages that it does not import
    "bel": {
        "ray",
        "optuna",
        "mlflow",
        "yaml",
        "pandas",
        "rich",
        "plotly",
        "pyarrow",
        "sqlalchemy",
        "launch",
        "results",
    },
    "launch": {"results"},
    "launch/spec": {"ray", "mlflow"},
    "launch/schedule": {"mlflow"},
    "launch/console": {"ray", "optuna", "mlflow"},
    "launch/tracking": {"ray", "optuna"},
    "results": {"launch", "ray"},
}
ALLOWED = {"bel/data/readers/cells.py": {"pandas"}, "bel/text.py": {"rich"}}  # the reader of tables, the columns
DOORS = {  # reading a run, and which is best, are written once; a sweep gives its results
    "launch": ("results.store", "results.analysis"),
    "launch/api.py": ("results.Results",),
}
BELOW = {  # by room of `launch`: the rooms that it may import
    "spec": set(),
    "schedule": {"spec"},
    "tracking": {"spec"},
    "console": {"spec"},
    "driver": {"spec", "schedule", "tracking", "console"},
    "extend": {"spec", "schedule", "tracking", "console", "driver"},
}


def modules():
    """Path of each module of ours by its dotted name."""
    paths = [path for room in ("bel", "launch", "results") for path in (PROJECT / room).rglob("*.py")]
    names = {
        ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths
    }
    assert len(names) > 100
    return names


@cache
def imported(path):
    """Line and full name of what a file imports, anywhere in it; of `from a import b` also a.b."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno} imports relatively"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def uses(name, known):
    """Modules of ours that one of them imports."""
    for _, other in imported(known[name]):
        yield from (m for m in (other, other.rpartition(".")[0]) if m in known and m != name)


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_import_goes_through_a_wall(folder):
    files = sorted((PROJECT / folder).rglob("*.py"))
    assert files
    for path in files:
        forbidden = FORBIDDEN[folder] - ALLOWED.get(path.relative_to(PROJECT).as_posix(), set())
        doors = DOORS.get(folder, ()) + DOORS.get(path.relative_to(PROJECT).as_posix(), ())
        for line, name in imported(path):
            assert name.startswith(doors) or name.split(".")[0] not in forbidden, f"{path}:{line}"


@pytest.mark.parametrize("room", BELOW)
def test_the_rooms_of_launch_import_downwards(room):
    for path in sorted((PROJECT / "launch" / room).rglob("*.py")):
        for line, name in imported(path):
            parts = name.split(".")
            other = parts[1] if parts[0] == "launch" and parts[1] in BELOW else room
            assert other in BELOW[room] | {room}, f"{path}:{line}"


def test_nothing_imports_in_a_circle():
    known = modules()
    left = {name: set(uses(name, known)) for name in known}
    while free := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in free}
    assert not left, f"a circle among {sorted(left)}"


def test_a_worker_imports_nothing_of_results():
    known, seen, to_do = modules(), set(), ["launch.driver.trainable"]
    while to_do:
        if (name := to_do.pop()) not in seen:
            seen.add(name)
            to_do += uses(name, known)
    assert len(seen) > 40
    assert not {name for name in seen if name.startswith("results")}
