"""Population-based training: Ray's, on the fields of a run's config that may change while it trains."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray.tune.schedulers import PopulationBasedTraining

from launch.spec.dimensions import Interval
from launch.spec.sweep_file import Sweep


class Population(PopulationBasedTraining):
    """Ray's scheduler beside a searcher; a run that goes on with another run's state keeps its own key and folder."""

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Add a trial without a searcher: Ray refuses all of them, because most would learn from fields that change."""
        super().on_trial_add(SimpleNamespace(search_alg=None), trial)

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return Tune's config of a run that goes on with another run's state, and how each field was changed."""
        config, operations = super()._get_new_config(trial, trial_to_clone)
        return trial.config | {"values": config["values"]}, operations


def population(sweep: Sweep, comparison: dict[str, str], longest: int) -> Population:
    """Return the scheduler of Jaderberg et al. (2017): the worst quarter goes on with state and fields of the best quarter."""
    generator = np.random.default_rng(sweep.search.seed or 0)
    fields = {
        name: partial(d.sample, generator) if isinstance(d, Interval) else list(d.values)
        for name, d in sweep.space.items()
    }
    return Population(
        **comparison,
        perturbation_interval=max(1, longest // 5),
        hyperparam_mutations={"values": fields},
        custom_explore_fn=partial(within_bounds, sweep),
        log_config=False,
    )


def within_bounds(sweep: Sweep, config: dict[str, Any]) -> dict[str, Any]:
    """Return Tune's config with every field of an interval moved into that interval."""
    moved = {name: dimension.nearest(config["values"][name]) for name, dimension in sweep.intervals.items()}
    return config | {"values": config["values"] | moved}
