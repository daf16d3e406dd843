"""One training run as a trainable of Ray Tune: a step is an epoch; with its folder any worker can go on with it."""

import errno
import json
import math
import shutil
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ray import tune

from bel.config import TrainConfig
from bel.data.loading import load
from bel.data.prepare.prepared import Prepared, unchanged
from bel.errors import Diverged, UserError, sentence
from bel.plugins.module import receive
from bel.precision import pick_device
from bel.run_layout import (
    CHECKPOINT,
    CONFIG,
    CURVE_FIGURE,
    DEVICE,
    HOST,
    LABELS_FIGURE,
    LAST,
    PREDICTIONS,
    SPLIT,
    Outcome,
    decoder_metric,
    is_by_decoder,
)
from bel.training import checkpoint
from bel.training.checkpoint import environment
from bel.training.loop import Epoch
from bel.training.source import code_version
from launch.driver.live_progress import INTERVAL, publish_pace, remove_pace
from launch.identity import file_digests, pixels_key
from launch.network_size import outputs, parameters
from launch.pace import Pace, paced
from launch.spec import yaml_text
from launch.system_metrics import SystemMetrics
from launch.tracking.figures import draw_curve, draw_labels
from launch.tracking.predictions import write_predictions
from launch.tracking.trial_folder import Folder, load_state

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
NO_MORE: dict[str, Any] = {"weights": {}, "optimiser": []}  # of a last state from which nothing goes on
Entry = dict[str, float]  # the metrics of an epoch, its number and when it ended


def gpu_failed(error: Exception, device: str) -> bool:
    """Whether this process cannot use its GPU: it sees none, or after an error of its own or, under MPS, of another process."""
    unseen = device == "cuda" and torch.backends.cuda.is_built() and not torch.cuda.is_available()
    return unseen or isinstance(error, torch.AcceleratorError)


def refuse_other_source(config: dict[str, Any]) -> None:
    """Raise `UserError` where this worker imported another source of `bel` than the driver."""
    host = socket.gethostname()
    if config["code_version"] == code_version():
        return
    if config["driver_host"] == host:
        raise UserError(
            "the source of bel has changed since the sweep began, so that this trial would be of other code: run the command "
            "again, which trains with the source as it is then, or put the source back first"
        )
    raise UserError(f"the code on {host} is not the driver's: start Ray there in the same version")


class Trial(tune.Trainable):
    """Trains one run; `config` is what `launch.driver.stage.Stage.worker_config` returns.

    Actors are reused, so `start` sets all state. An error in training is reported, not raised: Tune sees a trial fail only
    where its worker died or lost its GPU, so that another worker may go on with it.
    """

    data: Prepared
    data_key = ""  # `pixels_key` of `data`

    def setup(self, config: dict[str, Any]) -> None:
        """Start the first run of an actor."""
        self.start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another run in this actor."""
        self.start(new_config)
        return True

    def start(self, config: dict[str, Any]) -> None:
        """Prepare to train, from the last epoch in the run's folder on."""
        self.epochs: Iterator[Epoch] = iter(())  # frees the network of the run before
        self.best: dict[str, Any] = {}
        self.last: dict[str, Any] = {}
        self.history: list[Entry] = []
        self.reported = 0  # epochs of the history that this actor has reported
        self.until: int | None = config.get("until")  # the epoch after which it waits for other runs
        self.error: Exception | None = None  # raised before the first step
        self.notes: list[str] = []  # lines for the driver to print
        self.keeps_state = bool(config.get("keep_state"))  # a longer run may go on from the last one
        self.system_metrics = SystemMetrics() if config.get("system_metrics") else None
        torch.set_num_threads(max(1, round(self.trial_resources.head_cpus)))
        try:
            self.key = config["folder"]
            self.folder = Folder(self.key)
            receive(config["plugins"])
            self.train_config = TrainConfig.make(config["values"])
            self.load_data(config)
            self.begin(*(load_state(self.folder, name, self.notes.append) for name in (LAST, CHECKPOINT)))
        except Exception as error:
            self.error = error

    def load_data(self, config: dict[str, Any]) -> None:
        """Map the images, which are prepared on this machine if need be. Raises `UserError` where they are not the driver's."""
        refuse_other_source(config)
        key = pixels_key(self.train_config)
        if key != self.data_key or not unchanged(self.data):  # an open map saves checking every file again
            self.data, self.data_key = load(self.train_config, "train"), key
        if file_digests(self.train_config) != config["file_digests"]:
            raise UserError(
                f"the weights, the code's file or an installed plug-in on {socket.gethostname()} are not the driver's: copy "
                "them there"
            )
        if self.data.digest != config["data_digest"]:
            raise UserError(
                f"the images in {self.train_config.data_root} on {socket.gethostname()} are not the driver's: copy them there"
            )

    def begin(self, last: dict[str, Any] | None, best: dict[str, Any] | None) -> None:
        """Train from the start, or on from the state `last`, if the one of the best epoch is there too."""
        self.epochs = iter(())  # frees the network that was made before
        resume = last if best else None
        if resume:
            self.history, self.best = list(resume["history"]), best or {}
        if len(self.history) < self.train_config.epochs:
            self.epochs = paced(self.train_config, self.data, resume, self.report_pace, INTERVAL)

    def report_pace(self, pace: Pace) -> None:
        """Let the driver see the progress within an epoch, and look how the machine is used."""
        publish_pace(self.key, pace)
        if self.system_metrics:
            self.system_metrics.sample()

    def step(self) -> dict[str, Any]:
        """Train and report one epoch, at first those of earlier workers too; where the run ends also its outcome."""
        try:
            if self.error:
                raise self.error
            if len(self.history) < (self.until or self.train_config.epochs):
                self.advance()
            finished, paused = (
                len(self.history) >= epoch for epoch in (self.train_config.epochs, self.until or math.inf)
            )
            outcome = Outcome.FINISHED if finished else Outcome.PAUSED
            ended = {"done": True, "outcome": outcome.value} if finished or paused else {}
        except Exception as error:
            if gpu_failed(error, self.config["values"]["device"]):
                raise
            full = isinstance(error, OSError) and error.errno in DISK_FULL
            outcome = Outcome.CUT if full else Outcome.DIVERGED if isinstance(error, Diverged) else Outcome.FAILED
            ended = {"done": True, "outcome": outcome.value, "disk_full": full, "reason": sentence(error)}
        if ended:
            remove_pace(self.key)
        past, self.reported = self.history[self.reported :], len(self.history)
        now = past[-1] if past else {"epoch": len(self.history)}
        notes, self.notes = self.notes, []
        return {**now, "past": past, "notes": notes, **self.machine(), **ended}

    def advance(self) -> None:
        """Train one epoch and write its state: the best one first, because the last one refers to it."""
        start = time.perf_counter()
        epoch = next(self.epochs)
        seconds = time.perf_counter() - start
        state = epoch.state()
        if not self.history:
            self.describe(state)
        more = {"bits": outputs(self.train_config), "parameters": parameters(state["weights"])}
        more |= {"seconds": seconds, "epoch": epoch.number, "time": time.time()}
        more |= self.system_metrics.of_epoch() if self.system_metrics else {}
        history = [*self.history, {**epoch.metrics, **self.best_by_decoder(epoch), **more}]
        if epoch.is_best:
            self.best = state | {"optimiser": []}  # two thirds of its size; a run goes on from `last`
            self.folder.write_state(CHECKPOINT, self.best)
            self.folder.write(PREDICTIONS["val"], partial(write_predictions, epoch.validation))
        self.last = state | {"history": history}
        ended = len(history) == self.train_config.epochs
        self.folder.write_state(LAST, self.last | (NO_MORE if ended and not self.keeps_state else {}))
        self.history = history
        if ended:  # the driver draws those of all trials that are stopped
            draw = partial(draw_curve, history, split=self.train_config.selection)
            self.folder.write(CURVE_FIGURE, draw)

    def best_by_decoder(self, epoch: Epoch) -> dict[str, float]:
        """Return the errors of every decoder in the best epoch so far, by image and by group."""
        if not epoch.is_best:
            return {name: error for name, error in self.history[-1].items() if is_by_decoder(name)}
        errors = {"mae": epoch.validation.mae, "mae_groups": epoch.validation.mae_groups}
        return {
            decoder_metric(f"val/best_{name}", decoder): error(decoder)
            for decoder in epoch.validation.predictions
            for name, error in errors.items()
        }

    def describe(self, state: dict[str, Any]) -> None:
        """Write the config, the split and the figure of the labels."""
        self.folder.write(CONFIG, lambda path: path.write_text(yaml_text.dump(self.train_config.as_dict())))
        self.folder.write(SPLIT, lambda path: path.write_text(json.dumps(state["data"], indent=1)))
        self.folder.write(LABELS_FIGURE, partial(draw_labels, self.train_config, self.data))

    def machine(self) -> dict[str, str]:
        """Return host and device of the run."""
        device = "" if self.error else environment(pick_device(self.train_config.device), {})["device"]
        return {HOST: socket.gethostname(), DEVICE: device}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write the state where population-based training copies it to another trial."""
        checkpoint.save(self.last, Path(checkpoint_dir) / LAST)
        checkpoint.save(self.best, Path(checkpoint_dir) / CHECKPOINT)
        with self.folder.reading(PREDICTIONS["val"]) as path:
            if path:
                shutil.copy(path, Path(checkpoint_dir) / PREDICTIONS["val"])

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Go on from a state that population-based training chose, perhaps of another trial that is further."""
        self.last, best = (checkpoint.load(Path(checkpoint_dir) / name) for name in (LAST, CHECKPOINT))
        self.last["config"] = self.train_config.as_dict()  # the fields with which it goes on
        self.begin(self.last, best)
        for name, state in ((CHECKPOINT, best), (LAST, self.last)):
            self.folder.write_state(name, state)
        self.folder.write(PREDICTIONS["val"], partial(shutil.copy, Path(checkpoint_dir) / PREDICTIONS["val"]))
