"""Which source this process runs: a digest of the modules of `bel` that decide a result."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

# What no number depends on: commands, messages, made-up data, checks of data, export. A module that is new here counts.
LEFT_OUT = (
    "codes/properties.py",
    "data/checking",
    "data/command.py",
    "data/synthetic",
    "deploy/module.py",
    "files.py",
    "heads/contract.py",
    "run_layout.py",
    "text.py",
)
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def deciding(folder: Path) -> dict[str, bytes]:
    """Source of every module below a folder that decides a result, by its path there."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.py"))}
    return {name: path.read_bytes() for name, path in paths.items() if not is_left_out(name)}


def is_left_out(name: str) -> bool:
    """Whether a module, by its path below the package, decides no result."""
    return any(name == other or name.startswith(f"{other}/") for other in LEFT_OUT)


def meaning(source: bytes) -> str:
    """A module's source without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


# Read when `bel` is imported, before any other of its modules: a later edit is not what this process runs.
RUNNING = deciding(Path(__file__).parent)


@cache
def code_version() -> str:
    """Twelve hex digits of the source that this process runs: they change with any line that can change a number."""
    digest = hashlib.sha256()
    for name, source in RUNNING.items():
        digest.update(f"{name}\n{meaning(source)}\n".encode())
    return digest.hexdigest()[:12]
