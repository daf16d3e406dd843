"""Grouped splits: a selection split is cut from train by whole groups, so that no sequence or photograph leaks."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bel.data.prepare.prepared import Prepared, load
from bel.data.readers.base import Entry
from bel.errors import UserError

if TYPE_CHECKING:
    from bel.config import TrainConfig


@dataclass(frozen=True)
class Split:
    """Rows that train and rows that select (int64), the groups of the latter, how they were drawn, and a digest.

    The rows that select are of the data `held`: the training data, or the test data where that selects. The digest
    changes with any stem or with the side that it is on.
    """

    train: Tensor
    val: Tensor
    held: Prepared
    val_groups: list[str]
    drawn: dict[str, Any]
    digest: str

    def as_dict(self) -> dict[str, Any]:
        """What to store beside a number: plain values."""
        counts = {"train_images": len(self.train), "val_images": len(self.val)}
        return {"split_hash": self.digest, **self.drawn, **counts, "val_groups": self.val_groups}


def split(config: TrainConfig, data: Prepared) -> Split:
    """The split of a config's training data: a fold of k, a hold-out, or where test selects all of it beside the test data.

    Raises `UserError` for too few groups.
    """
    if config.selection == "test":
        return beside(data, load(config, "test"))
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


def beside(data: Prepared, test: Prepared) -> Split:
    """All training rows train, and all test rows select, as in the published code; no number of it is a clean one."""
    mask = np.repeat([False, True], [len(data), len(test)])
    train, val = torch.arange(len(data)), torch.arange(len(test))
    return Split(train, val, test, sorted(set(test.groups)), {}, split_hash([*data.names, *test.names], mask))


def holdout(groups: Sequence[str], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Mask (n,) of the held-out rows: a seeded draw of `fraction` of the groups, at least one, never all."""
    names = shuffled(groups, 2, seed)
    count = min(max(1, round(fraction * len(names))), len(names) - 1)
    return np.isin(np.asarray(groups), names[:count])


def fold_of(groups: Sequence[str], folds: int, seed: int) -> NDArray[np.int64]:
    """Fold (n,) of each row, 0..folds-1: groups in seeded order, the largest first, each to the fold with fewest rows."""
    names = shuffled(groups, folds, seed)
    sizes = Counter(groups)
    filled, chosen = [0] * folds, {}
    for name in sorted(names, key=lambda name: -sizes[name]):
        chosen[name] = min(range(folds), key=filled.__getitem__)
        filled[chosen[name]] += sizes[name]
    return np.array([chosen[group] for group in groups])


def shuffled(groups: Sequence[str], least: int, seed: int) -> list[str]:
    """The distinct groups in seeded order. Raises `UserError` where there are fewer than `least`."""
    names = sorted(set(groups))
    if len(names) < least:
        raise UserError(
            f"a grouped split into {least} parts needs at least {least} groups, the data has {len(names)}: "
            f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
        )
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    return [names[int(i)] for i in order]


def split_hash(names: Sequence[str], mask: NDArray[np.bool_]) -> str:
    """Twelve hex digits that change with any stem or with the side that it is on."""
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
