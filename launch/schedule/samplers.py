"""Optuna's samplers by search method."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial

import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, TPESampler
from optuna.trial import FrozenTrial

from launch.spec.sweep_file import Sweep

SAMPLERS: dict[str, Callable[..., BaseSampler]] = {  # by search method, from a seed
    "tpe": partial(TPESampler, constant_liar=True, multivariate=True, group=True),
    "gp": GPSampler,
    "cmaes": CmaEsSampler,
}


FROM_SOURCES = ("cmaes",)  # its sampler itself begins where the best trials of other sweeps are


def sampler(sweep: Sweep, seed: int, source_trials: Sequence[FrozenTrial] = ()) -> BaseSampler:
    """Return Optuna's sampler of the search method, which begins from trials of other sweeps where there are some."""
    more = {"source_trials": list(source_trials)} if source_trials else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return SAMPLERS[sweep.search.method](seed=seed, **more)
