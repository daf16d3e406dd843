"""A run of the runs of the sweep has one writer: the runs of the sweep, on the driver's thread."""

import ast
from dataclasses import fields

from bel.run_layout import Outcome
from launch.runs import Run
from launch.tracking.logger import RunLogger
from launch.tracking.store import Store
from launch.tracking.trial_folder import Folder
from launch.tracking.writer import Writer
from tests.conftest import PROJECT

OWN = {field.name for field in fields(Run)} - {"name", "key"}  # names that a class of another kind has too


def test_nothing_but_sweep_runs_changes_a_run():
    for path in sorted((PROJECT / "launch").rglob("*.py")):
        if path.name == "runs.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            changed = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr in OWN
            own = changed and isinstance(node.value, ast.Name) and node.value.id == "self"
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr"
            assert (not changed or own) and not called, f"{path}:{node.lineno}"


def test_the_thread_that_writes_has_a_copy_that_nobody_changes(make, store, monkeypatch):
    monkeypatch.setattr(Writer, "work", lambda self: None)  # what is put stays there
    logger = RunLogger(Store("0", "p", {}, {}), Folder("runs/trials"), {}, b"")
    run = Run("k", make(), "name", {}, "k", [{"epoch": 1.0}])
    run.outcome = Outcome.FINISHED
    for put in (logger.begin, logger.epochs, logger.end, logger.drop):
        put(run)
    run.history.append({"epoch": 2.0})
    run.kept, run.reason = False, "later"
    while not logger.writer.writes.empty():
        (copy, *_) = logger.writer.writes.get().args
        assert copy is not run and copy.history == [{"epoch": 1.0}] and copy.kept and not copy.reason
