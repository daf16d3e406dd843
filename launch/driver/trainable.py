"""One training run as a Ray Tune trainable: an epoch a step; its folder holds what it needs to go on anywhere."""

from __future__ import annotations

import errno
import json
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ray import tune

from bel.config import TrainConfig
from bel.data.loading import load
from bel.data.prepare.prepared import Prepared, unchanged
from bel.errors import Diverged, UserError, sentence
from bel.heads import HEADS
from bel.precision import pick_device
from bel.run_layout import CHECKPOINT, CONFIG, LABELS_FIGURE, LAST, PREDICTIONS, SPLIT, Outcome
from bel.source import code_version
from bel.training import checkpoint
from bel.training.checkpoint import environment
from bel.training.loop import Epoch
from launch.driver.live_progress import EVERY, forget, tell_driver
from launch.identity import file_digests, pixels_key
from launch.pace import paced
from launch.spec import yaml_text
from launch.tracking.figures import draw_labels
from launch.tracking.predictions import write_predictions
from launch.tracking.trial_folder import Folder

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
FULL = (errno.ENOSPC, errno.EDQUOT)
Entry = dict[str, float]  # the metrics of an epoch, its number and when it ended


def outputs(config: TrainConfig) -> float:
    """How many numbers the network gives for an image: for head bel the bits of its codes."""
    with torch.random.fork_rng(devices=[]):
        head = HEADS[config.head].build(1, config).eval()
        return float(sum(output.shape[1] for output in head(torch.zeros(1, 1))))


def parameters(weights: dict[str, torch.Tensor]) -> float:
    """How many numbers of a network are learned: all but the statistics of batch norm."""
    return float(sum(value.numel() for name, value in weights.items() if not name.endswith(STATISTICS)))


def gpu_failed(error: Exception) -> bool:
    """Whether a GPU is of no use to this process any more, by its own fault or, under MPS, by that of a neighbour."""
    return isinstance(error, torch.AcceleratorError)


def stored(folder: Folder, name: str, say: Callable[[str], None] = lambda text: None) -> dict[str, Any] | None:
    """A state in a run's folder; None where there is none that can be read, which is said."""
    with folder.reading(name) as path:
        try:
            return None if path is None else checkpoint.load(path)
        except UserError as error:  # a machine that lost its power leaves half a file
            say(f"{error}: it is trained from the start again")
            return None


def changed_fields(folder: Folder, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields that a scheduler may have changed, as a run had them before its worker or the driver died."""
    last = stored(folder, LAST) if names else None
    return {name: last["config"][name] for name in names} if last else {}


def refuse_other_source(order: dict[str, Any]) -> None:
    """Raise `UserError` where this worker imported another source of `bel` than the driver of its order."""
    host = socket.gethostname()
    if order["code_version"] == code_version():
        return
    if order["driver_host"] == host:
        raise UserError(
            "the source of bel has changed since the sweep began, so that this trial would be of other code: run the command "
            "again, which trains with the source as it is then, or put the source back first"
        )
    raise UserError(f"the code on {host} is not the driver's: start Ray there in the same version")


class Trial(tune.Trainable):
    """`config` holds `values`, every field of a `TrainConfig`, and what `launch.schedule.searcher.order` adds.

    Actors are reused, so all state is set in `start`. What goes wrong in training is reported, not raised: a trial that
    Tune sees fail is one whose worker died, or can compute no more, and which may go on in another.
    """

    data: Prepared
    held = ""  # the `pixels_key` of `data`

    def setup(self, config: dict[str, Any]) -> None:
        """Begin the run of a fresh actor."""
        self.start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another run in this actor."""
        self.start(new_config)
        return True

    def start(self, config: dict[str, Any]) -> None:
        """Make ready to train, after the last epoch that the run's folder knows of."""
        self.epochs: Iterator[Epoch] = iter(())  # lets go of the last run's network before this one's is made
        self.best: dict[str, Any] = {}
        self.last: dict[str, Any] = {}
        self.history: list[Entry] = []
        self.reported = 0  # entries of the history that this actor has told Tune of
        self.trouble: Exception | None = None
        self.notes: list[str] = []  # what the driver has to be told besides
        torch.set_num_threads(max(1, round(self.trial_resources.head_cpus)))
        try:
            self.key = config["folder"]
            self.folder = Folder(self.key)
            self.train_config = TrainConfig.make(config["values"])
            self.load_data(config)
            self.begin(*(stored(self.folder, name, self.notes.append) for name in (LAST, CHECKPOINT)))
        except Exception as error:
            self.trouble = error

    def load_data(self, config: dict[str, Any]) -> None:
        """Map the images, prepared on this machine where they are not yet; they and the code must be the driver's."""
        refuse_other_source(config)
        key = pixels_key(self.train_config)
        if key != self.held or not unchanged(self.data):  # a map that is there spares asking for every file again
            self.data, self.held = load(self.train_config, "train"), key
        if file_digests(self.train_config) != config["file_digests"]:
            raise UserError(
                f"the weights or the code's file on {socket.gethostname()} are not the driver's: copy them there"
            )
        if self.data.digest != config["data_digest"]:
            raise UserError(
                f"the images in {self.train_config.data_root} on {socket.gethostname()} are not the driver's: copy them there"
            )

    def begin(self, last: dict[str, Any] | None, best: dict[str, Any] | None) -> None:
        """Train from the start, or after the epoch of a state, if its best one is there too."""
        self.epochs = iter(())  # lets go of a network that was made before, as at the start
        resume = last if best else None
        if resume:
            self.history, self.best = list(resume["history"]), best or {}
        self.epochs = paced(self.train_config, self.data, resume, partial(tell_driver, self.key), EVERY)

    def step(self) -> dict[str, Any]:
        """Train one epoch and report it, and once all that an earlier worker did; or how the run ended."""
        try:
            if self.trouble:
                raise self.trouble
            if len(self.history) < self.train_config.epochs:
                self.advance()
            ended = (
                {"done": True, "outcome": Outcome.FINISHED.value}
                if len(self.history) == self.train_config.epochs
                else {}
            )
        except Exception as error:
            if gpu_failed(error):
                raise
            full = isinstance(error, OSError) and error.errno in FULL
            outcome = Outcome.CUT if full else Outcome.DIVERGED if isinstance(error, Diverged) else Outcome.FAILED
            ended = {"done": True, "outcome": outcome.value, "disk_full": full, "reason": sentence(error)}
        if ended:
            forget(self.key)
        past, self.reported = self.history[self.reported :], len(self.history)
        now = past[-1] if past else {"epoch": len(self.history)}
        notes, self.notes = self.notes, []
        return {**now, "past": past, "notes": notes, **self.machine(), **ended}

    def advance(self) -> None:
        """Train one epoch and keep its state: the best one first, because the last one knows of it."""
        start = time.perf_counter()
        epoch = next(self.epochs)
        seconds = time.perf_counter() - start
        state = epoch.state()
        if not self.history:
            self.describe(state)
        more = {"bits": outputs(self.train_config), "parameters": parameters(state["weights"])}
        more |= {"seconds": seconds, "epoch": epoch.number, "time": time.time()}
        history = [*self.history, {**epoch.metrics, **more}]
        if epoch.is_best:
            self.best = state | {"optimiser": []}  # two thirds of it, and a run goes on from its last one
            self.keep(CHECKPOINT, self.best)
            with self.folder.writing(PREDICTIONS["val"]) as path:
                write_predictions(epoch.validation, path)
        self.last = state | {"history": history}
        self.keep(LAST, self.last)
        self.history = history

    def keep(self, name: str, state: dict[str, Any]) -> None:
        """Write a state into the run's folder. Raises `OSError` for a full disk."""
        with self.folder.writing(name) as path, path.open("wb") as file:
            checkpoint.write(state, file)

    def describe(self, state: dict[str, Any]) -> None:
        """Write the config, the split and a picture of the labels."""
        with self.folder.writing(CONFIG) as path:
            path.write_text(yaml_text.dump(self.train_config.as_dict()))
        with self.folder.writing(SPLIT) as path:
            path.write_text(json.dumps(state["data"], indent=1))
        with self.folder.writing(LABELS_FIGURE) as path:
            draw_labels(self.train_config, self.data, path)

    def machine(self) -> dict[str, str]:
        """Where the run is."""
        device = "" if self.trouble else environment(pick_device(self.train_config.device))["device"]
        return {"host": socket.gethostname(), "device": device}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Copy the state for a scheduler that hands it to another trial."""
        checkpoint.save(self.last, Path(checkpoint_dir) / LAST)
        checkpoint.save(self.best, Path(checkpoint_dir) / CHECKPOINT)
        with self.folder.reading(PREDICTIONS["val"]) as path:
            if path:
                shutil.copy(path, Path(checkpoint_dir) / PREDICTIONS["val"])

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Go on from a state that a scheduler chose, perhaps another trial's, whose epochs past the own ones are reported."""
        self.last, best = (checkpoint.load(Path(checkpoint_dir) / name) for name in (LAST, CHECKPOINT))
        self.last["config"] = self.train_config.as_dict()  # the fields with which it goes on
        self.begin(self.last, best)
        for name, state in ((CHECKPOINT, best), (LAST, self.last)):
            self.keep(name, state)
        with self.folder.writing(PREDICTIONS["val"]) as path:
            shutil.copy(Path(checkpoint_dir) / PREDICTIONS["val"], path)
