"""What a sweep came to, as plain values: its tables, the best first, its Pareto front, and how its trials ended."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from bel.run_layout import BEST_EPOCH, BY_IMAGE, RANKED, SELECTION_SPLIT, SPLIT_HASH, VAL_GROUPS, VAL_IMAGES, Outcome
from bel.text import beyond_of, selection
from bel.training.evaluate import unit, width
from launch.console.standings import RANKS, Standing
from launch.runs import Run, SweepRuns, by_configuration, mean, pareto_front
from launch.spec.sweep_file import Sweep
from results.analysis.ranking import configuration_name

Values = dict[str, Any]


def trial_counts(sweep_runs: SweepRuns, total: int) -> Values:
    """Return how many trials the sweep has, and how many ended in which way, those of earlier calls included."""
    counts, runs = Counter(run.outcome for run in sweep_runs), list(sweep_runs)
    return {
        "total": max(total, len(runs)),
        **{str(outcome): counts[outcome] for outcome in Outcome if outcome not in (Outcome.RUNNING, Outcome.PAUSED)},
        "ended_before": sum(run.decided_earlier and not run.reused for run in runs),
        "reused": sum(run.reused for run in runs),
    }


def unranked(sweep_runs: SweepRuns) -> list[Values]:
    """Return the trials that ended without an error that ranks, and why."""
    runs = [run for run in sweep_runs.ended if run.outcome not in RANKED]
    return [{"name": run.name, "run_id": run.run_id, "outcome": run.outcome, "reason": run.reason} for run in runs]


def table_values(sweep: Sweep, table: list[Standing]) -> Values:
    """Return a table: its configurations, the best first, and their runs by split."""
    config, facts = table[0].runs[0].config, table[0].runs[0].facts
    rows = [(rank, run) for rank, one in enumerate(table, 1) for run in (*one.ordered, *one.rest)]
    splits = sorted({run.facts[SPLIT_HASH] for _, run in rows})
    seeds = max(sweep.search.seeds or 1, *(one.seeds for one in table))
    return {
        "protocol": facts["protocol"],
        "selection": selection(facts[SELECTION_SPLIT]).chosen,
        "unit": unit(config.axes),
        "units": {axis.name: axis.unit for axis in config.axes},
        "widths": {axis.name: width(axis, config.axes) / axis.span for axis in config.axes},
        "folds": config.folds,
        "seeds": seeds,
        "configurations": [mean_values(rank, one, seeds * (config.folds or 1)) for rank, one in enumerate(table, 1)],
        "splits": [split_values(split, [row for row in rows if row[1].facts[SPLIT_HASH] == split]) for split in splits],
        "best_run_id": table[0].best.run_id,
    }


def mean_values(rank: int, one: Standing, wanted: int) -> Values:
    """Return a configuration's error, mean over the repeats that count, of `wanted`."""
    values = [run.value(RANKS) for run in one.runs]
    return {
        "rank": rank,
        "configuration": configuration_name(one.best.name),
        "mae_groups": one.error,
        "least": min(values),
        "most": max(values),
        "runs": len(one.runs),
        "runs_wanted": wanted,
    }


def split_values(split: str, rows: list[tuple[int, Run]]) -> Values:
    """Return the runs that were measured on the same images, each with the rank of its configuration."""
    first = rows[0][1]
    return {
        "split": split,
        "images": int(first.facts[VAL_IMAGES]),
        "groups": int(first.facts[VAL_GROUPS]),
        "crop": " and ".join(sorted({str(run.config.crop) for _, run in rows})),
        "fold": first.config.fold if first.config.folds else None,
        "beyond": beyond_of(run.facts for _, run in rows),
        "runs": [run_values(rank, run) for rank, run in rows],
    }


def run_values(rank: int, run: Run) -> Values:
    """Return the errors of a run's best epoch."""
    axes = [axis.name for axis in run.config.axes]
    return {
        "rank": rank,
        "name": run.name,
        "run_id": run.run_id,
        "outcome": run.outcome,
        "mae_groups": run.metrics[RANKS.metric],
        "mae": run.metrics[BY_IMAGE],
        "by_axis": {name: run.metrics[f"{RANKS.metric}_{name}"] for name in axes},
        "epoch": int(run.metrics[BEST_EPOCH]),
        "checkpoint_kept": run.kept,
    }


def front_values(sweep: Sweep, runs: Iterable[Run]) -> list[Values]:
    """Return the Pareto front of several objectives, ordered by the first one; nothing for a single one."""
    objectives = dict(zip(sweep.search.objective, sweep.search.objectives, strict=True))
    if len(objectives) < 2:
        return []
    front = pareto_front(by_configuration(runs).values(), sweep.search.objectives)
    best = sorted(front, key=lambda group: mean(group, sweep.search.objectives[0]))
    return [
        {
            "trial": group[0].name,
            "run_ids": [run.run_id for run in group],
            "selections": sorted({run.facts[SELECTION_SPLIT] for run in group}),
            "objectives": {name: mean(group, objective) for name, objective in objectives.items()},
        }
        for group in best
    ]
