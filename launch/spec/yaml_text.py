"""YAML as sweep files and configs hold it: values by the rules of YAML 1.2, each key once, of limited size."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import yaml

from bel.errors import UserError
from launch.spec.sections import mapping

MAX_CHARACTERS = 250_000  # characters of a file with its aliases expanded
MAX_DEPTH = 50  # collections within each other

# Everything else is text, as it is typed. YAML 1.1 reads on as true, 1_0 as 10, 010 as 8, 1:30 as 90, and dates as dates.
PLAIN = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    "float": (r"[-+]?((\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))|\.(nan|NaN|NAN)", list("-+.0123456789")),
    "merge": (r"<<", ["<"]),
}  # fmt: skip
KNOWN = ("null", "bool", "int", "float", "str", "seq", "map")


class Loader(yaml.SafeLoader):
    """Loads plain values; refuses every other tag."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as in its base
    yaml_constructors = {  # noqa: RUF012
        tag: made
        for tag, made in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in KNOWN
    }
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node with all that is in it. Raises `RecursionError` long before Python would."""
        self.depth += 1
        if self.depth > MAX_DEPTH + 1:
            raise RecursionError
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would read as another type."""


for name, (pattern, first) in PLAIN.items():
    for kind in (Loader, Dumper):
        kind.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(f"({pattern})$"), first)


Dumper.add_multi_representer(Mapping, lambda dumper, value: dumper.represent_dict(dict(value)))  # type: ignore[type-abstract]
Dumper.add_multi_representer(PurePath, lambda dumper, value: dumper.represent_str(str(value)))
Dumper.add_multi_representer(np.generic, lambda dumper, value: dumper.represent_data(value.item()))  # type: ignore[type-abstract]
Dumper.add_representer(np.ndarray, lambda dumper, value: dumper.represent_list(value.tolist()))


def dump(values: Any) -> str:
    """Return plain values as YAML, in their order."""
    return str(yaml.dump(values, Dumper=Dumper, sort_keys=False))


def as_read(what: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as they would be read from a file that holds them, in new lists and mappings.

    Raises `UserError` for what no file can hold.
    """
    try:
        text = dump(values)
    except (yaml.YAMLError, RecursionError) as error:
        raise UserError(
            f"{what} must hold numbers, texts, lists and mappings alone: {' '.join(map(str, error.args))}"
        ) from error
    return mapping(what, parse(what, text))


def load(path: Path, missing: str) -> dict[str, Any]:
    """Return the mapping in a YAML file. Raises `UserError` where it holds none, with the text `missing` for no file."""
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_CHARACTERS + 1)
    except FileNotFoundError:
        raise UserError(missing) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable YAML: {error}") from error
    return mapping(f"{path}", parse(f"{path}", text))


def parse(what: str, text: str) -> Any:
    """Return the plain values of a text. Raises `UserError` for no YAML, a key twice, too many characters or depth."""
    try:
        loader = Loader(text[: MAX_CHARACTERS + 1])
        node = loader.get_single_node() if len(text) <= MAX_CHARACTERS else None
        size, depth = size_and_depth(node, {}) if node else (len(text), 0)
        if size <= MAX_CHARACTERS and depth <= MAX_DEPTH:
            return loader.construct_document(node) if node else None
    except RecursionError:
        size, depth = 0, MAX_DEPTH + 1
    except (KeyError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{what} is not readable YAML: {' '.join(str(error).split())}") from error
    if size > MAX_CHARACTERS:
        raise UserError(
            f"{what} is too large: it may have {MAX_CHARACTERS} characters, what its aliases stand for counted each time"
        )
    raise UserError(f"{what} is nested too deeply: at most {MAX_DEPTH} collections within each other")


def size_and_depth(node: yaml.Node, known: dict[yaml.Node, tuple[int, int]]) -> tuple[int, int]:
    """Return characters and depth of a node with its aliases expanded, without expanding them."""
    if isinstance(node, yaml.ScalarNode):
        return len(node.value) + 1, 0
    if node not in known:
        known[node] = 1, MAX_DEPTH  # a node within itself is too deep
        if isinstance(node, yaml.MappingNode):
            refuse_duplicate_keys(node)
        parts = [part for entry in node.value for part in (entry if isinstance(entry, tuple) else (entry,))]
        measured = [size_and_depth(part, known) for part in parts]
        known[node] = 1 + sum(size for size, _ in measured), 1 + max((depth for _, depth in measured), default=0)
    return known[node]


def refuse_duplicate_keys(node: yaml.MappingNode) -> None:
    """Raise a YAML error where a mapping has a key twice; PyYAML would take the last one."""
    seen = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value in seen:
            raise yaml.MarkedYAMLError(problem=f"the key {key.value!r} is there twice", problem_mark=key.start_mark)
        seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
