"""Groups of images, such as sequences or photographs: splits that divide none, and means that count each once."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bel.errors import UserError, within

HOLDOUT = 0.2  # of the training groups, where there are no folds


def group_means(values: NDArray[np.float64], groups: Sequence[str] | NDArray[np.str_]) -> NDArray[np.float64]:
    """Values of images (n, ...) -> means over the images of each group (groups, ...), in order of the groups' names."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    total = np.zeros((len(names), *values.shape[1:]))
    np.add.at(total, index, values)
    return total / np.bincount(index).reshape(-1, *[1] * (values.ndim - 1))


def holdout(groups: Sequence[str], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Return a mask (n,) of the held-out rows: a seeded draw of `fraction` of the groups, at least one, never all."""
    names = shuffled(groups, 2, seed)
    count = min(max(1, round(fraction * len(names))), len(names) - 1)
    return np.isin(np.asarray(groups), names[:count])


def fold_of(groups: Sequence[str], folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold (n,) of each row, 0..folds-1: groups by size in seeded order, each to the fold with fewest rows."""
    names = shuffled(groups, folds, seed)
    sizes = Counter(groups)
    filled, chosen = [0] * folds, {}
    for name in sorted(names, key=lambda name: -sizes[name]):
        chosen[name] = min(range(folds), key=filled.__getitem__)
        filled[chosen[name]] += sizes[name]
    return np.array([chosen[group] for group in groups])


def shuffled(groups: Sequence[str], least: int, seed: int) -> list[str]:
    """Return the distinct groups in seeded order. Raises `UserError` where there are fewer than `least`."""
    names = sorted(set(groups))
    if len(names) < least:
        raise UserError(
            f"a grouped split into {least} parts needs at least {least} groups, the data has {len(names)}: "
            f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
        )
    import torch  # imported here, because it is slow, and workers that read labels do without

    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    return [names[int(i)] for i in order]


def selection_rule(
    selection: str, val_fraction: float | None, folds: int | None, fold: int | None, split_seed: int
) -> dict[str, Any]:
    """Return the config fields that say which groups select an epoch, with their defaults; none where test selects.

    Raises `UserError` where they contradict each other.
    """
    if selection == "test":
        if split_seed or any(value is not None for value in (folds, fold, val_fraction)):
            raise UserError(
                "selection test holds no training groups out: leave val_fraction, folds and split_seed out, or set "
                "selection to val"
            )
        return {}
    if folds is None:
        if fold is not None:
            raise UserError("fold belongs to folds: say how many folds there are, or leave fold out")
        return {"val_fraction": HOLDOUT if val_fraction is None else val_fraction}
    if val_fraction is not None:
        raise UserError("val_fraction belongs to a hold-out, and folds divide all groups: leave one of them out")
    within("fold", fold or 0, 0, folds - 1)
    return {"fold": fold or 0}
