"""Measure a published state dict on the test split; it has no logged number to repeat, and no split of its own."""

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bel.config import TrainConfig
from bel.data.images import opened
from bel.data.loading import load, request
from bel.data.prepare.prepared import open_prepared, place, usable
from bel.data.prepare.verified import DamagedError
from bel.data.readers.base import NoImagesError
from bel.deploy.published import read, summary
from bel.errors import UserError
from bel.precision import pick_device
from bel.text import selection
from bel.training.checkpoint import environment
from bel.training.evaluate import constant_median, evaluate
from results.retest.origin import record
from results.retest.table import print_table

OPTIONS = ("protocol", "code", "code_bits")  # of `bel-eval`, which say what a published file does not
FREE = ("crop", "margin", "boxes", "on_missing", "image_size")  # what may be set besides what any checkpoint's may


def measure(path: Path, loaded: object, options: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Print what a published file is, given what it holds, and its errors on the test split; return them as of a re-test.

    Raises `UserError` where it, the options and the data do not fit together.
    """
    config, model = read(path, loaded, options, changes)
    device = pick_device(config.device)
    model.to(device=device, memory_format=config.layout)  # type: ignore[call-overload]
    print(f"published state dict {path.name}: {summary(config)}")
    print("as published: selected on the test split by its authors, number not comparable with clean ones")
    train = training_targets(config)
    test = load(config, "test")
    made = environment(device, {})
    print(
        f"crop {config.crop}, test data {test.digest}, {made['device']}, torch {made['torch']}, code {made['code_version']}"
    )
    remark_sizes(config)
    if test.skipped:
        print(f"note: {test.skipped} test images could not be used and are not in the number")
    evaluation = evaluate(model, test, torch.arange(len(test)), config)
    measured = print_table(evaluation, None if train is None else constant_median(train, evaluation))
    return record(config, made["code_version"]) | {"selection": selection("test").chosen, "test": measured}


def remark_sizes(config: TrainConfig) -> None:
    """Say how many test images are not of the size of the published ones, where those have one."""
    source = config.definition.test
    sizes: Counter[tuple[int, int]] = Counter()
    for entry in usable(request(config, "test")).entries if source.frame else ():
        with suppress(UserError, OSError), opened(entry.image) as image:
            sizes[image.size] += 1
    others = sizes.total() - sizes[source.frame or (0, 0)]
    if source.frame and others:
        other = next(size for size, _ in sizes.most_common() if size != source.frame)
        theirs, ours = (" x ".join(map(str, size)) for size in (source.frame, other))
        print(
            f"note: {others} of {sizes.total()} test images are not {theirs} as the published ones (most of them are {ours}): "
            "the number is not comparable with a published one"
        )


def training_targets(config: TrainConfig) -> Tensor | None:
    """Targets in units (n, axes) of the training images, none of which is decoded; None, with a note, without any."""
    wanted = replace(request(config, "train"), skip=True)
    try:
        listing = usable(wanted)
    except UserError as error:
        absent = isinstance(error, NoImagesError)
        why = f"no training image of {config.protocol_name} is in {config.data_root}" if absent else error
        print(f"note: the constant median is left out: {why}")
        return None
    folder = place(wanted, listing)
    with suppress(DamagedError):
        if folder.exists():
            return open_prepared(folder, skip=True).targets
    targets = []
    for entry in listing.entries:
        with suppress(UserError):  # it cannot be read
            target = wanted.source.read(entry).target
            if not np.abs(target).max() > wanted.source.limit:
                targets.append(target.tolist())
    return torch.tensor(targets, dtype=torch.float64) if targets else None
