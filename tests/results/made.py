"""Runs and predictions made by hand, for tests of what is read from them: real Parquet files, no training, no store."""

import hashlib
import tempfile
from pathlib import Path

import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag

from bel.angles import Axis
from bel.run_layout import CONFIG, OUTCOME, PREDICTIONS, SWEEP, SWEEP_FILE, TRIAL
from bel.training.evaluate import Evaluation, unit
from results.store import predictions
from results.store.predictions import Predictions

AXES = tuple(Axis(name, -75, 150, 150) for name in ("yaw", "pitch", "roll"))
PARAMS = {
    "protocol": "biwi", "crop": "frame", "head": "bel", "code": "j", "loss": "ce", "lr": "0.0001", "seed": "0", "unit": "deg",
    "selection": "val", "selection_split": "val", "split_seed": "0", "split_hash": "0123456789ab", "val_images": "70",
    "val_groups": "7", "train_images": "300", "data_digest": "ba9876543210", "weights_digest": "none", "epochs": "4",
}  # fmt: skip
TAGS = {OUTCOME: "finished", "code_version": "c0de", "mlflow.parentRunId": "p" * 32}


def predictions_of(errors, groups, decoders=("expected",), meaning=None):
    """Predictions (n, axes) that are wrong by `errors` upwards, of targets 0, of images named in order."""
    errors = np.asarray(errors, dtype=np.float64)
    axes = [{"name": axis.name, "unit": "deg", "width": 1.0} for axis in AXES[: errors.shape[1]]]
    return Predictions(
        names=np.array([f"{i:05d}" for i in range(len(errors))]),
        groups=np.array([f"{group:05d}" for group in groups]),
        values={"target": np.zeros_like(errors)} | dict.fromkeys(decoders, errors),
        levels=np.zeros(errors.shape, dtype=np.int64),
        wrong_bits={},
        meaning=meaning or {"axes": axes, "unit": "deg", "decoders": list(decoders), "pose": False, "bits": {}},
    )


def evaluation_of(errors, groups, names=None, targets=None, bits=None, axes=AXES):
    """An evaluation with decoders that, by name, are wrong by `errors` (n, axes); targets 0 unless given."""
    first = torch.as_tensor(next(iter(errors.values())), dtype=torch.float64)
    targets = torch.zeros_like(first) if targets is None else torch.tensor(targets, dtype=torch.float64)
    return Evaluation(
        axes=axes[: first.shape[1]],
        names=list(names or [f"{i:05d}.png" for i in range(len(first))]),
        groups=[str(group) for group in groups],
        targets=targets,
        predictions={name: targets + torch.as_tensor(e, dtype=torch.float64) for name, e in errors.items()},
        pose=first.shape[1] == 3,
        wrong_bits={name: torch.as_tensor(wrong) for name, wrong in (bits or {}).items()},
    )


def made_run(name, folder=None, params=None, tags=None, error=1.0, status="FINISHED", metrics=None):
    """A run as MLflow gives it; with a folder its artifacts are there. A value None leaves a parameter or tag out."""
    folder = folder or "/nowhere"
    run_id = hashlib.md5(f"{name} {folder}".encode()).hexdigest()
    found = {"val/best_mae": error} | (metrics or {})
    info = RunInfo(run_id, "1", "us", status, 0, 1, "active", artifact_uri=str(folder), run_name=name)
    data = RunData(
        [Metric(key, value, 0, 1) for key, value in found.items() if value is not None],
        [Param(key, value) for key, value in (PARAMS | (params or {})).items() if value is not None],
        [RunTag(key, value) for key, value in (TAGS | (tags or {})).items() if value is not None],
    )
    return Run(info, data)


def run_with(folder, name, evaluation, split="val", **fields):
    """A run with a real file of predictions; its logged error is theirs."""
    place = folder / name.replace(" ", "_")
    place.mkdir(exist_ok=True)
    predictions.write(evaluation, place / PREDICTIONS[split])
    by_decoder = {f"{split}/{decoder}/mae": evaluation.mae(decoder) for decoder in evaluation.predictions}
    fields["metrics"] = by_decoder | fields.get("metrics", {})
    return made_run(name, place, **{"error": evaluation.mae(evaluation.headline)} | fields)


RANDOM = np.random.default_rng(0)
GROUPS = np.repeat(np.arange(8), [5, 10, 2, 8, 20, 3, 7, 5])  # of 60 images
EFFECTS = RANDOM.normal(0, 0.1, (100, 8))


def flat(error, effect=0, groups=GROUPS):
    """An evaluation whose error is `error` on every axis, and by group a bit more or less."""
    by_image = error + EFFECTS[effect][groups % 8]
    return evaluation_of({"expected": np.repeat(by_image[:, None], 3, 1)}, groups)


def mean_of(error, effect=0):
    """The mean over groups of `flat`."""
    return error + EFFECTS[effect].mean()


def coded(code, **more):
    """Parameters of a code."""
    return {"code": code, **more}


def names(table):
    """The rows of a board."""
    return [standing.configuration.name for standing in table.standings]


def entry_of(folder, code, error, effect=0, seed=0, evaluation=None, params=None, **fields):
    """A run of a code and seed with predictions, those of `flat` unless others are given."""
    name = f"{code}-150 ce lr=1e-4 s{seed}" + (f" fold={params['fold']}" if "fold" in (params or {}) else "")
    own = coded(code, seed=str(seed)) | (params or {})
    return run_with(folder, name, evaluation or flat(error, effect), params=own, **fields)


def stored_sweep(name, evaluations, params=None):
    """A finished sweep in the present store: a trial of each evaluation, by code; returns the ids of the trials."""
    client = MlflowClient()
    experiment = client.create_experiment(name)
    parent = client.create_run(experiment, tags={SWEEP: "0" * 16}, run_name=name)
    client.log_dict(parent.info.run_id, {"space": {"code": {}}, "search": {"tune": None}}, SWEEP_FILE)
    ids = []
    for code, evaluation in evaluations.items():
        own = PARAMS | {"unit": unit(evaluation.axes), "code": code} | (params or {})
        own |= {f"levels_{axis.name}": str(axis.levels) for axis in evaluation.axes}
        tags = TAGS | {"mlflow.parentRunId": parent.info.run_id, TRIAL: code}
        run_id = client.create_run(experiment, tags=tags, run_name=f"{code}-150 ce lr=1e-4 s0").info.run_id
        values = evaluation.metrics("val")
        best = {key.replace("/", "/best_"): value for key, value in values.items() if key.count("/") == 1}
        values |= best | {"val/best_epoch": 1.0, "epoch": 1.0, "seconds": 1.0}
        client.log_batch(
            run_id,
            metrics=[Metric(key, value, 0, step) for step in (1, 2) for key, value in values.items()],
            params=[Param(key, value) for key, value in own.items()],
        )
        with tempfile.TemporaryDirectory() as folder:
            for file in PREDICTIONS.values():
                predictions.write(evaluation, Path(folder) / file)
            (Path(folder) / CONFIG).write_text("protocol: biwi\nhead: bel\ncode: u\n")
            client.log_artifacts(run_id, folder)
        client.set_terminated(run_id, "FINISHED")
        ids.append(run_id)
    return ids
