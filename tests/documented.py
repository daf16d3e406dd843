"""The keys of the commands' JSON as results/README.md has them, to be held against what is printed.

A row of a table there begins with a path, `a.b[].c`, and the keys below it, `.d`; `*` stands for a name of the data, `**` for
all below it.
"""

import json
import re
from typing import Any

from tests.conftest import PROJECT

README = PROJECT / "results/README.md"
Path = tuple[str, ...]


def documented(command: str) -> set[Path]:
    """The paths of a command's keys."""
    section = README.read_text().split(f"\n#### `{command}`")[1].split("\n#", 1)[0]
    found: set[Path] = set()
    for line in section.splitlines():
        if line.startswith("| `"):
            first, *below = re.findall(r"`([^`]+)`", line.split("|")[1])
            found |= {segments(first + key) for key in below} or {segments(first)}
    assert found, command
    return found


def segments(path: str) -> Path:
    """A path's names, a list's `[]` being one."""
    return tuple(re.findall(r"\[\]|[^.\[]+", path))


def printed(value: Any, path: Path = ()) -> set[Path]:
    """The paths of all values of a document; an empty list or mapping is a value."""
    if isinstance(value, dict) and value:
        return set().union(*(printed(part, (*path, key)) for key, part in value.items()))
    if isinstance(value, list) and value:
        return set().union(*(printed(part, (*path, "[]")) for part in value))
    return {path}


def fits(path: Path, pattern: Path) -> bool:
    """Whether a printed path is a documented one, or one that is null or empty above it."""
    if pattern[-1] == "**" and len(path) >= len(pattern):
        path, pattern = path[: len(pattern) - 1], pattern[:-1]
    pairs = list(zip(path, pattern, strict=False))
    return len(path) <= len(pattern) and all(
        wanted == "*" or re.fullmatch(re.escape(wanted).replace(r"\*", ".*"), name) for name, wanted in pairs
    )


def check(command: str, *documents: Any) -> None:
    """Fail unless all that is printed is documented, and all that is documented is printed in one of the documents."""
    patterns, paths = documented(command), set().union(*map(printed, documents))
    unknown = {path for path in paths if not any(fits(path, pattern) for pattern in patterns)}
    missing = {pattern for pattern in patterns if not any(reached(path, pattern) for path in paths)}
    assert not unknown and not missing, f"{command}: not documented {unknown}, not printed {missing}"
    assert all(re.fullmatch(r"\[\]|\*\*?|[a-z][a-z0-9_]*(_\*)?", name) for pattern in patterns for name in pattern)


def reached(path: Path, pattern: Path) -> bool:
    """Whether a path goes as far as a documented one."""
    return fits(path, pattern) and len(path) >= len(pattern) - (pattern[-1] in ("**", "[]"))


def document(capsys: Any) -> Any:
    """What was printed, which must be one JSON document."""
    return json.loads(capsys.readouterr().out, parse_constant=pytest_fail)


def pytest_fail(name: str) -> None:
    """Refuse NaN and infinities, which are no JSON."""
    raise AssertionError(f"{name} is no JSON")
