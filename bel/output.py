"""Command lines: parser, exit codes, and the result as text or with `--format json` as one document. Imports no torch."""

from __future__ import annotations

import argparse
import atexit
import errno
import functools
import gc
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bel.errors import UserError, sentence, shown
from bel.text import harmless, harmless_output

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


@contextmanager
def without_collection() -> Iterator[None]:
    """Look for no cycles of objects meanwhile: where many are made that stay, that is a fifth of the time and more."""
    paused = gc.isenabled()
    if paused:  # else somebody else, such as another thread, has paused it, who lets it go on
        gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


def command_parser(name: str, description: str, **more: Any) -> argparse.ArgumentParser:
    """Return the parser of a command, with its option --version."""
    parser = argparse.ArgumentParser(prog=name, description=description, **more)
    parser.add_argument("--version", action="version", version=f"{name} of bel-sweeps {package_version()}")
    return parser


def package_version() -> str:
    """Return the version that is installed, which pyproject.toml has."""
    try:
        return version("bel-sweeps")
    except PackageNotFoundError:
        return "that is not installed"


NO_PERMISSION = ": work in a folder that may be written, or name one by the option or the variable that it is of"
NO_ROOM = ": make room there, or name another folder"
ADVICE = dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), NO_PERMISSION) | dict.fromkeys(
    (errno.ENOSPC, errno.EDQUOT), NO_ROOM
)  # by errno


class OldFlag(argparse.Action):
    """The old word of a flag, which works for one version: it sets `dest` and names the new word on stderr."""

    def __init__(self, option_strings: Sequence[str], dest: str, new: str) -> None:
        super().__init__(option_strings, dest, nargs=0, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        self.new = new

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        print(f"note: {option} is now {self.new}", file=sys.stderr)
        setattr(namespace, self.dest, True)


def command(
    main: Callable[[Sequence[str] | None], int], explain: Callable[[BaseException], str | None] = lambda error: None
) -> Callable[..., int]:
    """Make a `main(argv)` print a `UserError` as one line on stderr and return 2; 130 on Ctrl-C, 141 on a closed pipe."""

    @functools.wraps(main)
    @harmless_output()
    def wrapped(argv: Sequence[str] | None = None) -> int:
        # Python's last search for cycles takes a second or two after torch and MLflow; what it would free ends anyway.
        atexit.register(gc.freeze)
        try:
            return main(argv)
        except UserError as error:
            print(f"error: {harmless(sentence(error))}", file=sys.stderr)
            return 2
        except BrokenPipeError:  # the reader of a pipe has closed it, as head does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout at exit
            return 141
        except OSError as error:  # a full disk, a folder without write permission: the message of the system names it
            advice = ADVICE.get(error.errno or 0, "")
            print(f"error: {harmless(shown(explain(error) or error))}{advice}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
        except Exception as error:
            if (said := explain(error)) is None:
                raise
            print(f"error: MLflow's store: {harmless(shown(said))}", file=sys.stderr)
            return 2

    return wrapped
