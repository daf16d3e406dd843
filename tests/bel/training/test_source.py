"""The code version is of the source that runs, and of no more of it than decides a result."""

import ast
import hashlib
import shutil
import subprocess
import sys

import pytest

from bel.training.source import LEFT_OUT, deciding, is_left_out, meaning
from tests.conftest import PROJECT

BEL = PROJECT / "bel"
# Where training, evaluation and preparing begin; what they import, and what that imports, decides a result.
ROOTS = (
    "training.loop",
    "training.evaluate",
    "training.checkpoint",
    "deploy.published",
    "data.prepare.worker",
    "data.loading",
)
MESSAGES = {"files.py", "run_layout.py", "text.py"}  # imported everywhere, and no number depends on it


def imported(name):
    """Paths of the modules of `bel` that one of them names in an import."""
    for node in ast.walk(ast.parse((BEL / name).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bel":
            for module in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                path = "/".join(module.split(".")[1:])
                yield from (p for p in (f"{path}.py", f"{path}/__init__.py") if (BEL / p).is_file())


def test_nothing_that_a_result_is_computed_with_is_left_out():
    found, to_do = set(), [root.replace(".", "/") + ".py" for root in ROOTS]
    while to_do:
        if (name := to_do.pop()) not in found:
            found.add(name)
            to_do += imported(name)
    assert {name for name in found if is_left_out(name)} == MESSAGES
    assert (
        {"heads/losses.py", "heads/base.py", "data/prepare/crops.py", "angles.py"}
        <= found
        <= set(deciding(BEL)) | MESSAGES
    )


def test_what_is_left_out_is_there_and_a_new_module_counts():
    assert all((BEL / name).exists() for name in LEFT_OUT)
    assert not is_left_out("new.py") and not is_left_out("data/new.py") and not is_left_out("data/command_two.py")
    assert is_left_out("data/synthetic/head.py")


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("x = 1\n", "x = 1  # one\n\n\n", True),
        ('def f(x):\n    """One."""\n    return x\n', "def f(x):\n    'Two.'\n    return (x)\n", True),
        ('class A(B):\n    """One."""\n', "class A(B):\n    pass\n", True),
        ('"""One."""\nx = 1\n', "x = 1\n", True),
        ("x = 'one'\n", "x = 'two'\n", False),
        ("x = 1\n", "x = 1.0\n", False),
        ("def f(x):\n    return 2 * x\n", "def f(x):\n    return 3 * x\n", False),
        ("def f(x=1): ...\n", "def f(x=2): ...\n", False),
    ],
)
def test_a_comment_or_a_docstring_changes_no_version(old, new, same):
    assert (meaning(old.encode()) == meaning(new.encode())) is same


def test_the_version_is_the_same_in_every_version_of_python():
    source = b"""@d
def f(a, *, b: int = 1) -> str:
    return f"{a!r:>{b}} {b['x']}" "y" if (c := a) else None
"""
    assert hashlib.sha256(meaning(source).encode()).hexdigest()[:12] == "9e3124b9e502", meaning(source)


RUN = """
import bel, pathlib
file = pathlib.Path(bel.__file__).parent / {file!r}
file.write_text(file.read_text() + {more!r})
from bel.training.source import code_version
print(code_version())
"""


def version(folder, file="heads/losses.py", more=""):
    run = RUN.format(file=file, more=more)
    return subprocess.run([sys.executable, "-c", run], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_the_version_is_of_what_was_imported(tmp_path, monkeypatch):
    """A process that began before an edit keeps its version, one that begins after it has another."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    shutil.copytree(BEL, tmp_path / "bel", ignore=shutil.ignore_patterns("__pycache__"))
    first = version(tmp_path)
    assert version(tmp_path, more="\nEDITED = 1\n") == first
    second = version(tmp_path)
    assert second != first
    assert version(tmp_path, "data/synthetic/head.py", "\nEDITED = 1\n") == version(tmp_path) == second
    assert version(tmp_path, "data/labels.py", "\n# a comment\n") == version(tmp_path) == second
    (tmp_path / "bel" / "data" / "new.py").write_text("x = 1\n")
    assert version(tmp_path) != second
