"""The data of a report: the leaderboards of a sweep, and what several sections derive from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from results.analysis.configurations import Configuration
from results.analysis.leaderboard import Board
from results.report.figures import Highlight, highlights
from results.report.hyperparameters import Hyperparameter, varied_hyperparameters


@dataclass(frozen=True)
class ReportData:
    """The leaderboards of a sweep, the first of which the figures show, and config fields that say where images are here."""

    boards: list[Board]
    changes: Mapping[str, Any]

    @property
    def board(self) -> Board:
        """The first leaderboard."""
        return self.boards[0]

    @property
    def unit(self) -> str:
        """The unit of its errors."""
        return self.board.facts["unit"] or "own unit"

    @property
    def measured_on(self) -> str:
        """The number of images and groups that its errors are of."""
        return "{images} images of {groups} groups".format_map(self.board.facts)

    @cached_property
    def configurations(self) -> list[Configuration]:
        """Its configurations, the best first."""
        return [standing.configuration for standing in self.board.standings]

    @cached_property
    def best(self) -> list[Highlight]:
        """The first configurations, with their colours."""
        return highlights(self.board)

    @cached_property
    def with_predictions(self) -> list[Highlight]:
        """Those of `best` that have predictions."""
        return [one for one in self.best if one.configuration.seeds]

    @cached_property
    def hyperparameters(self) -> list[Hyperparameter]:
        """The fields in which its configurations differ."""
        return varied_hyperparameters(self.configurations)
