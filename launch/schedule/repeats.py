"""Repeats over seeds and folds, and the best value of each contender of a tuned sweep, which goes on to every fold."""

from dataclasses import replace

from bel.config import TrainConfig
from bel.run_layout import Outcome
from launch.runs import SweepRuns, mean
from launch.spec.sweep_file import Sweep


def on_folds(sweep: Sweep, config: TrainConfig) -> list[TrainConfig]:
    """Return a config on each fold; the last epoch is kept, so that nothing is selected on the fold."""
    count = sweep.search.folds or 0
    return [replace(config, val_fraction=None, folds=count, fold=fold, selection="last") for fold in range(count)]


def on_seeds(sweep: Sweep, config: TrainConfig) -> list[TrainConfig]:
    """Return a config with each of the seeds, from its own on."""
    return [config, *(replace(config, seed=config.seed + number) for number in range(1, sweep.search.seeds or 1))]


def repeats(sweep: Sweep, config: TrainConfig) -> list[TrainConfig]:
    """Return the runs of a configuration: each seed, on each fold where there are folds."""
    seeds = on_seeds(sweep, config)
    return [fold for seed in seeds for fold in on_folds(sweep, seed)] if sweep.search.folds else seeds


def contender_key(config: TrainConfig, tuned: str) -> tuple[tuple[str, str], ...]:
    """Return the fields of a config without the one that is tuned, as text."""
    return tuple((name, str(value)) for name, value in config.as_dict().items() if name != tuned)


def count_fold_runs(sweep: Sweep, configs: list[TrainConfig]) -> int:
    """Return how many runs on folds follow those on the hold-out."""
    if sweep.search.tune is None:
        return 0
    contenders = len({contender_key(config, sweep.search.tune) for config in configs})
    return contenders * (sweep.search.folds or 0) * (sweep.search.seeds or 1)


def best_per_contender(sweep: Sweep, configs: list[TrainConfig], sweep_runs: SweepRuns) -> list[TrainConfig]:
    """Return each contender's config with the least mean error on the hold-out, among those that finished with every seed."""
    assert sweep.search.tune is not None
    objective = sweep.search.objectives[0]
    best: dict[tuple[tuple[str, str], ...], tuple[float, TrainConfig]] = {}
    for config in configs:
        runs = [sweep_runs.run(seed) for seed in on_seeds(sweep, config)]
        if all(run.outcome == Outcome.FINISHED for run in runs):
            key, error = contender_key(config, sweep.search.tune), round(mean(runs, objective), 9)
            if key not in best or error < best[key][0]:
                best[key] = error, config
    return [config for _, config in best.values()]
