"""Write the progress of a sweep into its parent run in MLflow: hours, best errors, the share of trials that ended."""

import json
import math
import time
from collections import deque
from itertools import islice
from typing import Any

from mlflow.entities import Metric, RunTag
from mlflow.tracking import MlflowClient

from bel.output import plain
from bel.run_layout import HOURS, PROGRESS, STATUS, WATCH
from launch.tracking.writer import Writer

MOST = 5000  # characters of a tag that every version of MLflow takes
Point = tuple[int, dict[str, float], int]  # trials that have ended, metrics, and the time in ms
AT_ONCE = 100  # points in a write: MLflow takes 1,000 metrics
LISTS = ("running", "waiting_for_resume", "decisions")  # keys of a status


class ParentLogger:
    """Writes the parent run in the writer's thread: all at once that came while the writer was busy.

    A write that is repeated changes nothing.
    """

    def __init__(self, run_id: str, writer: Writer) -> None:
        self.run_id, self.writer = run_id, writer
        self.points: deque[Point] = deque()  # not written yet
        self.tags: dict[str, str] = {}  # as they are to be
        self.queued = False  # whether a write will find what comes
        self.last_step: int | None = None  # trials that had ended at the last metrics; None: not read yet
        self.last_values: dict[str, float] = {}  # those metrics

    def progress(self, hours: float, ended: int = 0, best: dict[str, float] | None = None, part: float = 0) -> None:
        """Log the hours so far and, after each trial, the best errors and the share of trials that ended."""
        if best is not None:
            self.points.append((ended, best | {PROGRESS: part}, int(time.time() * 1000)))
        self.put({HOURS: f"{hours:.4f}"})

    def watch(self, values: dict[str, Any], text: str) -> None:
        """Note what the sweep is doing, as JSON and as text; lists of trials are shortened to what a tag takes."""
        while len(found := json.dumps(plain(values))) > MOST and any(values[name] for name in LISTS):
            longest = max(LISTS, key=lambda name: len(values[name]))
            values = values | {longest: values[longest][:-1]}
        self.put({STATUS: found, WATCH: text[:MOST]})

    def put(self, tags: dict[str, str]) -> None:
        """Have tags and points written."""
        self.tags = self.tags | tags
        if not self.queued:
            self.queued = True
            self.writer.put(self.write)

    def write(self, client: MlflowClient) -> None:
        """Write what came."""
        if self.last_step is None:
            points = client.get_metric_history(self.run_id, PROGRESS)
            self.last_values = client.get_run(self.run_id).data.metrics
            self.last_step = max((point.step for point in points), default=0)  # last: a failed read is repeated
        self.queued = False
        came, tags = list(islice(self.points, AT_ONCE)), self.tags
        metrics, step, values = [], self.last_step, self.last_values
        for point in came:
            new, step = better(point, step, values)
            metrics += [Metric(name, value, point[2], step) for name, value in new.items()]
            values = values | new
        client.log_batch(self.run_id, metrics=metrics, tags=[RunTag(name, value) for name, value in tags.items()])
        self.last_step, self.last_values = step, values
        for _ in came:
            self.points.popleft()
        if self.points:
            self.put({})

    def finish(self, status: str) -> None:
        """Close the parent run."""
        self.writer.put(lambda client: client.set_terminated(self.run_id, status))


def better(point: Point, last: int, values: dict[str, float]) -> tuple[dict[str, float], int]:
    """Return the metrics of a point and its step; at one that was logged, as after a failed trial, only better ones."""
    step, found, _ = point
    return {n: v for n, v in found.items() if step > last or (n != PROGRESS and v < values.get(n, math.inf))}, max(
        step, last
    )
