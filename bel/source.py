"""The code version of this process: a digest of the modules of `bel` that can change a result."""

import ast
import hashlib
from functools import cache
from pathlib import Path

# Modules that change no result: commands, messages, rendering, checks of data, export. A new module counts by default.
LEFT_OUT = (
    "codes/properties.py",
    "data/checking",
    "data/command.py",
    "data/synthetic",
    "deploy/module.py",
    "files.py",
    "heads/contract.py",
    "regularisers/contract.py",
    "run_layout.py",
    "text.py",
)
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def deciding(folder: Path) -> dict[str, bytes]:
    """Return the source of every module below a folder that can change a result, by relative path."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.py"))}
    return {name: path.read_bytes() for name, path in paths.items() if not is_left_out(name)}


def is_left_out(name: str) -> bool:
    """Return whether a module, by its path below the package, changes no result."""
    return any(name == other or name.startswith(f"{other}/") for other in LEFT_OUT)


def meaning(source: bytes) -> str:
    """Return a module's source without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


# Read when `bel` is imported, before its other modules: this process does not run later edits.
RUNNING = deciding(Path(__file__).parent)


@cache
def code_version() -> str:
    """Return twelve hex digits of the source that this process runs; they change with any line that can change a result."""
    digest = hashlib.sha256()
    for name, source in RUNNING.items():
        digest.update(f"{name}\n{meaning(source)}\n".encode())
    return digest.hexdigest()[:12]
