"""The best configuration of a sweep, as plain values and as text."""

from dataclasses import dataclass
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from bel.run_layout import CHECKPOINT, SELECTION_SPLIT
from bel.text import harmless, selection
from results.analysis.configurations import Configuration, error_of
from results.analysis.leaderboard import Board, method
from results.tables.leaderboard import records


@dataclass(frozen=True)
class BestRun:
    """A sweep's parent run, its leaderboards, and the best configuration's run to go on with."""

    sweep: Run
    tables: list[Board]
    run: Run
    kept: bool  # whether the run's checkpoint is in the store

    @property
    def leader(self) -> Configuration:
        """The best configuration of the first table."""
        return self.tables[0].leader

    @property
    def sweep_name(self) -> str:
        """The sweep's name, that of its experiment."""
        return str(MlflowClient().get_experiment(self.sweep.info.experiment_id).name)


def as_values(best_run: BestRun) -> dict[str, Any]:
    """Return the best configuration as its leaderboard has it, its rivals, and the run to go on with, in plain values."""
    table, run = best_run.tables[0], best_run.run
    (record,) = records([table])
    return {
        "sweep": best_run.sweep_name,
        "sweep_id": best_run.sweep.info.run_id,
        "tables": len(best_run.tables),
        "configurations": len(table.standings),
        "facts": record["facts"],
        "method": record["method"],
        "best": record["rows"][0],
        **rivals(table),
        "run": {
            "run_id": run.info.run_id,
            "name": run.info.run_name,
            "mae": error_of(run),
            "fold": number(run.data.params.get("fold")),
            "folds": number(run.data.params.get("folds")),
            "checkpoint_kept": best_run.kept,
        },
    }


def number(parameter: str | None) -> int | None:
    """Return a whole number that a run may lack."""
    return None if parameter is None else int(parameter)


def described(best_run: BestRun) -> str:
    """Describe the best configuration: its errors, its ties, and the run to go on with."""
    table, leader, run = best_run.tables[0], best_run.leader, best_run.run
    facts, unit = table.facts, table.facts["unit"] or "own unit"
    word = selection(run.data.params[SELECTION_SPLIT]).heading
    lines = [
        f"best of sweep {best_run.sweep_name} (parent run {best_run.sweep.info.run_id}), of {len(table.standings)} "
        f"configurations: {leader.name}",
        measured(table),
        f"{facts['protocol']}, crop {facts['crop']}, split {facts['split']}, {facts['selection']}, code {facts['code']}",
        *([f"note: {facts['beyond']}"] if facts["beyond"] else []),
        *ties(table),
        f"run {run.info.run_id}, {run.info.run_name}: {word} {error_of(run):.3f} {unit}{run_notes(best_run)}",
    ]
    if len(best_run.tables) > 1:
        lines.append(
            f"{len(best_run.tables) - 1} more tables are not comparable with it: bel-results leaderboard shows them"
        )
    return "\n".join(map(harmless, lines))


def measured(table: Board) -> str:
    """Say the error of the best configuration, its interval, and over what it is a mean."""
    facts, leader = table.facts, table.leader
    mean = f"over {facts['groups']} groups of {facts['images']} images"
    if leader.mean == "images":
        mean = f"over {facts['images']} images, as an earlier version logged it"
    interval = "95 % interval {:.3f} to {:.3f}".format(*leader.interval) if leader.interval else "no interval"
    spread = leader.seed_spread
    repeats = "one seed" if spread is None else f"mean of {leader.seed_count} seeds (sd {spread:.3f})"
    return f"{table.heading} {leader.mae:.3f} {facts['unit'] or 'own unit'}, {interval}, {mean}, {repeats}"


def verdict(table: Board) -> str:
    """Say which configuration is first, which cannot be told from it, and which are worse."""
    lines = [f"first of {len(table.standings)} configurations: {table.leader.name}", measured(table)]
    worse = [one.configuration.name for one in table.standings if one.verdict == "worse"]
    stopped = [one.configuration.name for one in table.standings if one.configuration.stopped]
    *rest, how = ties(table) or [""]
    for names, what in ((worse, "worse"), (stopped, "measured after fewer epochs, where the scheduler stopped")):
        rest += [f"{count(names)} {what}: {', '.join(names)}"] if names else []
    return "\n".join(harmless(line) for line in (*lines, *rest, how) if line)


def rivals(table: Board) -> dict[str, list[str]]:
    """Return the configurations that are tied with the best, that nothing tells from it, and that have less error."""
    tied = [one for one in table.standings if one.tied]
    return {
        "tied": [one.configuration.name for one in tied if one.difference and one.difference.interval is not None],
        "cannot_tell": [one.configuration.name for one in tied if one.difference and one.difference.interval is None],
        "ahead": [one.configuration.name for one in table.standings if one.difference and one.difference.mean < 0],
    }


def ties(table: Board) -> list[str]:
    """Say which configurations are tied with the best, and how differences were computed."""
    found = rivals(table)
    lines = [f"{count(found[name])} {what}: {', '.join(found[name])}" for name, what in RIVALS.items() if found[name]]
    if not lines and table.leader.seeds and len(table.standings) > 1:
        lines = ["no configuration is tied with it"]
    return [*lines, f"({method(table).split(';')[0]})"] if len(table.standings) > 1 else []


RIVALS = {
    "tied": "tied with it",
    "cannot_tell": "not to be told from it, by too few groups",
    "ahead": "with less error, but of fewer seeds, folds or epochs",
}


def count(names: list[str]) -> str:
    """Begin a sentence about some configurations."""
    return "1 configuration is" if len(names) == 1 else f"{len(names)} configurations are"


def run_notes(best_run: BestRun) -> str:
    """Say which of the configuration's runs it is, and what it lacks."""
    params, several = best_run.run.data.params, len(best_run.leader.runs) > 1
    said = f", the least of its {len(best_run.leader.runs)} runs" if several else ""
    if "fold" in params:
        said += (
            f"; it is the run of one fold, {params['fold']} of {params['folds']}, trained without that fold's images"
        )
    if not best_run.kept:
        said += (
            f"; NO CHECKPOINT: none of its runs has its {CHECKPOINT} any more (keep of the sweep says how many stay)"
        )
    return said
