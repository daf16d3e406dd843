"""Grouped splits: a selection split is cut from train by whole groups, so that no sequence or photograph leaks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bel.errors import UserError


def holdout(groups: Sequence[str], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Mask (n,) of the held-out rows: a seeded draw of `fraction` of the groups, at least one, never all."""
    names = sorted(set(groups))
    if len(names) < 2:
        raise UserError(f"a grouped validation split needs at least 2 groups, the data has {len(names)}: {names}")
    count = min(max(1, round(fraction * len(names))), len(names) - 1)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    held_out = [names[int(i)] for i in order[:count]]
    return np.isin(np.asarray(groups), held_out)


def rows(mask: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Mask (n,) of held-out rows -> int64 rows that train and rows that are held out."""
    held_out = torch.from_numpy(mask)
    return (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]


def split_hash(names: Sequence[str], mask: NDArray[np.bool_]) -> str:
    """Twelve hex digits that change with any stem or with the side that it is on."""
    text = "\n".join(f"{name} {int(side)}" for name, side in zip(names, mask, strict=True))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
