import numpy as np
import pytest
import torch

from bel.data.groups import fold_of, holdout
from bel.data.loading import load, refuse_leak, split, split_hash
from bel.data.readers.base import Entry
from bel.errors import UserError

UNEVEN = [f"{i % 17:02}" for i in range(500)] + ["big"] * 200


def test_a_holdout_is_seeded_and_keeps_groups_whole():
    mask = holdout(UNEVEN, 0.2, seed=0)
    held_out = {g for g, m in zip(UNEVEN, mask, strict=True) if m}
    assert len(held_out) == 4 and not held_out & {g for g, m in zip(UNEVEN, mask, strict=True) if not m}
    assert (mask == holdout(UNEVEN, 0.2, seed=0)).all()
    assert len({split_hash([str(i) for i in range(700)], holdout(UNEVEN, 0.2, seed)) for seed in range(5)}) > 1


@pytest.mark.parametrize(("fraction", "count"), [(0.001, 1), (0.5, 2), (0.99, 3)])
def test_a_holdout_is_never_empty_nor_all(fraction, count):
    assert holdout(["a", "b", "c", "d"], fraction, 0).sum() == count


def test_folds_hold_every_group_out_once_and_are_balanced():
    folds = fold_of(UNEVEN, 3, seed=0)
    assert all(len({f for f, g in zip(folds, UNEVEN, strict=True) if g == group}) == 1 for group in set(UNEVEN))
    sizes = np.bincount(folds, minlength=3)
    assert sizes.sum() == 700 and sizes.max() - sizes.min() < 40
    assert (folds == fold_of(UNEVEN, 3, seed=0)).all() and (folds != fold_of(UNEVEN, 3, seed=1)).any()


def test_as_many_folds_as_groups_leave_one_out():
    assert sorted(fold_of(["a", "b", "c", "a"], 3, 0).tolist()) in ([0, 0, 1, 2], [0, 1, 1, 2], [0, 1, 2, 2])


@pytest.mark.parametrize("cut", [lambda g: holdout(g, 0.5, 0), lambda g: fold_of(g, 2, 0)])
def test_one_group_cannot_be_split(cut):
    with pytest.raises(UserError, match="at least 2 groups"):
        cut(["a", "a"])


def test_the_folds_of_a_config_cover_the_data_and_differ_in_hash(make):
    parts = [split(make(folds=3, fold=fold), load(make(), "train")) for fold in range(3)]
    rows = torch.cat([part.val for part in parts])
    assert sorted(rows.tolist()) == list(range(len(load(make(), "train"))))
    assert len({part.digest for part in parts}) == 3
    for part in parts:
        assert not set(part.train.tolist()) & set(part.val.tolist())


def test_a_split_says_how_it_was_drawn(make):
    data = load(make(), "train")
    stored = split(make(split_seed=3), data).as_dict()
    assert stored["val_fraction"] == 0.2 and stored["split_seed"] == 3
    assert stored["val_images"] == sum(group in stored["val_groups"] for group in data.groups)
    assert split(make(folds=3, fold=1), data).as_dict().items() >= {"folds": 3, "fold": 1}.items()


def test_a_hash_changes_with_a_name_or_a_side():
    names, mask = ["a", "b"], np.array([True, False])
    assert len({split_hash(names, mask), split_hash(["a", "c"], mask), split_hash(names, ~mask)}) == 3


def entry(stem, group, tmp_path):
    return Entry(stem, tmp_path / stem, group)


def test_an_image_or_a_group_on_both_sides_is_refused(tmp_path):
    a, b, alone = entry("a", "1", tmp_path), entry("b", "1", tmp_path), entry("c", "c", tmp_path)
    with pytest.raises(UserError, match="1 images are in train and in test"):
        refuse_leak([a], [a], "here")
    with pytest.raises(UserError, match=r"1 groups are in train and in test, e.g. 1: correct the lists in here"):
        refuse_leak([a], [b], "here")
    refuse_leak([a], [alone], "here")
