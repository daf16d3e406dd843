"""Errors with a message for the user, and functions that check and convert values."""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

# In a URL: user and password, and parameters that are credentials.
CREDENTIALS = re.compile(
    r"(?<=://)[^\s/]+@|(?i:[?&](?:[\w-]*(?:pass|secret|token|key|sig|credential)[\w-]*)=(?:[^&\s'\":]|:(?=\S))*)"
)
LONGEST = 2000  # characters of a message
TINY = 1e-300  # the smallest positive number that a bound means by "above 0"
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


class UserError(ValueError):
    """An error that the user can correct; its message states the rule, the value, the choices and what to do."""


class Diverged(UserError):  # noqa: N818 - it names an outcome
    """The loss or the validation error of a training is not finite: it has ended, and ranks as the worst."""


def shown(text: object) -> str:
    """Return a text without users and passwords in its URLs, and without its middle where it is very long."""
    found = CREDENTIALS.sub("", str(text))
    return found if len(found) <= LONGEST else f"{found[: LONGEST - 500]} [...] {found[-500:]}"


def sentence(error: BaseException) -> str:
    """Return an error in one line: the text of a `UserError`, else the type and the first line of the message."""
    lines = shown(error).split("\n")
    if isinstance(error, UserError):
        return " ".join(line.strip() for line in lines)
    first = next((line.strip() for line in lines if line.strip()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def one_of(what: str, value: object, choices: Iterable[object]) -> None:
    """Raise `UserError` unless `value` is one of `choices`."""
    names = list(choices)
    if value not in names:
        raise UserError(f"{what} must be one of {names}, got {value!r}")


def within(name: str, value: float | None, low: float, high: float) -> None:
    """Raise `UserError` unless `value` is None or in [low, high]."""
    if value is not None and not low <= value <= high:
        bounds = f"above 0 and at most {high:g}" if low == TINY else f"from {low:g} to {high:.10g}"
        if high == math.inf:
            bounds = f"at least {low:g}"
        raise UserError(f"{name} must be {bounds}, got {value!r}")


def refuse_unknown(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise `UserError` naming the first of `given` that is not in `known`, and the known one that is spelled most like it."""
    names = list(known)
    for name in given:
        if name not in names:
            near = get_close_matches(str(name), map(str, names), n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"unknown {what} {name!r}: choose from {names}{meant}")


def setting_of(pair: str) -> tuple[str, str | None]:
    """Split KEY=VALUE; the value is None where it is empty. Raises `UserError`."""
    key, equals, value = pair.partition("=")
    if not key or not equals:
        raise UserError(f"--set wants KEY=VALUE, got {pair!r}")
    return key, value or None


def convert_to(kind: type, what: str, value: Any, words: Sequence[str] = ()) -> Any:
    """Convert a value, or its text (YAML reads 1e-4 as text), to str, bool, int or float. Raises `UserError`.

    One of `words` stays as it is.
    """
    if isinstance(value, str) and value in words:
        return value
    try:
        return CONVERT[kind](value)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise UserError(f"{what} must be {' or '.join([NOUNS[kind], *words])}, got {value!r}") from None


def absolute(what: str, path: str) -> Path:
    """Return an absolute path. Raises `UserError` where it begins with ~ and there is no such home."""
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise UserError(f"cannot find the {what} {path}: {error}") from error


def text(value: Any) -> str:
    """Return a string unchanged. Raises `TypeError` for anything else."""
    if not isinstance(value, str):
        raise TypeError
    return value


def real(value: Any) -> float:
    """Convert a number or its text to a finite float. Raises `ValueError`."""
    unlike = isinstance(value, str) and not NUMBER.fullmatch(value.strip())  # such as 1_0, which Python reads as 10
    if unlike or isinstance(value, bool) or not math.isfinite(number := float(value)):
        raise ValueError
    return number


def whole(value: Any) -> int:
    """Convert a whole number or its text to int. Raises `ValueError`."""
    number = real(value)
    if number != int(number):
        raise ValueError
    return int(number)


def flag(value: Any) -> bool:
    """Convert true or false, or its text, to bool. Raises `KeyError`."""
    return {"true": True, "false": False}[str(value).lower()]


CONVERT: dict[type, Callable[[Any], Any]] = {str: text, bool: flag, int: whole, float: real}
NOUNS = {str: "text", bool: "true or false", int: "a whole number", float: "a finite number"}
