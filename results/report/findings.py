"""What a report is about: the tables of a sweep, and what its parts ask of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from results.analysis.configurations import Configuration
from results.analysis.leaderboard import Board
from results.report.figures import Marked, marked
from results.report.varied import Field, varied


@dataclass(frozen=True)
class Findings:
    """What a report is about: its tables, the first of which the figures show, and what to change for images here."""

    boards: list[Board]
    changes: Mapping[str, Any]

    @property
    def first(self) -> Board:
        """The table that may be compared."""
        return self.boards[0]

    @property
    def found(self) -> list[Configuration]:
        """Its configurations, the best first."""
        return [standing.configuration for standing in self.first.standings]

    @property
    def unit(self) -> str:
        """The unit of its errors."""
        return self.first.facts["unit"] or "own unit"

    @property
    def heading(self) -> str:
        """What its errors are, in a word."""
        return self.first.heading

    @property
    def held(self) -> str:
        """On how much it was measured."""
        facts = self.first.facts
        return f"{facts['images']} images of {facts['groups']} groups"

    @cached_property
    def best(self) -> list[Marked]:
        """The first configurations, with their colours."""
        return marked(self.first)

    @cached_property
    def predicted(self) -> list[Marked]:
        """Those of the first that have predictions."""
        return [one for one in self.best if one.configuration.seeds]

    @cached_property
    def varied(self) -> list[Field]:
        """What its configurations differ in."""
        return varied(self.found)
