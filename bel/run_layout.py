"""The names under which a run is kept: outcomes, tags, metrics, artifacts and files. Written and read with this module."""

from enum import Enum


class Outcome(str, Enum):
    """How far a trial came: the tag `OUTCOME` of its run in MLflow, from its end on."""

    WAITING = "waiting"  # to start, or to start again after its worker died
    RUNNING = "running"  # on a worker
    PAUSED = "paused"  # waits at a rung or because somebody paused it; its worker is free
    FINISHED = "finished"  # trained to its last epoch
    STOPPED = "stopped"  # ended by the scheduler before its last epoch; it has an error
    DIVERGED = "diverged"  # its loss or validation error was not finite; it counts as the worst
    FAILED = "failed"  # ended by an error, or its workers died too often; the same command trains it again
    CUT = "cut"  # cut off with its sweep, no tag is written; the same command goes on with it

    __str__ = str.__str__


DECIDED = (Outcome.FINISHED, Outcome.STOPPED, Outcome.DIVERGED)  # the same sweep does not train it again
RANKED = (Outcome.FINISHED, Outcome.STOPPED)  # it has an error that a table can rank

# Tags of a run in MLflow.
PARENT = "mlflow.parentRunId"  # run id of the sweep that a trial is of
NOTE = "mlflow.note.content"  # description of a run or an experiment in the UI
EXPERIMENT_KIND = "mlflow.experimentKind"  # of an experiment: which pages the UI has of it
SWEEP = "bel.sweep"  # of a parent run: the sweep's key, 16 hex digits
GENERATION = "bel.generation"  # of a parent run: how many `--fresh` calls made another one before
FRESH = "bel.fresh"  # of a parent run: it reuses no trial from before
HOURS = "bel.hours"  # of a parent run: hours of all calls
HEARTBEAT = "bel.beat"  # of a parent run: changes while its driver is alive
COMMAND = "bel.command."  # of a parent run, before an id: what a user asks of the sweep while it runs, JSON
ANSWER = "bel.answer."  # of a parent run, before the same id: what its driver did, or why it refused, JSON
STATUS = "bel.status"  # of a parent run: queue, running trials, time left, cost and last decisions, JSON
WATCH = "bel.watch"  # of a parent run: the same as text, for MLflow's UI
WARM_START = "bel.warm_start"  # of a parent run: which sweeps its searcher learned from, how many of their trials, JSON
STOPPED_BY = "bel.stopped_by"  # of a trial that stopped early: by whom, after which epoch, and against what value, JSON
RACED = "bel.raced"  # of the trials of a configuration that lost the race: after how many repeats, against which error, JSON
TRIAL = "bel.trial"  # the trial's key, 16 hex digits of its config, code and data
OUTCOME = "bel.outcome"  # an `Outcome`
EXTENDS = (
    "bel.extends"  # run id of what this is with more epochs: of a trial that trial, of a parent run the first sweep's
)
REUSED_FROM = "bel.lent_by"  # run id of the same trial in another sweep, whose result this run is
SCHEDULED = "bel.judged"  # whether the scheduler may stop the trial: it is the first repeat of its configuration
DROPPED = "bel.dropped"  # its checkpoint was deleted: it is not among the best `keep`
REGISTERED = "bel.registered"  # its checkpoint is a version in the model registry, and stays
STORE = "bel.store"  # of an experiment: the SQLite file that it was made in
GIT_COMMIT = "git_commit"  # of the source, "none" without a repository
GIT_DIRTY = "git_dirty"  # twelve hex digits of the changes since that commit, or "no"
PACKAGES = "packages"  # names and versions of those that a result depends on
HOST = "host"  # that trained it
DEVICE = "device"  # that trained it: the GPU's or the CPU's name
CODE_VERSION = "code_version"  # twelve hex digits of the source that decides a result
SELECTION = "selection"  # `TrainConfig.selection`
ERROR = "error"  # why a trial failed, or why `sha` stopped it

# Metrics of a run; those of the validation and the test split begin with the split's name.
OBJECTIVE = "val/best_mae_groups"  # the error of a run: of its best epoch, each group counted once
BY_IMAGE = "val/best_mae"  # the same over images
BEST_EPOCH = "val/best_epoch"
CALIBRATED = "calibration/{}_{}_{}"  # coverage, width or nll; of raw, tempered or conformal; on groups left_out or test
PROGRESS = "progress"  # of a parent run: share of its trials that ended, a step a trial
BEST_SO_FAR = "best/{}_mae_groups"  # of a parent run: error of its best configuration so far, by val or test

# Parameters of a run beside the fields of its config.
DATA_DIGEST = "data_digest"  # digest of the prepared training images and labels
HELD_DIGEST = "held_digest"  # the same of the images that select, where they are not of the training part
SPLIT_HASH = "split_hash"  # digest of which images train and which select
VAL_GROUPS = "val_groups"  # number of groups that select
VAL_IMAGES = "val_images"  # number of images that select
TRAIN_IMAGES = "train_images"  # number of images that train
SELECTION_SPLIT = "selection_split"  # `TrainConfig.selection`: val, test or last

# Artifacts of a run, which a folder of `bel-train` and a trial's own folder have too.
CHECKPOINT = "best.pt"  # of the best epoch
LAST = "last.pt"  # checkpoint of the last epoch, in MLflow only where the sweep's `keep_state` says so
STATES = (CHECKPOINT, LAST)  # kept together: of the best `keep` configurations
CONFIG = "config.yaml"  # the config as it was resolved
SPLIT = "split.json"  # how the images were split
PREDICTIONS = {"val": "val_predictions.parquet", "test": "test_predictions.parquet"}  # by split, image by image
MEANING = "bel"  # key in the metadata of a file of predictions: JSON of what its columns mean
CALIBRATION = "calibration.json"  # temperatures and intervals of its predictions, by `bel-results calibrate`
LONG_PARAMETERS = "long_parameters.json"  # parameters that MLflow would cut, of which the run has digests
LABELS_FIGURE = "labels.png"  # the training labels on their levels
CODE_FIGURE = "code.png"  # the code matrices
CURVE_FIGURE = "learning_curve.png"
CHANGES = "changes.diff"  # how the source differed from its commit
PLUGINS = "plugins.json"  # of a registered model: the source of the files of its plug-ins, by path
CODE_FILE = "code_{levels}{suffix}"  # of a registered model: the file of its code for so many levels
SWEEP_FILE = "sweep.json"  # of a parent run: the sweep's file
TOLD_FILE = "warm_start.json"  # of a parent run: the trials of other sweeps that its searcher learned from

# Files of a trial's own folder that MLflow does not get.
END = "end.json"  # how the trial ended, until that is written into MLflow
DRIVER = "driver.json"  # of a sweep's folder: the parent run that its trials are of, and their driver

# Prefixes of the shares of labels beyond an axis, by axis.
CLAMPED = {"training": "clamped_", "selection": "val_clamped_"}


def decoder_metric(metric: str, decoder: str) -> str:
    """Return the name of a metric of one decoder, as `val/argmax/best_mae` of `val/best_mae`."""
    return metric.replace("/", f"/{decoder}/")


def is_by_decoder(name: str) -> bool:
    """Return whether a metric is one of the best epoch by a decoder."""
    return name.count("/") == 2 and "/best_" in name
