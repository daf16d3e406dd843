"""The result of a command: text, or with `--format json` one JSON document on stdout. Imports no torch."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

JSON = "json"
FORMATS = ("text", JSON)


@dataclass
class Answer:
    """What a command found: `say` prints it as text, `values` are the same for another program."""

    form: str
    values: Any = field(default_factory=dict)

    def say(self, text: str) -> None:
        """Print a part of the result, unless the values are printed at the end."""
        if self.form != JSON:
            print(text, flush=True)

    def warn(self, text: str) -> None:
        """Print on stderr what went wrong."""
        print(text, file=sys.stderr)


@dataclass
class Collected(Answer):
    """An answer for a caller in Python: texts and warnings are kept, and nothing is printed."""

    form: str = "text"
    texts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Keep a part of the result."""
        self.texts.append(text)

    def warn(self, text: str) -> None:
        """Keep what went wrong."""
        self.warnings.append(text)

    @property
    def report(self) -> Report:
        """The result so far."""
        return Report(plain(self.values), "\n".join(self.texts).strip("\n"))


@dataclass(frozen=True, repr=False)
class Report:
    """A result: `values` as `--format json` prints them, and its `text`, which it prints and shows as."""

    values: dict[str, Any]
    text: str

    def __repr__(self) -> str:
        return self.text


def add_format(parser: argparse.ArgumentParser) -> None:
    """Add the option `--format`."""
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="text",
        help="json: one JSON document on stdout, all else on stderr; its keys are in results/README.md (%(default)s)",
    )


@contextmanager
def answering(form: str) -> Iterator[Answer]:
    """Yield the answer of a command and, with `json`, print its values at the end; where they are None, nothing.

    Until then all that is printed goes to stderr, of child processes, too. After an exception nothing is printed.
    """
    answer = Answer(form)
    if form != JSON:
        yield answer
        return
    with stdout_on_stderr():
        yield answer
    if answer.values is not None:
        sys.stdout.write(as_json(answer.values))
        sys.stdout.flush()


@contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """Let stdout be stderr, for Python and below it."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def as_json(values: Any) -> str:
    """Return values as a JSON document."""
    return json.dumps(plain(values), indent=1, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Return a nested value as JSON can hold it: NaN and infinity become None, a path and a member of an enum their text."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, Path | Enum):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
