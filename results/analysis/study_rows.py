"""The rows of a study's tables in plain values: by task, across tasks, claims, regularisers, numbers of images, by target."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from results.analysis.across import average_ranks, best_by_target, difference, methods_of_all, ratio, that_hold
from results.analysis.statistics import Difference
from results.analysis.study import StudyContender, Task, without_regulariser

Row = dict[str, Any]
CLAIMS = (  # ours, theirs, the source, and by how many per cent it says that ours has more error; None: no difference
    ("rlel", "direct l1", "RLEL (ICLR 2023)", -10.9),
    ("rlel", "classification", "RLEL (ICLR 2023)", -12.4),
    ("classification", "direct l1", "Paplham (CVPR 2024)", None),
    ("classification", "soft_label", "Paplham (CVPR 2024)", None),
    ("classification", "dldl_v2", "Paplham (CVPR 2024)", None),
    ("classification", "mean_variance", "Paplham (CVPR 2024)", None),
    ("classification", "sord", "Paplham (CVPR 2024)", None),
    ("classification", "or_cnn", "Paplham (CVPR 2024)", None),
)


def tied(task: Task, one: StudyContender | None) -> bool:
    """Return whether no difference of a contender from the first one of a task is shown."""
    first = task.contenders[0]
    if one is None or one is first:
        return False
    return difference(task, one, first).verdict == "no difference shown"


def task_rows(task: Task) -> list[Row]:
    """Return the contenders of a task, the best first."""
    first, ranks = task.contenders[0], average_ranks(task)
    rank_of = dict(zip(ranks.names, ranks.ranks, strict=True))
    pose, found = task.images.meaning["pose"], []
    for place, one in enumerate(task.contenders, 1):
        gap = None if one is first else difference(task, one, first)
        found.append(
            {
                "place": place,
                "contender": one.name,
                "tuned": one.tuned,
                "value": one.value,
                "at_end": one.at_end,
                "decoder": one.decoder,
                "mae": one.errors.mae,
                "interval": one.errors.interval,
                "mae_not_tuned_on": one.errors.mae_without(one.hold_out) if one.hold_out else None,
                "by_axis": one.errors.by_axis,
                "geodesic": geodesic(one) if pose else None,
                "minus_first": gap.mean if gap else None,
                "minus_first_interval": gap.interval if gap else None,
                "verdict": gap.verdict if gap else "first",
                "rank": rank_of[one.name],
                "test_mae": one.test_mae,
            }
        )
    return found


def geodesic(one: StudyContender) -> float:
    """Return the mean angle in degrees between predicted and true rotations, over groups and seeds."""
    return float(np.mean([seed.by_group(seed.geodesic(seed.decoders[0])).mean() for seed in one.seeds]))


def decoder_rows(task: Task) -> list[Row]:
    """Return the error by decoder of each contender that has several, and the one that the hold-out chose."""
    several = [one for one in task.contenders if len(one.decoders) > 1]
    return [{"contender": one.name, "decoder": one.decoder, "mae_by_decoder": dict(one.decoders)} for one in several]


def target_rows(task: Task) -> list[Row]:
    """Return the errors of all contenders by bin of the target, the best first."""
    return [
        {"axis": axis, "from": low, "to": high, "images": count, "mae_by_contender": dict(found)}
        for axis, low, high, count, found in best_by_target(task)
    ]


def rank_rows(tasks: Sequence[Task]) -> list[Row]:
    """Return the place of each method on every task, whether it is tied with the first there, and the mean of its places."""
    methods = methods_of_all(tasks)
    places = {task.name: places_among(methods, task) for task in tasks}
    return [
        {
            "method": method,
            "places": {name: place[method] for name, place in places.items()},
            "tied": {task.name: tied(task, task.find(method)) for task in tasks},
            "mean": float(np.mean([place[method] for place in places.values()])),
        }
        for method in sorted(methods, key=lambda name: sum(place[name] for place in places.values()))
    ]


def places_among(methods: Sequence[str], task: Task) -> dict[str, int]:
    """Return the place of each of some methods among them on a task."""
    found = [one.method for one in task.contenders if one.method in methods]
    return {method: place for place, method in enumerate(found, 1)}


def plain(found: Difference) -> Row:
    """Return a difference in plain values."""
    return {"mean": found.mean, "interval": found.interval}


def hold_rows(tasks: Sequence[Task]) -> list[Row]:
    """Return the differences whose intervals exclude 0 on every task, with the same sign."""
    return [
        {
            "less_error": better,
            "more_error": worse,
            "differences": {task.name: plain(one) for task, one in zip(tasks, found, strict=True)},
        }
        for better, worse, found in that_hold(tasks)
    ]


def claim_rows(tasks: Sequence[Task]) -> list[Row]:
    """Return what others claim, and by task the ratio of errors in per cent, its interval and what follows from it.

    Claims of which no task has both methods are left out.
    """
    found = []
    for ours, theirs, source, claimed in CLAIMS:
        ratios = {}
        for task in tasks:
            a, b = task.find(ours_in(task, ours)), task.find(ours_in(task, theirs))
            if a and b:
                measured = ratio(a, b)
                ratios[task.name] = plain(measured) | {"verdict": claim_verdict(measured, claimed)}
        if ratios:
            found.append({"source": source, "ours": ours, "theirs": theirs, "claimed": claimed, "ratios": ratios})
    return found


def ours_in(task: Task, method: str) -> str:
    """Return the full name of a method of a claim, which may leave out the only loss of its head."""
    return next((one.method for one in task.contenders if one.method in (method, *with_loss(one, method))), method)


def with_loss(one: StudyContender, method: str) -> tuple[str, ...]:
    """Return the name of a method with the loss that a contender has."""
    return (f"{method} {one.params.get('loss', '')}",)


def claim_verdict(found: Difference, claimed: float | None) -> str:
    """Return what a ratio says about a claim: of less error, or of no more."""
    if found.interval is None:
        return "open"
    low, high = found.interval
    if claimed is None:
        return "refuted" if low > 0 else "confirmed: it is better" if high < 0 else "open: no difference shown"
    size = "" if low <= claimed else ", smaller than claimed"
    return "refuted" if low > 0 else f"confirmed{size}" if high < 0 else f"open: no difference shown{size}"


def regulariser_rows(task: Task, regularised: Task) -> list[Row]:
    """Return each head with each regulariser minus the same head without one, paired over groups."""
    pairs = [(without_regulariser(task, one), one) for one in regularised.contenders]
    found = []
    for without, one in sorted(pairs, key=lambda pair: task.contenders.index(pair[0])):
        gap = difference(regularised, one, without)
        found.append(
            {
                "head": without.name,
                "regulariser": one.params["regulariser"],
                "weight": one.value,
                "at_end": one.at_end,
                "decoder": one.decoder,
                "decoder_without": without.decoder,
                "mae": one.errors.mae,
                "minus_without": gap.mean,
                "minus_without_interval": gap.interval,
                "verdict": gap.verdict,
            }
        )
    return found


def size_rows(tasks: Sequence[Task]) -> list[Row]:
    """Return the error of each method by number of training images, and classification against each other one."""
    ordered = sorted(tasks, key=lambda task: len(task.images.names))
    methods = methods_of_all(ordered)
    base = next((method for method in methods if method.startswith("classification")), None)
    found = []
    for method in methods:
        sizes = []
        for task in ordered:
            one, other = task.find(method), task.find(base or "")
            assert one is not None
            against = None if other is None or other is one else {"method": base, **plain(ratio(other, one))}
            sizes.append({"images": len(task.images.names), "mae": one.errors.mae, "against": against})
        found.append({"method": method, "sizes": sizes})
    return found
