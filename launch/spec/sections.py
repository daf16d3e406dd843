"""Sections of a sweep file as dataclasses: each key is converted to its field's type and checked against its bounds."""

import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import Field, field, fields
from typing import Any, TypeVar

from bel.errors import UserError, convert_to, refuse_unknown, within

T = TypeVar("T")


def key(
    default: Any, low: float = -math.inf, high: float = math.inf, check: Callable[[str, Any], Any] | None = None
) -> Any:
    """A field with its default and its bounds, both included; or with a `check` that converts a value and may refuse it."""
    return field(default=default, metadata={"bounds": (low, high), "check": check})


def mapping(what: str, value: Any) -> dict[str, Any]:
    """A copy of a mapping with text keys; None counts as empty. Raises `UserError` for anything else."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise UserError(f"{what} must be a mapping of names to values, got {value!r}")
    return dict(value)


def section(kind: type[T], name: str, value: Any) -> T:
    """Return the dataclass of a section. Raises `UserError` for an unknown key, and for a wrong type or bound."""
    values = mapping(name, value)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    refuse_unknown(f"key in {name}", values, known)
    return kind(**{k: checked(kind, known[k], f"{name}.{k}", v) for k, v in values.items() if v is not None})


def checked(kind: type, f: Field[Any], what: str, value: Any) -> Any:
    """The value of a key as its field takes it. Raises `UserError` where it does not."""
    if f.metadata["check"]:
        return f.metadata["check"](what, value)
    hint = typing.get_type_hints(kind)[f.name]
    converted = convert_to((typing.get_args(hint) or (hint,))[0], what, value)
    if f.metadata["bounds"] != (-math.inf, math.inf):
        within(what, converted, *f.metadata["bounds"])
    return converted
