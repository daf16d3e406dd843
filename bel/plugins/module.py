"""The module of a plug-in: found, read before it is run, run once in a process, and identified by its source.

A module is a plug-in where it assigns one of the tables `TABLES`, names to what they mean: `HEADS = {"mine": MineHead}`.
Only such a module is run: a checkpoint, which names the plug-ins of its config, makes nothing else run.
"""

import ast
import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from bel.errors import UserError, absolute, sentence
from bel.training.source import meaning

TABLES = {
    "HEADS": "heads", "CODES": "codes", "BACKBONES": "backbones", "READERS": "readers", "REGULARISERS": "regularisers",
}  # fmt: skip


@dataclass(frozen=True)
class Module:
    """A plug-in that was run: the absolute path of its file, or the name of an installed module; text is of a file."""

    name: str
    digest: str
    text: str | None = None

    @property
    def title(self) -> str:
        """Name, without folders, and digest."""
        return f"{Path(self.name).name} {self.digest}"


RUN: dict[str, tuple[Module, Mapping[str, Any]]] = {}  # by name; with the tables of each


def find(name: Any, folder: Path) -> str:
    """Return the name of a plug-in as configs hold it: the path of a file below `folder`, else an installed module.

    A file that is not there any more may be in the current folder. Raises `UserError` where there is none.
    """
    if not isinstance(name, str) or not name.strip() or not name.isprintable():
        raise UserError(f"plugins must be a list of modules, files or names, got {name!r}")
    if name in RUN:
        return name
    stem = name if name.endswith(".py") else f"{name}.py"
    beside = absolute("plug-in", stem if stem.startswith("~") else str(folder / stem))
    for path in (beside, Path.cwd() / Path(stem).name):
        if os.path.isfile(path):  # False, too, for a name that is too long
            return str(path)
    if name.endswith(".py"):
        raise UserError(f"the plug-in {beside} is not there: put it back, or into the current folder")
    if not all(part.isidentifier() for part in name.split(".")) or not source_files(name):
        raise UserError(
            f"the plug-in {name} is neither a file {stem} in {folder} nor an installed module: install the package that has "
            "it, or give the path of a file"
        )
    return name


def run(name: str) -> tuple[Module, Mapping[str, Any]]:
    """Run the module of a name from `find`, once; return it with its tables. Raises `UserError` where it cannot be run."""
    if name not in RUN:
        if name.endswith(".py"):
            receive({name: read(Path(name))})
        else:
            RUN[name] = installed(name)
    return RUN[name]


def receive(sources: Mapping[str, str]) -> None:
    """Run files by path from their source, which another process sent: the file may not be on this machine.

    Raises `UserError` where this process has run another version of one.
    """
    for name, text in sources.items():
        refuse_other_version(name, text)
        if name not in RUN:
            refuse_without_table(name, text)
            module = Module(name, digest({Path(name).name: text.encode()}), text)
            RUN[name] = module, tables(execute(name, text))


def refuse_changed() -> None:
    """Raise `UserError` where a file has changed since this process ran it."""
    for name, (module, _) in RUN.items():
        if module.text is not None and os.path.isfile(name):
            refuse_other_version(name, read(Path(name)))


def refuse_other_version(name: str, text: str) -> None:
    """Raise `UserError` where this process has run a file with another source, comments aside."""
    if name in RUN and text != RUN[name][0].text:
        refuse_without_table(name, text)
        if digest({Path(name).name: text.encode()}) != RUN[name][0].digest:
            raise UserError(
                f"the plug-in {name} has changed since this process ran it: start a new one (restart the kernel)"
            )


def read(path: Path) -> str:
    """Return the text of a file. Raises `UserError`."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the plug-in {path}: {error}; save it as text in UTF-8") from error


def refuse_without_table(name: str, text: str | bytes) -> None:
    """Raise `UserError` where a source, which is not run, is no Python or assigns none of `TABLES`."""
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        raise UserError(f"the plug-in {name} is not Python: {error}") from error
    assigned = [t for node in body if isinstance(node, ast.Assign) for t in node.targets]
    assigned += [node.target for node in body if isinstance(node, ast.AnnAssign)]
    if not any(isinstance(target, ast.Name) and target.id in TABLES for target in assigned):
        raise UserError(
            f"the plug-in {name} assigns none of {list(TABLES)}: give it one, such as HEADS = {{'mine': Mine}}"
        )


def module_name(path: str) -> str:
    """Return the name under which Python knows the file of a plug-in."""
    return f"bel_plugin_{''.join(c if c.isalnum() else '_' for c in Path(path).stem)}_{digest({path: b''})[:6]}"


def execute(path: str, text: str) -> ModuleType:
    """Run the text of a file as a module. Raises `UserError` where that fails."""
    module = ModuleType(module_name(path))
    module.__file__ = path
    sys.modules[module.__name__] = module
    try:
        exec(compile(text, path, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise UserError(f"the plug-in {path} cannot be run: {sentence(error)}") from error
    return module


def installed(name: str) -> tuple[Module, Mapping[str, Any]]:
    """Import an installed module. Raises `UserError` where that fails."""
    spec = located(name)
    assert spec is not None and spec.origin is not None
    refuse_without_table(name, read(Path(spec.origin)))
    return Module(name, digest(source_files(name))), tables(imported(name))


def imported(name: str) -> ModuleType:
    """Import a module. Raises `UserError` where that fails."""
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise UserError(f"the plug-in {name} cannot be imported: {sentence(error)}") from error


def located(name: str) -> ModuleSpec | None:
    """Return where an installed module of Python is, without importing it or its package; None where there is none."""
    top, *parts = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    for number in range(len(parts)):
        folders = spec.submodule_search_locations if spec else None
        spec = PathFinder.find_spec(".".join([top, *parts[: number + 1]]), folders) if folders else None
    return (
        spec if (spec and (spec.origin or "").endswith(".py")) or (spec and spec.submodule_search_locations) else None
    )


def source_files(name: str) -> dict[str, bytes]:
    """Return the source of an installed module and of all modules of its package, by relative path; none if there is none."""
    top, spec = located(name.partition(".")[0]), located(name)
    if top is None or spec is None or not spec.origin or not os.path.isfile(spec.origin):
        return {}
    if not top.submodule_search_locations:
        return {Path(spec.origin).name: Path(spec.origin).read_bytes()}
    folders = [Path(folder) for folder in top.submodule_search_locations]
    return {p.relative_to(f).as_posix(): p.read_bytes() for f in folders for p in sorted(f.rglob("*.py"))}


def digest(files: Mapping[str, bytes]) -> str:
    """Return twelve hex digits of sources, without comments and docstrings."""
    text = "".join(f"{name}\n{meaning(source)}\n" for name, source in files.items())
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def tables(module: ModuleType) -> dict[str, Any]:
    """Return the tables of a module by group. Raises `UserError` where one is no mapping of names."""
    found = {group: vars(module)[table] for table, group in TABLES.items() if table in vars(module)}
    for group, table in found.items():
        if not isinstance(table, Mapping) or not all(isinstance(name, str) for name in table):
            raise UserError(
                f"{group.upper()} of the plug-in {module.__name__} must be a mapping of names, got {table!r}"
            )
    return found
