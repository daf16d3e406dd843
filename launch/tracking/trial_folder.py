"""What a trial keeps while it runs: files in a folder of its own on a disk or a bucket, each whole or not there."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from bel.errors import UserError, sentence
from bel.files import refuse_folder, replacing


class Folder:
    """A folder below a path or an fsspec URL, the same for every process that is told of it."""

    def __init__(self, url: str) -> None:
        if url.startswith("/") or "://" not in url:  # any character may be in it, '::' and '*' too
            self.fs, self.path = LocalFileSystem(), os.path.abspath(os.path.expanduser(url))
        else:
            self.fs, self.path = url_to_fs(url)
        self.local = isinstance(self.fs, LocalFileSystem)

    @classmethod
    def usable(cls, what: str, url: str, within: str) -> Folder:
        """The folder of a URL. Raises `UserError` where `within` cannot be made and written in it; nothing is made."""
        try:
            folder = cls(url)
            if not folder.local:
                folder.fs.exists(folder.path)  # asks it, with what the user may do there
        except Exception as error:  # of any package that speaks to a bucket
            raise UserError(f"cannot use {what} {url!r}: {sentence(error)}; give a folder or another URL") from error
        if folder.local:
            refuse_folder(what, Path(folder.path) / within)
        return folder

    def of(self, name: str) -> Folder:
        """A folder within."""
        return Folder(f"{self.url}/{name}")

    @property
    def url(self) -> str:
        """Where it is, for another process."""
        return self.path if self.local else str(self.fs.unstrip_protocol(self.path))

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A local path to write to, which then becomes the file `name`; after an error the older one is still there."""
        self.fs.makedirs(self.path, exist_ok=True)
        if not self.local:
            with tempfile.TemporaryDirectory() as work:
                yield Path(work) / name
                self.fs.put_file(str(Path(work) / name), f"{self.path}/{name}")
            return
        with replacing(Path(self.path) / name) as path:
            yield path

    @contextmanager
    def reading(self, name: str) -> Iterator[Path | None]:
        """A local path of the file `name`; None where there is none."""
        if not self.fs.exists(f"{self.path}/{name}"):
            yield None
        elif self.local:
            yield Path(self.path) / name
        else:
            with tempfile.TemporaryDirectory() as work:
                self.fs.get_file(f"{self.path}/{name}", str(Path(work) / name))
                yield Path(work) / name

    def write_json(self, name: str, value: Any) -> None:
        """Write plain values."""
        with self.writing(name) as path:
            path.write_text(json.dumps(value))

    def read_json(self, name: str) -> Any:
        """Plain values; None where there is no such file that can be read."""
        with self.reading(name) as path:
            try:
                return None if path is None else json.loads(path.read_text())
            except ValueError:  # a machine that lost its power leaves half a file
                return None

    def names(self) -> list[str]:
        """Names of the whole files and folders within."""
        if not self.fs.exists(self.path):
            return []
        found = [Path(path).name for path in self.fs.ls(self.path, detail=False)]
        return sorted(name for name in found if not name.startswith("."))

    def remove(self) -> None:
        """Delete the folder with all that is in it."""
        if self.local:
            shutil.rmtree(self.path, ignore_errors=not os.path.exists(self.path))
        elif self.fs.exists(self.path):
            self.fs.rm(self.path, recursive=True)
