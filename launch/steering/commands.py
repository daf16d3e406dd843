"""A command to a running sweep and its driver's answer, as the parent run in MLflow keeps them: a tag of JSON each."""

from __future__ import annotations

import getpass
import json
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from typing import Any, TypeVar

from bel.errors import UserError
from bel.run_layout import ANSWER, COMMAND

T = TypeVar("T", bound="Command | Answer")
SETTINGS = ("trials", "at_once")  # of a running sweep, which `set` changes
MOST = 4000  # characters of a command: of a tag MLflow takes 5,000 at least


@dataclass(frozen=True)
class Command:
    """What a user asks of a sweep; `trial` has the key or the name of one of its trials, and is empty for all of it."""

    what: str
    by: str  # user@host
    at: str
    id: str
    driver: int  # number of the driver that was the sweep's last one then
    trial: dict[str, str] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What a driver did about a command, or why it refused it."""

    accepted: bool
    text: str
    at: str
    number: int  # of the answers of this sweep: in this order commands were done
    facts: dict[str, Any] = field(default_factory=dict)  # what a later driver needs to do it again


def now() -> str:
    """Return the time, UTC in ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def user() -> str:
    """Return who uses this process, as user@host."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container whose user has no name
        name = "?"
    return f"{name}@{socket.gethostname()}"


def new_command(
    what: str, driver: int, trial: Mapping[str, str] | None = None, arguments: Mapping[str, Any] | None = None
) -> Command:
    """Return a command of this user; ids of later ones sort behind it. Raises `UserError` for one that a tag cannot hold."""
    number = f"{time.time_ns():020d}-{secrets.token_hex(3)}"
    made = Command(what, user(), now(), number, driver, dict(trial or {}), dict(arguments or {}))
    if len(as_tag(made)) > MOST:
        raise UserError(f"a command has {MOST} characters at most, and this one {len(as_tag(made))}: send it in parts")
    return made


def as_tag(one: Command | Answer) -> str:
    """Return the value of a tag."""
    return json.dumps(asdict(one))


def from_tag(kind: type[T], value: str) -> T | None:
    """Return what a tag holds; None where it is damaged, or of another version."""
    try:
        content = json.loads(value)
        return kind(**{f.name: content[f.name] for f in fields(kind)})
    except (ValueError, TypeError, KeyError):
        return None


def commands_in(tags: Mapping[str, str]) -> dict[str, Command]:
    """Return the commands among the tags of a parent run by their ids, in the order in which they were sent."""
    names = sorted(name for name in tags if name.startswith(COMMAND))
    found = {name.removeprefix(COMMAND): from_tag(Command, tags[name]) for name in names}
    return {id: one for id, one in found.items() if one}


def answers_in(tags: Mapping[str, str]) -> dict[str, Answer]:
    """Return the answers among the tags of a parent run by the ids of their commands, in the order of their numbers."""
    found = {n.removeprefix(ANSWER): from_tag(Answer, tags[n]) for n in tags if n.startswith(ANSWER)}
    return dict(sorted(((id, one) for id, one in found.items() if one), key=lambda item: item[1].number))
