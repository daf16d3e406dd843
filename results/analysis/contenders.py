"""What is compared: runs by id and configurations of a sweep by name, with predictions of the same images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bel.errors import UserError
from results.analysis.configurations import Configuration, sorted_by_name
from results.analysis.ranking import grouped
from results.store.runs import RUN_ID, existing_predictions, find_run

Known = Mapping[str, Configuration] | None  # configurations of a sweep, by name


def contenders(names: Sequence[str], known: Known, split: str, decoder: str | None = None) -> list[Configuration]:
    """Find runs by id, or configurations among the `known` ones by name, with their predictions of the same images.

    Raises `UserError` for less than two, for one twice, and for what cannot be compared.
    """
    if len(names) < 2:
        raise UserError(f"compare takes two runs or more, got {len(names)}: copy their ids from the sweep's table")
    found = [by_name(name, known) for name in names]
    taken: dict[str, str] = {}
    for one, name in zip(found, names, strict=True):
        for run in one.runs:
            if run.info.run_id in taken:
                raise UserError(f"{name!r} has a run of {taken[run.info.run_id]!r}: give different runs")
        taken |= {run.info.run_id: name for run in one.runs}
    with_predictions = [loaded(one, split, decoder) for one in found]
    for one in with_predictions[1:]:
        refuse_different_images(with_predictions[0], one, split)
    return with_predictions


def by_name(name: str, known: Known) -> Configuration:
    """Find a configuration among the known ones (None: without a sweep), or a run alone. Raises `UserError` for none."""
    if known and name in known:
        return known[name]
    if RUN_ID.fullmatch(name):
        run = find_run(name)
        if "protocol" not in run.data.params:
            raise UserError(
                f"run {name} ({run.info.run_name}) is no trial but a sweep: give trials, or --sweep and configurations"
            )
        return Configuration(run.info.run_name, (run,))
    if known is None:
        raise UserError(f"a run is named by its id of 32 hex digits, got {name!r}: or add --sweep for a configuration")
    raise UserError(f"the sweep has no configuration {name!r} with an error: it has {sorted(known)}; or give a run id")


def loaded(one: Configuration, split: str, decoder: str | None) -> Configuration:
    """Return a configuration with its predictions on a split. Raises `UserError` where some are missing."""
    # The folds of a seed hold different images of val, and all of them the same of test.
    alone = split == "test" or len(one.runs) == 1
    by_seed = grouped(one.runs, lambda run: run.info.run_id if alone else run.data.params["seed"])
    seeds = tuple(sorted_by_name([existing_predictions(run, split) for run in runs]) for runs in by_seed.values())
    if any(not np.array_equal(other.names, seeds[0].names) for other in seeds):
        raise UserError(f"the runs of {one.name!r} predict different images: give one of its runs by its id")
    if decoder is not None and decoder not in seeds[0].decoders:
        raise UserError(f"decoder must be one of {seeds[0].decoders}, those of {one.name!r}, got {decoder!r}")
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
