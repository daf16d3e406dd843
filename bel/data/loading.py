"""The data that a config asks for: its prepared arrays, and its split into rows that train and rows that select.

Splits hold out whole groups, so that no sequence or photograph is on both sides.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bel.config import TrainConfig
from bel.data.groups import fold_of, holdout
from bel.data.labels import refuse_off_range
from bel.data.prepare.build import Progress, Request
from bel.data.prepare.prepared import Prepared, prepare, silent
from bel.data.readers.base import Entry
from bel.errors import UserError


@dataclass(frozen=True)
class Split:
    """Rows (int64) for training and for selection, the groups of the latter, how they were drawn, and a digest.

    The rows for selection are of the data `held`: the training data, or the test data where that selects. The digest
    changes with any stem and with its side.
    """

    train: Tensor
    val: Tensor
    held: Prepared
    val_groups: list[str]
    drawn: dict[str, Any]
    digest: str

    def as_dict(self) -> dict[str, Any]:
        """Return what is stored with a result, as plain values."""
        counts = {"train_images": len(self.train), "val_images": len(self.val)}
        return {"split_hash": self.digest, **self.drawn, **counts, "val_groups": self.val_groups}


def split_hash(names: Sequence[str], mask: NDArray[np.bool_]) -> str:
    """Return twelve hex digits that change with any stem and with its side."""
    text = "\n".join(f"{name} {int(side)}" for name, side in zip(names, mask, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def refuse_leak(train: Sequence[Entry], test: Sequence[Entry], where: object) -> None:
    """Raise `UserError` where an image, or a group of more than one image, is in train and in test."""
    images = [{os.path.realpath(entry.image) for entry in side} for side in (train, test)]
    groups = [{entry.group for entry in side} - {entry.stem for entry in side} for side in (train, test)]
    for what, (ours, theirs) in (("images", images), ("groups", groups)):
        if both := ours & theirs:
            raise UserError(
                f"{len(both)} {what} are in train and in test, e.g. {min(both)}: correct the lists in {where}"
            )


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
