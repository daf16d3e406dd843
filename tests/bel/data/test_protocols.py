"""A third built-in protocol: lists in messages and widths of tables are derived."""

from dataclasses import replace

import pytest
import torch

from bel.config import TrainConfig
from bel.data.checking.folder import check
from bel.data.labels import label_rows, sketch
from bel.data.protocols import PROTOCOLS
from bel.data.readers.base import Source
from bel.deploy.published import refuse_options
from bel.errors import UserError

NAME = "third_protocol_of_a_long_name"


@pytest.fixture
def third(monkeypatch):
    """BIWI once more, under longer names and without a published training."""
    biwi = PROTOCOLS["biwi"]

    def renamed(source: Source, part: str) -> Source:
        return replace(source, name=f"{NAME}_{part}")

    axes = tuple(replace(axis, name=f"{axis.name}_of_the_whole_head") for axis in biwi.axes)
    parts = {part: renamed(getattr(biwi, part), part) for part in ("train", "test")}
    protocol = replace(biwi, axes=axes, published={}, options={}, **parts)
    monkeypatch.setitem(PROTOCOLS, NAME, protocol)
    return protocol


def test_messages_list_the_protocols_that_are_meant(third):
    with pytest.raises(
        UserError, match=rf"of the protocols \['aflw2000', 'biwi'\], not of {NAME}: set recipe to clean"
    ):
        TrainConfig.make({"protocol": NAME, "recipe": "published", "code": "u"})
    with pytest.raises(UserError, match=r"must be one of \['aflw2000', 'biwi', 'third_protocol"):
        TrainConfig.make({"protocol": "fourth", "code": "u"})
    with pytest.raises(UserError, match=r"add --protocol, one of \['aflw2000', 'biwi'\]"):
        refuse_options("f.pth", "bel", {})
    with pytest.raises(UserError, match=r"must be one of \['aflw2000', 'biwi'\], got 'third_protocol"):
        refuse_options("f.pth", "bel", {"protocol": NAME})


def test_no_cells_of_a_table_touch(third, rendered):
    report = check(rendered, third, NAME).table()
    lines = [line for line in report.splitlines() if line.startswith(f"{NAME}_t")]
    assert len(lines) == 2 + 6 and all(line.split()[0] in (f"{NAME}_train", f"{NAME}_test") for line in lines)
    assert all(line.split()[1] in {axis.name for axis in third.axes} for line in lines[2:])
    heading, *rows = sketch(label_rows(torch.zeros(4, 3, dtype=torch.float64), third.axes)).splitlines()
    starts = {line.index("|") for line in rows} | {heading.index("images by level")}
    assert len(starts) == 1 and all(
        row.split()[:2] == [a.name, str(a.levels)] for row, a in zip(rows, third.axes, strict=True)
    )
