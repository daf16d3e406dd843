"""A sweep that makes the best trials of another one longer, ready to run: for the command and for Python."""

from collections.abc import Callable
from functools import partial
from typing import Any

from mlflow.tracking import MlflowClient

from bel.data.prepare.build import Progress
from bel.errors import UserError
from launch.driver.preparation import ReadySweep, Trials, Where, prepare
from launch.extend.candidates import best_trials, find_source, longer, once
from launch.spec.extension import extension
from launch.states import origins
from results.store.runs import sweep_file


def extended(
    name: str,
    top: int | None,
    epochs: int,
    from_start: bool,
    where: Where,
    write: bool,
    say: Callable[[str], Any] = print,
    progress: Callable[[str], Progress] | None = None,
) -> ReadySweep:
    """Prepare a sweep of the `top` best configurations of one, with more epochs; with `write` also open it for its driver.

    With `from_start` a trial whose state is not kept trains from the start. Raises `UserError` for what cannot go on.
    """
    for what, value in (("top", top), ("epochs", epochs)):
        if value is not None and value < 1:
            raise UserError(f"{what} must be a whole number from 1, got {value}")
    source = find_source(name)
    found = once([longer(run, epochs) for run in best_trials(source, name, top, epochs)])
    for one in found:
        say(
            f"{one.run.info.run_name}: from {int(one.run.data.metrics['epoch'])} to {epochs} epochs{how(one.config.restarts)}"
        )
    configs, root = [one.config for one in found], source.sweep
    experiment = MlflowClient().get_experiment(root.info.experiment_id).name
    sweep = extension(sweep_file(root), experiment, root.info.run_id, epochs, configs)
    given = Trials(sweep.plan(configs), partial(origins, found, from_start=from_start))
    return prepare(sweep, where, write, say=say, progress=progress, given=given)


def how(restarts: tuple[int, ...] | None) -> str:
    """Say that the learning rate begins anew, where it does."""
    return f", the learning rate begins anew after {restarts[-1]}" if restarts else ""
