"""Grouped splits: whole groups are held out from training, so that no sequence or photograph is on both sides."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bel.data.prepare.prepared import Prepared
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
