"""The folder of a trial while it runs, on a disk or in a bucket; a file in it is complete or absent."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from bel.errors import UserError, sentence
from bel.files import refuse_folder, replacing
from bel.run_layout import LAST
from bel.training import checkpoint


class Folder:
    """A folder at a path or an fsspec URL; every process that gets its `url` uses the same files."""

    def __init__(self, url: str) -> None:
        if url.startswith("/") or "://" not in url:  # a path may contain any character, '::' and '*' too
            self.fs, self.path = LocalFileSystem(), os.path.abspath(os.path.expanduser(url))
        else:
            self.fs, self.path = url_to_fs(url)
        self.local = isinstance(self.fs, LocalFileSystem)

    @classmethod
    def usable(cls, what: str, url: str, within: str) -> Folder:
        """Return the folder of a URL, which is not created. Raises `UserError` where `within` cannot be written in it."""
        try:
            folder = cls(url)
            if not folder.local:
                folder.fs.exists(folder.path)  # a request with the user's permissions
        except Exception as error:  # of any package that speaks to a bucket
            raise UserError(f"cannot use {what} {url!r}: {sentence(error)}; give a folder or another URL") from error
        if folder.local:
            refuse_folder(what, Path(folder.path) / within)
        return folder

    def of(self, name: str) -> Folder:
        """Return a folder within."""
        return Folder(f"{self.url}/{name}")

    @property
    def url(self) -> str:
        """Absolute path or URL, for another process."""
        return self.path if self.local else str(self.fs.unstrip_protocol(self.path))

    def write(self, name: str, put: Callable[[Path], object]) -> None:
        """Let `put` write a local path, which then replaces the file `name`; again where the folder was removed meanwhile."""
        try:
            self._write(name, put)
        except FileNotFoundError:
            self._write(name, put)

    def _write(self, name: str, put: Callable[[Path], object]) -> None:
        """Let `put` write a local path, which replaces the file `name` afterwards, unless an error is raised."""
        self.fs.makedirs(self.path, exist_ok=True)
        if self.local:
            with replacing(Path(self.path) / name) as path:
                put(path)
            return
        with tempfile.TemporaryDirectory() as work:
            put(Path(work) / name)
            self.fs.put_file(str(Path(work) / name), f"{self.path}/{name}")

    @contextmanager
    def reading(self, name: str) -> Iterator[Path | None]:
        """Provide a local path of the file `name`; None where there is none."""
        if not self.fs.exists(f"{self.path}/{name}"):
            yield None
        elif self.local:
            yield Path(self.path) / name
        else:
            with tempfile.TemporaryDirectory() as work:
                self.fs.get_file(f"{self.path}/{name}", str(Path(work) / name))
                yield Path(work) / name

    def write_json(self, name: str, value: Any) -> None:
        """Write a value as JSON."""
        self.write(name, lambda path: path.write_text(json.dumps(value)))

    def write_state(self, name: str, state: dict[str, Any]) -> None:
        """Write the state of a run. Raises `OSError` for a full disk."""

        def put(path: Path) -> None:
            with path.open("wb") as file:
                checkpoint.write(state, file)

        self.write(name, put)

    def read_json(self, name: str) -> Any:
        """Read a value from JSON; None where there is no such file, or a damaged one."""
        with self.reading(name) as path:
            try:
                return None if path is None else json.loads(path.read_text())
            except ValueError:  # a machine that lost its power leaves half a file
                return None

    def names(self) -> list[str]:
        """Return the names of the complete files and the folders within."""
        if not self.fs.exists(self.path):
            return []
        found = [Path(path).name for path in self.fs.ls(self.path, detail=False)]
        return sorted(name for name in found if not name.startswith("."))

    def remove(self) -> None:
        """Delete the folder and all files in it."""
        if self.local:
            shutil.rmtree(self.path, ignore_errors=not os.path.exists(self.path))
        elif self.fs.exists(self.path):
            self.fs.rm(self.path, recursive=True)


def load_state(folder: Folder, name: str, say: Callable[[str], None] = lambda text: None) -> dict[str, Any] | None:
    """Return a state from a run's folder; None where there is none, or a damaged one, which `say` reports."""
    with folder.reading(name) as path:
        try:
            return None if path is None else checkpoint.load(path)
        except UserError as error:  # a machine that lost its power leaves half a file
            say(f"{error}: it is trained from the start again")
            return None


def changed_fields(folder: Folder, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields that a scheduler may have changed, as a run had them before its worker or the driver died."""
    last = load_state(folder, LAST) if names else None
    return {name: last["config"][name] for name in names} if last else {}
