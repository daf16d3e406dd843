"""The results of sweeps for scripts and notebooks: the tables of `bel-results` as pandas frames, and what they say.

    >>> from results import Results
    >>> found = Results("demo")
    >>> found.leaderboard()[["configuration", "mae", "verdict"]]
    >>> print(found.verdict())
    >>> print(found.compare("j-150 bce lr=5e-4", "u-150 bce lr=5e-4").verdict)

Nothing is printed, and torch is not imported.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from bel.errors import UserError, one_of
from bel.output import Report, without_collection
from bel.run_layout import PREDICTIONS
from results.analysis.configurations import configurations
from results.analysis.contenders import by_name, contenders, loaded
from results.analysis.leaderboard import Board, boards, left_out
from results.analysis.pairwise import comparison
from results.store.runs import find_sweeps, trials
from results.tables import best, frames, leaderboard, pairwise


@dataclass(frozen=True, repr=False)
class Comparison(Report):
    """Contenders on the same images: its text and `values` are those of `bel-results compare`."""

    @property
    def frame(self) -> pd.DataFrame:
        """A row for each contender: its errors, and their difference from the first one's, with intervals and verdict."""
        return frames.contender_frame(self.values)

    @property
    def by_group(self) -> pd.DataFrame:
        """A row for each group, the largest difference first, with a column for each contender's letter."""
        return frames.part_frame(self.values, self.values["by_group"])

    def by_target(self, axis: str) -> pd.DataFrame:
        """Return a row for each bin of an axis's targets, with a column for each letter. Raises `UserError` for no axis."""
        one_of("axis", axis, self.values["by_angle"])
        return frames.part_frame(self.values, self.values["by_angle"][axis])

    @property
    def verdict(self) -> str:
        """A line for each contender after the first: its difference from that one, with its interval, and what follows."""
        return pairwise.verdict(self.values)


class Results:
    """What became of sweeps, as MLflow has it now: a sweep that still runs has the trials that have ended."""

    def __init__(self, *sweeps: str, filter: str = "") -> None:
        """Find sweeps by name or by a run id; `filter` is one of MLflow's, such as `params.head = 'bel'`.

        Raises `UserError` for one that the store does not have.
        """
        if not sweeps:
            raise UserError("Results are of one sweep or more: give a name or a run id")
        if odd := [name for name in sweeps if not isinstance(name, str)]:
            raise UserError(f"a sweep is a name or a run id as text, got {odd[0]!r}")
        self.sweeps, self.filter, self.names = find_sweeps(sweeps), filter, sweeps

    def __repr__(self) -> str:
        return f"Results({', '.join(map(repr, self.names))})"

    def runs(self) -> pd.DataFrame:
        """Return a row for each trial, however it ended."""
        return frames.run_frame(trials(self.sweeps, self.filter))

    def boards(self, decoders: bool = False, all_axes: bool = False) -> tuple[list[Board], str]:
        """Return the leaderboards, and how many trials are in none of them. Raises `UserError` where there is none."""
        with without_collection():  # all that is made stays until the last table is
            runs = trials(self.sweeps, self.filter)
            found = boards(runs, decoders, all_axes)
        missing = ", ".join(f"{count} {how}" for how, count in sorted(left_out(runs).items()))
        if not found:
            raise UserError(
                f"no trial of {' '.join(self.names)} has an error to rank ({missing or 'no trial at all'}): run the sweep"
            )
        return found, missing

    def leaderboard(self, decoders: bool = False) -> pd.DataFrame:
        """Return the first leaderboard, the best configuration first; with `decoders` a row for each decoder.

        Raises `UserError` where no trial has an error to rank.
        """
        return self.leaderboards(decoders)[0]

    def leaderboards(self, decoders: bool = False) -> list[pd.DataFrame]:
        """Return every leaderboard: one for each protocol, selection and set of images, which are not comparable."""
        return list(map(frames.board_frame, leaderboard.records(self.boards(decoders)[0])))

    def verdict(self) -> str:
        """Say which configuration is first, which cannot be told from it and which are worse, of the first leaderboard."""
        return best.verdict(self.boards()[0][0])

    @property
    def best(self) -> str:
        """Id of the best configuration's run, one with a checkpoint if there is any: `Model(results.best)` loads it."""
        return str(self.boards()[0][0].best[0].info.run_id)

    def compare(self, *names: str, split: str = "val", decoder: str | None = None) -> Comparison:
        """Compare configurations by name, or runs by id, on the same images of `val` or `test`.

        Raises `UserError` for what cannot be compared.
        """
        one_of("split", split, PREDICTIONS)
        known = {one.name: one for one in configurations(trials(self.sweeps, self.filter))}
        values = comparison(contenders(names, known, split, decoder), split)
        return Comparison(values, pairwise.text(values))

    def errors(self, name: str | None = None, split: str = "val", decoder: str | None = None) -> pd.DataFrame:
        """Return targets, predictions and errors of a configuration or a run, by default the best one, image by image.

        Raises `UserError` for an unknown name, and where predictions are missing.
        """
        one_of("split", split, PREDICTIONS)
        known = {one.name: one for one in configurations(trials(self.sweeps, self.filter))}
        one = self.boards()[0][0].leader if name is None else by_name(name, known)
        return frames.image_frame(loaded(one, split, decoder))
