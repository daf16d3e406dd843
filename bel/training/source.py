"""The code version of this process: a digest of the modules of `bel` that can change a result."""

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

# Modules that change no result: commands, messages, rendering, checks of data, export. A new module counts by default.
LEFT_OUT = (
    "codes/properties.py",
    "data/checking",
    "data/command.py",
    "data/synthetic",
    "deploy/calibration_file.py",
    "deploy/crop.py",
    "deploy/module.py",
    "deploy/served.py",
    "deploy/standalone.py",
    "files.py",
    "testing",
    "output.py",
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
    """Return a module's syntax tree as text, without comments, docstrings and layout; the same in every version of Python."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return repr(plain(tree))


def plain(node: Any) -> Any:
    """Return a syntax tree as nested tuples, without empty fields: versions of Python differ in these, and in `ast.unparse`."""
    if isinstance(node, ast.JoinedStr):  # 3.12 has empty strings in some
        node.values = [value for value in node.values if not (isinstance(value, ast.Constant) and value.value == "")]
    if isinstance(node, ast.AST):
        return type(node).__name__, *(
            (name, plain(value)) for name, value in ast.iter_fields(node) if value not in (None, [])
        )
    return tuple(map(plain, node)) if isinstance(node, list) else node


# Read when `bel` is imported, before its other modules: this process does not run later edits.
RUNNING = deciding(Path(__file__).parents[1])


@cache
def code_version() -> str:
    """Return twelve hex digits of the source that this process runs; they change with any line that can change a result."""
    digest = hashlib.sha256()
    for name, source in RUNNING.items():
        digest.update(f"{name}\n{meaning(source)}\n".encode())
    return digest.hexdigest()[:12]
