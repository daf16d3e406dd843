"""What a race asks of the driver: the errors of a run by group, and a record of each configuration that lost."""

import json
from functools import partial
from typing import Any

from mlflow.tracking import MlflowClient

from bel.errors import UserError
from bel.output import plain
from bel.run_layout import PREDICTIONS, RACED
from launch.console.progress import ProgressDisplay
from launch.runs import Run
from launch.steering.watch import Watch
from launch.tracking.logger import RunLogger
from results.analysis.ranking import configuration_name
from results.store.connect import retry
from results.store.predictions import Predictions, read
from results.store.runs import existing_predictions, find_run


def group_errors(run: Run, logger: RunLogger) -> dict[str, float]:
    """Return the error of each validation group of a run that has finished, by the predictions that it wrote."""
    found = in_folder(run, logger) or retry(lambda: in_store(run, logger))
    return dict(zip(map(str, found.group_names), map(float, found.by_group(found.mean_errors())), strict=True))


def in_folder(run: Run, logger: RunLogger) -> Predictions | None:
    """Read them in the run's folder; None where they are not there, or are removed just now, as they are in MLflow."""
    try:
        with logger.folder.of(run.key).reading(PREDICTIONS["val"]) as path:
            return None if path is None else read(path, bits=False)
    except (UserError, OSError):
        return None


def in_store(run: Run, logger: RunLogger) -> Predictions:
    """Read them in MLflow, of a run that another sweep trained there."""
    run_id = run.logged.info.run_id if run.logged else logger.run_ids[run.key]
    return existing_predictions(find_run(run_id), "val", bits=False)


def note_lost(
    runs: list[Run], found: dict[str, Any] | None, logger: RunLogger, watch: Watch, display: ProgressDisplay
) -> None:
    """Write with the trained runs of a configuration why it gets no more repeats, and say so; with None that it races again."""
    name = configuration_name(runs[0].name)
    text = json.dumps(plain(found)) if found else ""
    before = runs[0].logged.data.tags.get(RACED, "") if runs[0].logged else ""  # of an earlier call
    for run in runs:
        logger.writer.put(partial(tag, run.key, text, logger))
    if found is None or text == before:
        return
    watch.lost(name, runs[0].key, found)
    display.say(
        f"{name}: no more repeats after {found['repeats']} of {found['of']}, {found['value']:.3f} against "
        f"{found['against']:.3f} on the same groups"
    )


def tag(key: str, text: str, logger: RunLogger, client: MlflowClient) -> None:
    """Write of `note_lost`: the reason, or with none that there is no reason any more."""
    if text:
        client.set_tag(logger.run_ids[key], RACED, text)
    elif RACED in client.get_run(logger.run_ids[key]).data.tags:
        client.delete_tag(logger.run_ids[key], RACED)
