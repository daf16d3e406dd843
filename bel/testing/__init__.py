"""Contracts of what a plug-in brings, for its author's tests: each raises `AssertionError` where a rule is broken.

    from bel.testing import check_plugin
    def test_my_plugin():
        check_plugin("my_package")                            # or "my_module.py"; a reader is checked on data, too:
        check_plugin("my_package", data_root="tests/data")

The tests of this package run the same checks for every head, code and regulariser that comes with it.
"""

from pathlib import Path

from bel.errors import UserError
from bel.plugins.registry import OWNERS, UNUSABLE, load, load_installed
from bel.testing import backbones, codes, heads, readers, regularisers


def check_plugin(name: str, data_root: str | Path | None = None) -> list[str]:
    """Check all that a plug-in brings, its readers on the data in a folder; return the entries, as `heads mine`.

    `name` is an installed module or package, or a file. Raises `UserError` where there is none.
    """
    load_installed()
    assert not UNUSABLE, f"entry points that cannot be used: {UNUSABLE}"
    entries = [entry for entry, owner in OWNERS.items() if f"{owner.name}.".startswith(f"{name}.")]
    if not entries:
        found = load([name])
        entries = [entry for entry, owner in OWNERS.items() if owner.name in found]
    for group, entry in entries:
        check(group, entry, data_root)
    return [" ".join(entry) for entry in entries]


def check(group: str, name: str, data_root: str | Path | None = None) -> None:
    """Check one entry of a registry, a reader on the data in a folder. Raises `UserError` for a reader without data."""
    if group == "heads":
        for config in heads.configs(name):
            for rule in heads.CHECKS:
                rule(config)
    elif group == "regularisers":
        for config in regularisers.configs(name):
            for rule in regularisers.CHECKS:
                rule(config)
    elif group == "codes":
        codes.check_code(name)
    elif group == "backbones":
        backbones.check_backbone(name)
    elif data_root is None:
        raise UserError(f"reader {name} is checked on data: give data_root")
    else:
        readers.check_reader(name, Path(data_root))
