"""The data that a config asks for: its prepared arrays, and its split into rows that train and rows that select."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from bel.config import TrainConfig
from bel.data.groups import fold_of, holdout
from bel.data.labels import refuse_off_range
from bel.data.prepare.build import Progress, Request
from bel.data.prepare.prepared import Prepared, prepare, silent
from bel.data.splits import Split, split_hash


def load(config: TrainConfig, part: str, progress: Progress = silent) -> Prepared:
    """Return the prepared `train` or `test` source of a config's protocol, built first where there is none.

    Raises `UserError` where images cannot be used, or most labels are beyond the range of an axis.
    """
    data = prepare(request(config, part), progress)
    refuse_off_range(data.targets, config.definition.axes, data.folder)
    return data


def request(config: TrainConfig, part: str) -> Request:
    """Return the request of a config; `frame_stride` is of train only."""
    source = config.definition.part(part)
    assert config.crop is not None
    root = Path(config.data_root)
    return Request(
        source,
        root,
        Path(config.cache_dir),
        config.crop,
        config.prepared_size,
        margin=config.margin or 0.0,
        boxes=None if config.boxes is None else root / config.boxes,
        stride=config.frame_stride if part == "train" else 1,
        skip=config.on_missing == "skip",
        exif=config.exif or "apply",
        protocol=config.definition,
    )


def split(config: TrainConfig, data: Prepared) -> Split:
    """Split the training data of a config: a fold, a hold-out, or where test selects, all of it beside the test data.

    Raises `UserError` for too few groups.
    """
    if config.selection == "test":
        return split_on_test(data, load(config, "test"))
    if config.folds is not None:
        assert config.fold is not None
        mask = fold_of(data.groups, config.folds, config.split_seed) == config.fold
        drawn: dict[str, Any] = {"folds": config.folds, "fold": config.fold}
    else:
        assert config.val_fraction is not None
        mask = holdout(data.groups, config.val_fraction, config.split_seed)
        drawn = {"val_fraction": config.val_fraction}
    groups = np.asarray(data.groups)
    held_out = sorted(set(groups[mask].tolist()))
    if leaked := set(held_out) & set(groups[~mask].tolist()):
        raise RuntimeError(f"the split divides the groups {sorted(leaked)}")
    train, val = (torch.from_numpy(side).nonzero()[:, 0] for side in (~mask, mask))
    drawn |= {"split_seed": config.split_seed}
    return Split(train, val, data, held_out, drawn, split_hash(data.names, mask))


def split_on_test(data: Prepared, test: Prepared) -> Split:
    """Return a split in which all test rows select, as in the published code; its errors are not clean ones."""
    mask = np.repeat([False, True], [len(data), len(test)])
    train, val = torch.arange(len(data)), torch.arange(len(test))
    return Split(train, val, test, sorted(set(test.groups)), {}, split_hash([*data.names, *test.names], mask))
