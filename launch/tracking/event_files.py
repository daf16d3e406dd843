"""Event files of TensorBoard: a folder for each run, an event for each epoch; what a folder has is not written again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bel.config import TrainConfig
from bel.errors import UserError

if TYPE_CHECKING:  # `bel-train` does without MLflow
    from mlflow.entities import Metric

    from launch.runs import Entry, Run

SUFFIX = ".bel"  # of the names of our files: no other one is read or deleted
NO_METRICS = ("epoch", "time")  # of an epoch, which an event has by itself


def refuse_missing(targets: Sequence[str]) -> None:
    """Raise `UserError` where event files are asked for and the package that writes them is not installed."""
    if "tensorboard" in targets:
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError:
            raise UserError(
                "logging to tensorboard needs the package tensorboard: pip install 'bel-sweeps[tensorboard]'"
            ) from None


class EventFile:
    """The event file that a run goes on with in a folder; `begun` says whether the run has epochs of earlier calls."""

    def __init__(self, folder: Path, config: TrainConfig, begun: bool = True) -> None:
        from torch.utils.tensorboard import FileWriter
        from torch.utils.tensorboard.summary import hparams

        if not begun:
            for path in event_files(folder):
                path.unlink()
        self.last = max(steps(folder), default=0)
        self.writer = FileWriter(str(folder), filename_suffix=SUFFIX)
        _, self.start, self.end = hparams(values_of(config), {})
        self.writer.add_summary(self.start)

    def log(self, metrics: Mapping[str, float], epoch: int, at: float) -> None:
        """Write the metrics of an epoch as one event, unless it is there; it is on disk when this returns."""
        from torch.utils.tensorboard.summary import scalar

        if epoch <= self.last:
            return
        first, *others = (scalar(name, value) for name, value in metrics.items() if name not in NO_METRICS)
        for other in others:
            first.MergeFrom(other)
        self.writer.add_summary(first, epoch, at)
        self.writer.flush()
        self.last = epoch

    def close(self, ended: bool) -> None:
        """Close the file; with `ended` TensorBoard shows the run as complete."""
        if ended:
            self.writer.add_summary(self.end)
        self.writer.close()

    def __enter__(self) -> EventFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(ended=kind is None)


class EventFiles:
    """The event files of a sweep's runs, below a folder; without one nothing is written."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.open: dict[str, EventFile] = {}  # by key of the run

    def log(self, run: Run, entries: Sequence[Entry]) -> None:
        """Write the epochs of a run that its folder does not have."""
        if self.folder and run.key not in self.open:
            self.open[run.key] = EventFile(self.folder / folder_name(run), run.config)
        for entry in entries if self.folder else ():
            self.open[run.key].log(entry, int(entry["epoch"]), entry["time"])

    def copy(self, run: Run, metrics: Sequence[Metric]) -> None:
        """Write the epochs of a run that another sweep trained, from its metrics in MLflow."""
        entries: dict[int, Entry] = {}
        for metric in metrics:
            entry = entries.setdefault(metric.step, {"epoch": metric.step, "time": metric.timestamp / 1000})
            entry[metric.key] = metric.value
        self.log(run, [entries[step] for step in sorted(entries)])
        self.close(run, ended=True)

    def close(self, run: Run, ended: bool) -> None:
        """Close the file of a run, if it is open."""
        if run.key in self.open:
            self.open.pop(run.key).close(ended)

    def lacks(self, run: Run) -> bool:
        """Whether event files are written and there is none of a run."""
        return self.folder is not None and not list(event_files(self.folder / folder_name(run)))


def folder_name(run: Run) -> str:
    """Return the name of a run's folder: that of the run, and of its key as much as tells it from another of that name."""
    return re.sub(r"[^\w.=+ -]", "_", run.name).encode()[:200].decode(errors="ignore") + f" {run.key[:6]}"


def values_of(config: TrainConfig) -> dict[str, Any]:
    """Return the fields of a config as TensorBoard takes them: numbers and texts."""
    values = {name: value for name, value in config.as_dict().items() if value is not None}
    return {name: value if isinstance(value, int | float | str) else str(value) for name, value in values.items()}


def event_files(folder: Path) -> list[Path]:
    """Return our event files in a folder."""
    return sorted(folder.glob(f"events.out.tfevents.*{SUFFIX}"))


def steps(folder: Path) -> Iterator[int]:
    """Return the steps of the events in a folder; one that was cut with its process is not there."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    for path in event_files(folder):
        yield from (event.step for event in EventFileLoader(str(path)).Load())
