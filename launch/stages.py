"""A tuned sweep: each contender's best value on a hold-out goes on to every fold, where its last epoch counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bel.config import TrainConfig
from launch.identity import Facts, data_key, trial_key
from launch.space import Sweep


def on_folds(sweep: Sweep, config: TrainConfig) -> list[TrainConfig]:
    """A config on each fold of a tuned sweep; nothing is selected there, so that a fold's error is out of fold."""
    count = sweep.search.folds or 0
    return [replace(config, val_fraction=None, folds=count, fold=fold, selection="last") for fold in range(count)]


def contender(config: TrainConfig, tuned: str) -> tuple[tuple[str, str], ...]:
    """What identifies a config but for the field that is tuned."""
    return tuple((name, str(value)) for name, value in config.as_dict().items() if name != tuned)


def folds_to_come(sweep: Sweep, configs: list[TrainConfig]) -> int:
    """How many trials on folds the configs of the hold-out lead to."""
    if sweep.search.tune is None:
        return 0
    return len({contender(config, sweep.search.tune) for config in configs}) * (sweep.search.folds or 0)


def best_of_each(
    sweep: Sweep, configs: list[TrainConfig], errors: Mapping[str, float], facts: Facts
) -> list[TrainConfig]:
    """Of each contender the config with the least error, given errors of finished trials by their key."""
    assert sweep.search.tune is not None
    best: dict[tuple[tuple[str, str], ...], tuple[float, TrainConfig]] = {}
    for config in configs:
        error = errors.get(trial_key(config, facts[data_key(config)]))
        who = contender(config, sweep.search.tune)
        if error is not None and (who not in best or error < best[who][0]):
            best[who] = error, config
    return [config for _, config in best.values()]
