"""`bel-results compare`: runs, or configurations of a sweep, against each other on the same images. Imports no torch."""

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bel.errors import UserError
from bel.output import Answer, add_format
from bel.run_layout import PREDICTIONS
from bel.text import ALL_AXES
from results.analysis.configurations import Configuration, configurations, sorted_by_name
from results.analysis.pairwise import comparison
from results.analysis.ranking import grouped
from results.store.runs import RUN_ID, existing_predictions, find_run, find_sweeps, trials
from results.tables.pairwise import text


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("names", nargs="+", metavar="RUN", help="run id of a trial; with --sweep also a configuration")
    parser.add_argument(
        "--sweep",
        help="sweep (its MLflow experiment, or a run id) whose configurations are meant, over seeds and folds",
    )
    parser.add_argument(
        "--split", choices=PREDICTIONS, default="val", help="val, or test, which bel-eval measures first"
    )
    parser.add_argument("--decoder", help="decoder of all runs; default: the headline of each")
    parser.add_argument("--all-axes", action="store_true", help=ALL_AXES)
    add_format(parser)


def compare(a: argparse.Namespace, answer: Answer) -> int:
    """Print the comparison. Raises `UserError` for what cannot be compared."""
    found = [loaded(one, a.split, a.decoder) for one in contenders(a.names, a.sweep)]
    for one in found[1:]:
        refuse_different_images(found[0], one, a.split)
    answer.values = comparison(found, a.split)
    answer.say(text(answer.values, a.all_axes))
    return 0


def contenders(names: Sequence[str], sweep: str | None) -> list[Configuration]:
    """Find what is compared, without its predictions. Raises `UserError` for less than two, or for one twice."""
    if len(names) < 2:
        raise UserError(f"compare takes two runs or more, got {len(names)}: copy their ids from the sweep's table")
    known = {} if sweep is None else {one.name: one for one in configurations(trials(find_sweeps([sweep])))}
    found = [by_name(name, sweep, known) for name in names]
    taken: dict[str, str] = {}
    for one, name in zip(found, names, strict=True):
        for run in one.runs:
            if run.info.run_id in taken:
                raise UserError(f"{name!r} has a run of {taken[run.info.run_id]!r}: give different runs")
        taken |= {run.info.run_id: name for run in one.runs}
    return found


def by_name(name: str, sweep: str | None, known: dict[str, Configuration]) -> Configuration:
    """Find a configuration of a sweep, or a run alone. Raises `UserError` where there is none."""
    if name in known:
        return known[name]
    if RUN_ID.fullmatch(name):
        run = find_run(name)
        if "protocol" not in run.data.params:
            raise UserError(
                f"run {name} ({run.info.run_name}) is no trial but a sweep: give trials, or --sweep and configurations"
            )
        return Configuration(run.info.run_name, (run,))
    if sweep is None:
        raise UserError(f"a run is named by its id of 32 hex digits, got {name!r}: or add --sweep for a configuration")
    raise UserError(
        f"sweep {sweep} has no configuration {name!r} with an error: it has {sorted(known)}; or give a run id"
    )


def loaded(one: Configuration, split: str, decoder: str | None) -> Configuration:
    """Return a configuration with its predictions on a split. Raises `UserError` where some are missing."""
    # The folds of a seed hold different images of val, and all of them the same of test.
    alone = split == "test" or len(one.runs) == 1
    by_seed = grouped(one.runs, lambda run: run.info.run_id if alone else run.data.params["seed"])
    seeds = tuple(sorted_by_name([existing_predictions(run, split) for run in runs]) for runs in by_seed.values())
    if any(not np.array_equal(other.names, seeds[0].names) for other in seeds):
        raise UserError(f"the runs of {one.name!r} predict different images: give one of its runs by its id")
    if decoder is not None and decoder not in seeds[0].decoders:
        raise UserError(f"--decoder must be a decoder of {one.name!r}, {seeds[0].decoders}, got {decoder!r}")
    return replace(one, seeds=seeds, decoder=decoder or seeds[0].decoders[0])


def refuse_different_images(first: Configuration, other: Configuration, split: str) -> None:
    """Raise `UserError` unless both were measured on the same images, with the same targets, groups and axes."""
    ours, theirs = first.seeds[0], other.seeds[0]
    pair, end = f"{first.name!r} and {other.name!r}", "compare runs of one protocol and split"
    if ours.meaning["axes"] != theirs.meaning["axes"]:
        raise UserError(f"{pair} predict different axes, {ours.axes} and {theirs.axes}, or ranges of them: {end}")
    if not np.array_equal(ours.names, theirs.names):
        common = len(np.intersect1d(ours.names, theirs.names))
        raise UserError(
            f"{pair} were measured on different {split} images: {len(ours.names)} and {len(theirs.names)}, {common} of them "
            f"in common: {end}"
        )
    differ = int((ours.values["target"] != theirs.values["target"]).any(1).sum())
    if differ or not np.array_equal(ours.groups, theirs.groups):
        what = f"targets of {differ} of the {len(ours.names)} images" if differ else "groups of the images"
        raise UserError(f"{pair} were measured on the same images with different labels, {what}: {end}")
