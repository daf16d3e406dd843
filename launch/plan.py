"""From a sweep to its trials: which combinations are legal, and which of them a search takes."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bel.config import TrainConfig
from bel.errors import UserError
from bel.heads import HEADS, OPTIONS
from launch.space import Interval, Sweep

MOST = 50_000  # combinations of a space

Values = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """The legal combinations of the finite dimensions, and how many others were dropped, by reason."""

    legal: list[Values]
    dropped: Counter[str]


def make_config(sweep: Sweep, values: Values) -> TrainConfig:
    """The config of one combination, its device made definite. Raises `UserError` where it is not legal."""
    config = TrainConfig.make(active(sweep, sweep.base | values))
    if config.device != "auto":
        return config
    return replace(config, device="cuda" if sweep.resources.gpu else "cpu")


def active(sweep: Sweep, values: Values) -> Values:
    """Values without the options that belong to other heads, where the head is what varies."""
    head = values.get("head")
    if "head" not in sweep.space or head not in HEADS:
        return values
    return {name: value for name, value in values.items() if name not in OPTIONS or name in HEADS[head].options}


def make_plan(sweep: Sweep) -> Plan:
    """All legal combinations, each once. Raises `UserError` where a value is legal in none, or an interval in part."""
    names, lists = list(sweep.finite), list(sweep.finite.values())
    total = math.prod(len(values) for values in lists)
    if total > MOST:
        raise UserError(f"space has {total} combinations, at most {MOST} can be laid out: shorten the lists")
    legal: dict[str, Values] = {}
    dropped: dict[str, tuple[Values, str]] = {}
    for combination in itertools.product(*lists):
        values = active(sweep, dict(zip(names, combination, strict=True)))
        try:
            config = make_config(sweep, values | lows(sweep))
            legal.setdefault(json.dumps(config.as_dict()), values)
        except UserError as error:
            dropped[json.dumps(values, sort_keys=True)] = values, str(error)
    plan = Plan(list(legal.values()), Counter(reason for _, reason in dropped.values()))
    if not plan.legal:
        raise UserError(plan.dropped.most_common(1)[0][0])
    refuse_useless(sweep, plan, list(dropped.values()))
    refuse_bad_ends(sweep, plan)
    refuse_unlike(sweep, plan)
    refuse_tuning_on_test(sweep, plan)
    return plan


def refuse_useless(sweep: Sweep, plan: Plan, dropped: list[tuple[Values, str]]) -> None:
    """Raise `UserError` for a value of the space that no legal combination has."""
    for name, values in sweep.finite.items():
        used = [legal[name] for legal in plan.legal if name in legal]
        if not used:
            raise UserError(f"space.{name} belongs to no head of this sweep: leave it out")
        for value in values:
            if value not in used:
                reasons = Counter(reason for wrong, reason in dropped if wrong.get(name) == value)
                why = reasons.most_common(1)[0][0] if reasons else "it says the same as another value"
                raise UserError(f"space.{name}: {value!r} is legal in no combination: {why}")


def refuse_bad_ends(sweep: Sweep, plan: Plan) -> None:
    """Raise `UserError` for an interval of which an end is not legal, and for a search that intervals do not fit."""
    for name, dimension in sweep.intervals.items():
        for end in (dimension.low, dimension.high):
            make_config(sweep, plan.legal[0] | lows(sweep) | {name: end})
    if sweep.search.method == "grid" and sweep.intervals:
        raise UserError(
            f"a grid needs lists, and space.{next(iter(sweep.intervals))} is an interval: use random or tpe"
        )
    if sweep.search.method == "tpe" and not sweep.intervals:
        raise UserError("tpe over lists alone trains the same trials again: make lr an interval, or use method random")


SPLIT = ("selection", "val_fraction", "folds", "fold", "split_seed")
COMPARABLE = ("protocol", "data_root", "on_missing", "frame_stride", *SPLIT)  # decide the validation images


def refuse_unlike(sweep: Sweep, plan: Plan) -> None:
    """Raise `UserError` where a search or a scheduler would compare errors on different validation images."""
    for name in COMPARABLE:
        values = {str(getattr(make_config(sweep, legal | lows(sweep)), name)) for legal in plan.legal}
        if len(values) > 1 and compares(sweep):
            raise UserError(
                f"search compares trials by one number, and those of different {name} are not comparable: "
                "use method grid or random and scheduler none, without tune, or one sweep each"
            )


def refuse_tuning_on_test(sweep: Sweep, plan: Plan) -> None:
    """Raise `UserError` where a tuned sweep would choose its values on the test split."""
    if sweep.search.tune and any(make_config(sweep, values).selection != "val" for values in plan.legal):
        raise UserError(
            "search.tune chooses on held-out training groups, and recipe published selects on test: set recipe to clean"
        )


def compares(sweep: Sweep) -> bool:
    """Whether a search or a scheduler decides by comparing trials."""
    return sweep.search.scheduler != "none" or sweep.search.method == "tpe" or sweep.search.tune is not None


def lows(sweep: Sweep) -> Values:
    """The lower end of every interval, to complete a combination."""
    return {name: dimension.low for name, dimension in sweep.intervals.items()}


def draw(sweep: Sweep, plan: Plan) -> list[Values]:
    """The trials of a grid or of a random search, in order."""
    if sweep.search.method == "grid":
        return plan.legal
    generator = np.random.default_rng(sweep.search.seed or 0)
    trials = sweep.search.trials or 0
    if not sweep.intervals:
        order = generator.permutation(len(plan.legal))[:trials]
        return [plan.legal[i] for i in order]
    return [
        plan.legal[generator.integers(len(plan.legal))]
        | {name: sample(dimension, generator) for name, dimension in sweep.intervals.items()}
        for _ in range(trials)
    ]


def sample(dimension: Interval, generator: np.random.Generator) -> float:
    """One draw from an interval."""
    if dimension.log:
        return float(np.exp(generator.uniform(np.log(dimension.low), np.log(dimension.high))))
    return float(generator.uniform(dimension.low, dimension.high))


def suggest(sweep: Sweep, plan: Plan, trial: Any) -> Values:
    """One legal combination from an Optuna trial, field by field, offering only what can still become legal.

    Optuna wants a parameter's choices fixed, so that a parameter is named by its field and its choices.
    """
    candidates, values = plan.legal, {}
    for name in sweep.finite:
        offered = list(dict.fromkeys(c[name] for c in candidates if name in c))
        if not offered:
            continue
        values[name] = offered[0] if len(offered) == 1 else trial.suggest_categorical(f"{name} {offered}", offered)
        candidates = [c for c in candidates if c.get(name) == values[name]]
    for name, dimension in sweep.intervals.items():
        values[name] = trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
    return values


def suggest_config(sweep: Sweep, plan: Plan, trial: Any) -> dict[str, Any]:
    """What Tune's Optuna searcher wants: the whole config of a suggestion, as Tune's `config`."""
    return {"values": make_config(sweep, suggest(sweep, plan, trial)).as_dict()}
