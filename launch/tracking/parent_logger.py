"""Write the progress of a sweep into its parent run in MLflow: hours, best errors, the share of trials that ended."""

import json
import math
import time
from functools import partial
from typing import Any

from mlflow.entities import Metric, RunTag
from mlflow.tracking import MlflowClient

from bel.output import plain
from bel.run_layout import HOURS, PROGRESS, STATUS, WATCH
from launch.tracking.writer import Writer

MOST = 5000  # characters of a tag that every version of MLflow takes
LISTS = ("running", "waiting_for_resume", "decisions")  # keys of a status


class ParentLogger:
    """Writes the parent run in the writer's thread; a write that is repeated changes nothing."""

    def __init__(self, run_id: str, writer: Writer) -> None:
        self.run_id, self.writer = run_id, writer
        self.last_step: int | None = None  # trials that had ended at the last metrics; None: not read yet
        self.last_values: dict[str, float] = {}  # those metrics

    def progress(self, hours: float, ended: int = 0, best: dict[str, float] | None = None, part: float = 0) -> None:
        """Log the hours so far and, after each trial, the best errors and the share of trials that ended."""
        values = {} if best is None else best | {PROGRESS: part}
        self.writer.put(partial(self.log, hours, ended, values, int(time.time() * 1000)))

    def log(self, hours: float, step: int, values: dict[str, float], at: int, client: MlflowClient) -> None:
        """The write of `progress`; at a step that was logged, as where a failed trial ran again, only better values."""
        if self.last_step is None:
            points = client.get_metric_history(self.run_id, PROGRESS)
            self.last_values = client.get_run(self.run_id).data.metrics
            self.last_step = max((point.step for point in points), default=0)  # last: a failed read is repeated
        later, step = step > self.last_step, max(step, self.last_step)
        new = {n: v for n, v in values.items() if later or (n != PROGRESS and v < self.last_values.get(n, math.inf))}
        metrics = [Metric(name, value, at, step) for name, value in new.items()]
        client.log_batch(self.run_id, metrics=metrics, tags=[RunTag(HOURS, f"{hours:.4f}")])
        self.last_step, self.last_values = step, self.last_values | new

    def watch(self, values: dict[str, Any], text: str) -> None:
        """Note what the sweep is doing, as JSON and as text; lists of trials are shortened to what a tag takes."""
        while len(found := json.dumps(plain(values))) > MOST and any(values[name] for name in LISTS):
            longest = max(LISTS, key=lambda name: len(values[name]))
            values = values | {longest: values[longest][:-1]}
        tags = [RunTag(STATUS, found), RunTag(WATCH, text[:MOST])]
        self.writer.put(lambda client: client.log_batch(self.run_id, tags=tags))

    def finish(self, status: str) -> None:
        """Close the parent run."""
        self.writer.put(lambda client: client.set_terminated(self.run_id, status))
