"""The registries that plug-ins extend, what is of which plug-in, and the plug-ins that a config uses.

Two ways lead here: entry points of installed packages (groups `bel.heads`, `bel.codes`, `bel.backbones`, `bel.readers`,
`bel.regularisers`), and the modules that the config field `plugins` names.
"""

from collections.abc import Callable, Mapping
from dataclasses import Field, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import Any

import numpy as np

from bel.codes.file import Bits, checked_matrix
from bel.codes.library import CODES, Code
from bel.config_fields import FIELDS, add_field, remove_field
from bel.data.protocols import CSV, PROTOCOLS, Protocol
from bel.errors import UserError, sentence
from bel.heads import HEADS, OPTIONS, BaseHead
from bel.model import BACKBONES
from bel.plugins.module import Module, digest, find, run, source_files
from bel.regularisers import NONE, REGULARISERS, Regulariser
from bel.timm_trunk import PREFIX

REGISTRIES: dict[str, dict[str, Any]] = {
    "heads": HEADS, "codes": CODES, "backbones": BACKBONES, "readers": PROTOCOLS, "regularisers": REGULARISERS,
}  # fmt: skip
OF_FIELD = {  # which registry has the value of a config field
    "head": "heads", "code": "codes", "backbone": "backbones", "protocol": "readers", "regulariser": "regularisers",
}  # fmt: skip
FITS: dict[str, tuple[str, Callable[[Any], bool]]] = {  # what an entry must be: in words, and as a function
    "heads": ("a subclass of bel.heads.BaseHead", lambda x: is_kind(x, BaseHead)),
    "codes": ("a function from a number of levels to a 0/1 matrix", callable),
    "backbones": ("a function without arguments that returns a torch.nn.Module", callable),
    "readers": ("a bel.data.protocols.Protocol", lambda x: isinstance(x, Protocol)),
    "regularisers": ("a subclass of bel.regularisers.Regulariser", lambda x: is_kind(x, Regulariser)),
}  # fmt: skip
OWNERS: dict[tuple[str, str], Module] = {}  # plug-in of each of its entries, by group and name
UNUSABLE: dict[tuple[str, str], str] = {}  # why an entry of an installed plug-in is not there
Sources = dict[str, str]  # text of files by path


class UnfitCodeError(UserError):
    """The matrix of a plug-in's code is none, for a number of levels that the code takes."""


def is_kind(item: Any, kind: type) -> bool:
    """Return whether an item is a class of a kind."""
    return isinstance(item, type) and issubclass(item, kind)


def register(group: str, name: str, item: Any, owner: Module) -> None:
    """Add an entry of a plug-in to its registry. Raises `UserError` where it does not fit, or its name is taken."""
    if OWNERS.get((group, name)) == owner:
        return
    what, fits = FITS[group]
    if not fits(item):
        raise UserError(f"{group} {name} of the plug-in {owner.title} must be {what}, got {item!r}")
    if name in REGISTRIES[group] or name in (CSV, NONE) or not name.replace("-", "_").isidentifier():
        taken = OWNERS[group, name].title if (group, name) in OWNERS else "this package"
        why = f"{taken} has one of that name" if name in REGISTRIES[group] else "a name is of letters, digits, _ and -"
        raise UserError(f"{group} {name!r} of the plug-in {owner.title} cannot be added: {why}; choose another name")
    if group == "heads":
        add_fields(item, owner)
    if group == "readers":
        item = versioned(name, item, owner)
    elif group == "codes":
        item = checked(name, item, owner)
    REGISTRIES[group][name] = item
    OWNERS[group, name] = owner


def add_fields(head: type[BaseHead], owner: Module) -> None:
    """Add the config fields that a head brings. Raises `UserError` where one is not new or has no default."""
    unknown = [name for name in head.options if name not in OPTIONS and name not in head.new_fields]
    if unknown:
        why = "is a field of every config: rename it" if unknown[0] in FIELDS else "must be in new_fields"
        raise UserError(f"option {unknown[0]} of {head.__name__} of the plug-in {owner.title} {why}")
    for name, field in head.new_fields.items():
        if FIELDS.get(name, field) is not field or head.options.get(name) is None or not isinstance(field, Field):
            raise UserError(
                f"new field {name!r} of {head.__name__} of the plug-in {owner.title} must be what bel.config_fields.option "
                "returns, with a name that is not taken, and with its default in options"
            )
    for name, field in head.new_fields.items():
        add_field(name, field, type(head.options[name]))
    OPTIONS.update(dict.fromkeys(head.options))


def checked(name: str, code: Code, owner: Module) -> Code:
    """Return a code whose matrices are checked, and the same in each call of this process.

    It raises `UserError` where the code fails, gives no 0/1 matrix with a row a level, or another one when it is called again.
    """

    @cache
    def matrix(levels: int) -> Bits:
        what = f"the matrix of code {name} of the plug-in {owner.title}"
        try:
            found, again = (np.asarray(code(levels)) for _ in range(2))
        except UserError:
            raise
        except Exception as error:
            raise UnfitCodeError(f"{what} cannot be made for {levels} levels: {sentence(error)}") from error
        if not np.array_equal(found, again):
            raise UnfitCodeError(f"{what} is another one in each call: draw it from a generator with a fixed seed")
        try:
            return checked_matrix(
                what, found, levels, "raise bel.errors.UserError for those that the code does not take"
            )
        except UserError as error:
            raise UnfitCodeError(str(error)) from None

    return matrix


def versioned(name: str, protocol: Protocol, owner: Module) -> Protocol:
    """Return a protocol whose prepared images are its own, and are prepared again where the plug-in changes."""
    train, test = (
        replace(source, name=f"{name}_{part}", version=owner.digest)
        for part, source in (("train", protocol.train), ("test", protocol.test))
    )
    return replace(protocol, train=train, test=test)


@cache
def load_installed() -> None:
    """Register the entry points of installed packages, once; one that fails is refused where its name is used."""
    for group in REGISTRIES:
        for entry in sorted(entry_points(group=f"bel.{group}"), key=lambda entry: (entry.name, entry.value)):
            try:
                register(group, entry.name, entry.load(), module_of(entry))
            except Exception as error:
                UNUSABLE[group, entry.name] = f"the plug-in {entry.value} has it, and cannot be used: {sentence(error)}"


def module_of(entry: EntryPoint) -> Module:
    """Return the module of an entry point."""
    return Module(entry.module, digest(source_files(entry.module)))


def load(names: Any, folder: Path | None = None) -> list[str]:
    """Register installed plug-ins and those of some names, beside `folder`; return the names as configs hold them.

    Raises `UserError` for a plug-in that is not there or cannot be used.
    """
    load_installed()
    given = [] if names is None else [names] if isinstance(names, str) else names
    if not isinstance(given, list | tuple):
        raise UserError(f"plugins must be a list of modules, files or names, got {names!r}")
    found = [find(name, folder or Path.cwd()) for name in given]
    for name in found:
        if name not in {owner.name for owner in OWNERS.values()}:
            register_all(*run(name))
    return found


def register_all(owner: Module, tables: Mapping[str, Any]) -> None:
    """Register all entries of a plug-in, or none. Raises `UserError` where one does not fit."""
    try:
        for group, table in tables.items():
            for name, item in table.items():
                register(group, name, item, owner)
    except UserError:
        for group, name in [entry for entry, whose in OWNERS.items() if whose == owner]:
            for field in getattr(REGISTRIES[group].pop(name), "new_fields", {}):
                remove_field(field)
                OPTIONS.pop(field, None)
            del OWNERS[group, name]
        raise


def refuse_unusable(values: Mapping[str, Any]) -> None:
    """Raise `UserError` where a config field has the name of an entry that its installed plug-in cannot give."""
    for field, group in OF_FIELD.items():
        name = values.get(field)
        if isinstance(name, str) and name not in REGISTRIES[group] and (group, name) in UNUSABLE:
            raise UserError(f"{field} {name!r}: {UNUSABLE[group, name]}")


def used(values: Mapping[str, Any]) -> list[Module]:
    """Return the plug-ins that the values of a config use, by name."""
    pairs = [(group, values[field]) for field, group in OF_FIELD.items() if isinstance(values.get(field), str)]
    found = {OWNERS[pair].name: OWNERS[pair] for pair in pairs if pair in OWNERS}
    return [found[name] for name in sorted(found)]


def digests(values: Mapping[str, Any]) -> str:
    """Return name and digest of the plug-ins that a config uses, and the version of timm; empty without any."""
    timm = [f"timm {version('timm')}"] if str(values.get("backbone")).startswith(PREFIX) else []
    return ", ".join([*(module.title for module in used(values)), *timm])


def sources(values: Mapping[str, Any]) -> Sources:
    """Return the text of the files among the plug-ins that a config uses, by path: for another process or machine."""
    return {module.name: module.text for module in used(values) if module.text is not None}
