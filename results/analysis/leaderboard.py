"""Leaderboards: configurations that may be compared, ranked, with their differences from the best."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from mlflow.entities import Run

from bel.errors import UserError
from bel.run_layout import CHECKPOINT, CODE_VERSION, PARENT, RANKED, SELECTION_SPLIT, SPLIT_HASH, VAL_GROUPS, VAL_IMAGES
from bel.text import beyond_of, selection
from results.analysis.configurations import Configuration, configurations, error_of, is_ranked
from results.analysis.ranking import grouped, rank_key, table_key
from results.analysis.statistics import BOOTSTRAP_FROM, LEAST, Difference, mean_intervals
from results.store.runs import file_names, find_run, outcome, trials


@dataclass(frozen=True)
class Standing:
    """A row of a leaderboard: a configuration, its rank, and its difference from the best."""

    rank: int
    configuration: Configuration
    difference: Difference | None
    tied: bool  # with the leader: no difference shown, or too few groups to tell

    @property
    def verdict(self) -> str:
        """What may be said of its difference from the first; empty without predictions."""
        return "first" if self.rank == 1 else self.difference.verdict if self.difference else ""


@dataclass(frozen=True)
class Board:
    """Configurations measured on the same images and selected alike, the best first.

    `reason` says why it is not comparable with the first leaderboard; `all_axes` asks for a column for each of many axes.
    """

    standings: list[Standing]
    reason: str = ""
    all_axes: bool = False

    @property
    def leader(self) -> Configuration:
        """The best one."""
        return self.standings[0].configuration

    @property
    def heading(self) -> str:
        """What its errors are: `MAE`, or `TEST MAE`."""
        return selection(self.leader.params[SELECTION_SPLIT]).heading.removeprefix("val ")

    @cached_property
    def most_seeds(self) -> int:
        """Most seeds of a configuration."""
        return max(one.configuration.seed_count for one in self.standings)

    @cached_property
    def over_images(self) -> bool:
        """Whether the mean error over images is another one than that over groups in a row, as tables show them."""
        ones = (row.configuration for row in self.standings)
        return any(f"{one.image_mae:.3f}" != f"{one.mae:.3f}" for one in ones)

    @cached_property
    def by_run(self) -> dict[str, list[Standing]]:
        """The rows that a run is in, by its id."""
        found: dict[str, list[Standing]] = {}
        for row in self.standings:
            for run in row.configuration.runs:
                found.setdefault(run.info.run_id, []).append(row)
        return found

    @cached_property
    def best(self) -> tuple[Run, bool]:
        """The best one's run with the least error, of those with a checkpoint if any has one; and whether it has one."""
        runs = sorted(self.leader.runs, key=lambda run: rank_key(error_of(run), run.info.run_name))
        kept = next((run for run in runs if is_kept(run)), None)
        return kept or runs[0], kept is not None

    @cached_property
    def facts(self) -> dict[str, str]:
        """What its numbers are reported with: protocol, crop, unit, images, split, selection, seeds, code version."""
        first = self.leader
        runs = [run for standing in self.standings for run in standing.configuration.runs]

        def said(name: str) -> str:
            return " and ".join(sorted({run.data.params[name] for run in runs if name in run.data.params}))

        folds = first.params.get("folds")
        images, groups = said(VAL_IMAGES), said(VAL_GROUPS)
        if first.seeds:
            images, groups = str(len(first.seeds[0].names)), str(len(first.seeds[0].group_names))
        codes = " and ".join(sorted({run.data.tags.get(CODE_VERSION, "?") for run in runs}))
        return {
            "protocol": first.params["protocol"],
            "crop": said("crop"),
            "unit": first.params.get("unit", ""),
            "images": images,
            "groups": groups,
            "folds": folds or "",
            "split": said(SPLIT_HASH) if not folds else f"{folds} folds, split seed {said('split_seed')}",
            "selection": selection(first.params[SELECTION_SPLIT]).chosen,
            "seeds": said("seed"),
            "code": codes,
            "beyond": beyond_of(run.data.params for run in runs),
        }


def comparable_by(configuration: Configuration) -> tuple[str, ...]:
    """Return what has to be equal for two configurations to be in one leaderboard."""
    params = configuration.params
    names = ("protocol", SELECTION_SPLIT, "unit", "folds")
    return (*(params.get(name, "") for name in names), configuration.images, configuration.mean)


def how_it_differs(other: tuple[str, ...], first: tuple[str, ...]) -> str:
    """Say in what a leaderboard differs from the first one."""
    if other[1] == "test" != first[1]:
        return "selected on the test split"
    names = ("protocol", "selection", "unit", "folds", "images", "mean")
    return "another " + ", ".join(
        f"{name} ({theirs or 'none'}, not {ours or 'none'})"
        for name, theirs, ours in zip(names, other, first, strict=True)
        if theirs != ours
    )


def order_key(configuration: Configuration, most: int) -> tuple[bool, bool, float, str]:
    """Return the sort key of a configuration among others that have up to `most` seeds."""
    lacks = configuration.seed_count < most or bool(configuration.lacking)
    return rank_key(configuration.mae, configuration.name, lacks, configuration.stopped)


def differences_from(leader: Configuration, found: list[Configuration]) -> list[Difference | None]:
    """Return errors minus the best one's, paired over groups; None for itself, and for all without predictions."""
    if not leader.seeds:
        return [None] * len(found)
    gaps = mean_intervals([one.group_errors - leader.group_errors for one in found], compared=len(found))
    return [None if one is leader else gap for one, gap in zip(found, gaps, strict=True)]


def board(found: list[Configuration], reason: str, all_axes: bool = False) -> Board:
    """Rank configurations in a leaderboard."""
    most = max(one.seed_count for one in found)
    found = sorted(found, key=lambda one: order_key(one, most))
    leader = found[0]
    standings = []
    for rank, (one, difference) in enumerate(zip(found, differences_from(leader, found), strict=True), 1):
        equal = order_key(one, most)[:2] == order_key(leader, most)[:2]
        tied = equal and difference is not None and difference.verdict not in ("worse", "better")
        standings.append(Standing(rank, one, difference, tied))
    return Board(standings, reason, all_axes)


def boards(runs: Iterable[Run], by_decoder: bool = False, all_axes: bool = False) -> list[Board]:
    """Divide runs into leaderboards of what may be compared, the first of clean numbers and out of fold, if there are any.

    With `by_decoder` each decoder of a configuration has a row.
    """
    found = configurations(runs)
    if by_decoder:
        found = [one for configuration in found for one in configuration.by_decoder()]
    tables = grouped(found, comparable_by)
    clean_first = sorted(
        tables.items(), key=lambda item: (table_key(item[0][1], item[0][3], item[0][5], len(item[1])), item[0])
    )
    if not clean_first:
        return []
    first = clean_first[0][0]
    return [
        board(members, "" if key == first else how_it_differs(key, first), all_axes) for key, members in clean_first
    ]


def find_runs(run_id: str) -> list[Run]:
    """Find a run by its id, or of a parent run the best run of each leaderboard. Raises `UserError` for none."""
    run = find_run(run_id)
    if PARENT in run.data.tags:
        return [run]
    found = [board.best[0] for board in boards(trials([run]))]
    if not found:
        raise UserError(f"run {run_id} is a sweep without a finished trial: run the sweep again to go on")
    return found


def is_kept(run: Run) -> bool:
    """Return whether a run's checkpoint is in the store."""
    return CHECKPOINT in file_names(run)


def left_out(runs: Iterable[Run]) -> Counter[str]:
    """Count the trials that are in no leaderboard, by their outcome."""
    return Counter("no finite error" if outcome(run) in RANKED else outcome(run) for run in runs if not is_ranked(run))


def method(one: Board) -> str:
    """Say how the differences of a leaderboard were computed."""
    if not one.leader.seeds:
        return "no predictions are stored, so nothing is said of differences"
    groups = len(one.leader.group_errors)
    if groups < LEAST:
        return f"too few groups to tell differences: {groups}, at least {LEAST} are needed"
    how = "bootstrap over groups" if groups >= BOOTSTRAP_FROM else "Student's t over groups"
    at_once = (
        f", wide enough to hold for all {len(one.standings)} at once, whichever is first"
        if len(one.standings) > 2
        else ""
    )
    return f"differences from the first are paired over groups ({how}{at_once}); = is a tie with it"
