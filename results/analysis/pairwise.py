"""Configurations compared on the same images: errors by target, by group and by bit, and how far they agree."""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, product
from string import ascii_uppercase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bel.angles import differences
from bel.output import plain
from bel.run_layout import CODE_VERSION, SELECTION_SPLIT, SPLIT_HASH
from bel.text import beyond_of, selection
from results.analysis.configurations import Configuration
from results.analysis.statistics import Difference, mean_intervals, paired_difference
from results.store.predictions import Floats

BINS = 8  # of an axis, about
NEAR = 5.0  # degrees, within which a pose counts as found
STEPS = (1, 1.5, 2, 2.5, 3, 5, 7.5, 10)  # of a bin, times a power of ten


def comparison(found: Sequence[Configuration], split: str) -> dict[str, Any]:
    """Compare configurations with predictions of the same images; returns plain values, None for NaN."""
    first = found[0].seeds[0]
    groups = first.by_group(np.stack([one.errors for one in found], 1))
    edges = {axis: bins(first.values["target"][:, i]) for i, axis in enumerate(first.axes)}
    result = {
        "facts": facts(found, split),
        "contenders": [contender(letter, one, split) for letter, one in with_letters(found)],
        "differences": [difference(letter, one, found) for letter, one in list(with_letters(found))[1:]],
        "by_angle": {axis: list(by_angle(found, i, edges[axis])) for i, axis in enumerate(first.axes)},
        "by_group": by_group(found, groups),
        "bits": {axis: list(bit_errors(found, i, edges[axis])) for i, axis in enumerate(first.axes)},
        "agreement": [agreement(one, other) for one, other in combinations(with_letters(found), 2)],
    }
    return plain(result)


def with_letters(found: Sequence[Configuration]) -> Iterator[tuple[str, Configuration]]:
    """Yield each configuration with a letter: A to Z, then A1 and so on."""
    for i, one in enumerate(found):
        yield ascii_uppercase[i % 26] + (str(i // 26) if i >= 26 else ""), one


def facts(found: Sequence[Configuration], split: str) -> dict[str, Any]:
    """Return the facts printed with every comparison: data, split, crop, units and version of the code."""
    params = [run.data.params for one in found for run in one.runs]
    first = found[0].seeds[0]

    def distinct(name: str) -> str:  # values of a parameter, joined where runs differ
        return " and ".join(sorted({values[name] for values in params if name in values}))

    folds, out_of_fold = distinct("folds"), split == "val" and all(len(one.runs) > len(one.seeds) for one in found)
    divided = f"{folds} folds, split seed {distinct('split_seed')}"
    codes = {run.data.tags.get(CODE_VERSION, "?") for one in found for run in one.runs}
    return {
        "protocol": distinct("protocol"),
        "crop": distinct("crop"),
        "split": split,
        "heading": "test MAE" if split == "test" else selection(*(p.get(SELECTION_SPLIT, "") for p in params)).heading,
        "split_hash": divided
        if out_of_fold
        else distinct(SPLIT_HASH) + (f", fold {distinct('fold')} of {folds}" if folds else ""),
        "out_of_fold": out_of_fold,
        "images": len(first.names),
        "groups": len(first.group_names),
        "unit": first.meaning["unit"],
        "units": {axis["name"]: axis["unit"] for axis in first.meaning["axes"]},
        "widths": found[0].scale,
        "pose": first.meaning["pose"],
        "code": " and ".join(sorted(codes)),
        "beyond": beyond_of(params),
    }


def contender(letter: str, one: Configuration, split: str) -> dict[str, Any]:
    """Return a configuration's errors, means over groups and over seeds."""
    return {
        "letter": letter,
        "name": one.name,
        "run_ids": [run.info.run_id for run in one.runs],
        "seeds": one.seed_count,
        "decoder": one.decoder,
        "read_out": one.decoder,  # the name of earlier versions, kept for one
        "selection": selection(one.params.get(SELECTION_SPLIT, "")).chosen,
        "stopped_early": one.stopped,
        "mae": one.mae,
        "interval": one.interval,
        "mae_by_image": one.image_mae,
        "by_axis": one.by_axis,
    }


def difference(letter: str, one: Configuration, found: Sequence[Configuration]) -> dict[str, Any]:
    """Return errors minus the first one's, paired over groups: over all axes, and of each."""
    predictions, first = one.seeds[0], found[0]
    by_axis = predictions.by_group(one.axis_errors - first.axis_errors).T
    everything = paired_difference(one.group_errors, first.group_errors, len(found))
    axes = mean_intervals(by_axis, len(found))
    fair = (one.params.get(SELECTION_SPLIT) == "test") == (first.params.get(SELECTION_SPLIT) == "test")
    return {
        "letter": letter,
        **plain_difference(everything, fair),
        "by_axis": {name: plain_difference(value, fair) for name, value in zip(predictions.axes, axes, strict=True)},
    }


def plain_difference(value: Difference, fair: bool) -> dict[str, Any]:
    """Return a difference in plain values; without a verdict where one of the two selected on test."""
    verdict = value.verdict if fair else "not comparable"
    return {"mean": value.mean, "interval": value.interval, "verdict": verdict}


def bins(targets: Floats, wanted: int = BINS) -> Floats:
    """Return edges of about `wanted` bins of a round width over targets (n,); the last bin includes its upper edge."""
    low, high = float(targets.min()), float(targets.max())
    if high == low:
        return np.array([low, high])
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((power * factor for factor in STEPS), key=lambda width: abs(width - raw))
    start = math.floor(low / step)
    return np.array([step * i for i in range(start, max(math.ceil(high / step), start + 1) + 1)])


def rows_of(targets: Floats, edges: Floats) -> Iterator[tuple[float, float, NDArray[np.bool_]]]:
    """Yield the edges of each bin that has targets, and the mask (n,) of its targets."""
    index = np.clip(np.searchsorted(edges, targets, side="right") - 1, 0, len(edges) - 2)
    for i in np.unique(index):
        yield float(edges[i]), float(edges[i + 1]), index == i


def by_angle(found: Sequence[Configuration], axis: int, edges: Floats) -> Iterator[dict[str, Any]]:
    """Yield the error of an axis in each bin of its targets, mean over images."""
    for low, high, rows in rows_of(found[0].seeds[0].values["target"][:, axis], edges):
        maes = [float(one.axis_errors[rows, axis].mean()) for one in found]
        yield {"from": low, "to": high, "images": int(rows.sum()), "mae": maes}


def by_group(found: Sequence[Configuration], groups: Floats) -> list[dict[str, Any]]:
    """Return the errors (groups, contenders) by group, those with the largest difference from the first contender first."""
    first = found[0].seeds[0]
    counts = np.unique(first.groups, return_counts=True)[1]
    gaps = np.abs(groups - groups[:, :1]).max(1)
    order = np.argsort(-gaps, kind="stable")
    names = first.group_names
    return [{"group": str(names[i]), "images": int(counts[i]), "mae": groups[i].tolist()} for i in order]


def bit_errors(found: Sequence[Configuration], axis: int, edges: Floats) -> Iterator[dict[str, Any]]:
    """Yield the shares of wrong bits of an axis for contenders with bits: of all, by bit, by level and by bin of targets."""
    for letter, one in with_letters(found):
        first = one.seeds[0]
        name, levels = first.axes[axis], first.levels[:, axis]
        if any(name not in seed.wrong_bits for seed in one.seeds):
            continue
        wrong = np.mean([seed.wrong_bits[name] for seed in one.seeds], 0)  # (n, bits), over seeds
        rates = wrong.mean(1)
        yield {
            "letter": letter,
            "mean": float(rates.mean()),
            "by_bit": wrong.mean(0).tolist(),
            "by_level": {str(level): float(rates[levels == level].mean()) for level in np.unique(levels)},
            "by_angle": [
                {
                    "from": low,
                    "to": high,
                    "levels": [int(levels[rows].min()), int(levels[rows].max())],
                    "images": int(rows.sum()),
                    "mean": float(rates[rows].mean()),
                }
                for low, high, rows in rows_of(first.values["target"][:, axis], edges)
            ],
        }


def agreement(first: tuple[str, Configuration], second: tuple[str, Configuration]) -> dict[str, Any]:
    """Return how far the errors of two contenders agree, mean over all pairs of their seeds.

    By axis the correlation of signed errors and the mean absolute difference of predictions, over images; of a pose the
    shares of images on which both, one or none is within 5 degrees on every axis.
    """
    (letter, one), (other_letter, other) = first, second
    axes = one.seeds[0].axes
    found: list[tuple[list[float], Floats, list[float]]] = []
    for ours, theirs in product(one.seeds, other.seeds):
        a, b = ours.differences(one.decoder), theirs.differences(other.decoder)
        apart = differences(ours.values[one.decoder], theirs.values[other.decoder], ours.periods)
        near, other_near = (np.abs(a) <= NEAR).all(1), (np.abs(b) <= NEAR).all(1)
        shares = [near & other_near, near & ~other_near, ~near & other_near, ~near & ~other_near]
        correlations = [correlation(a[:, i], b[:, i]) for i in range(len(axes))]
        found.append((correlations, np.abs(apart).mean(0), [float(share.mean()) for share in shares]))
    alike, apart, within = (np.mean(part, 0).tolist() for part in zip(*found, strict=True))
    result = {
        "letters": [letter, other_letter],
        "correlation": dict(zip(axes, alike, strict=True)),
        "apart": dict(zip(axes, apart, strict=True)),
    }
    if one.seeds[0].meaning["pose"]:
        names = ("both", f"only {letter}", f"only {other_letter}", "neither")
        result["within_5_deg"] = dict(zip(names, within, strict=True))
    return result


def correlation(a: Floats, b: Floats) -> float:
    """Return Pearson's correlation of values (n,) and (n,); NaN where one of them does not vary."""
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 1 and a.std() > 0 and b.std() > 0 else math.nan
