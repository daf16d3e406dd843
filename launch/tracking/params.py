"""Name and parameters of a run in MLflow."""

import hashlib
import json
from collections.abc import Mapping

import numpy as np
from mlflow.entities import Dataset, DatasetInput, InputTag, Param
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from mlflow.utils.validation import MAX_PARAM_VAL_LENGTH

from bel.codes.library import short_name
from bel.config import TrainConfig
from bel.heads import HEADS
from bel.run_layout import DATA_DIGEST, LONG_PARAMETERS, SPLIT_HASH, TRAIN_IMAGES, VAL_GROUPS, VAL_IMAGES
from bel.text import in_a_word
from bel.training.evaluate import unit
from launch.identity import file_digests
from launch.spec.sweep_file import Sweep

MOST_NAME = 250  # characters of a run's name that a database takes
ALWAYS = ("head", "code", "code_bits", "loss", "lr", "seed")  # fields that every name shows


def label(config: TrainConfig, sweep: Sweep) -> str:
    """Return the name of a trial, e.g. `j-150 ce lr=1e-4 s0`, with all other fields that the sweep varies and it has."""
    levels = max(axis.levels for axis in config.axes)
    name = in_a_word(short_name(config.code, levels)) if config.code else config.head
    rate = np.format_float_scientific(config.lr, precision=1, trim="-", exp_digits=1)
    varied = [*sweep.space, *(["fold"] if sweep.search.folds and config.folds else [])]
    values = {field: getattr(config, field) for field in varied if field not in ALWAYS}
    also = "".join(f" {field}={in_a_word(value)}" for field, value in values.items() if value is not None)
    whole = f"{name}-{levels} {config.loss} lr={rate} s{config.seed}{also}"
    return whole if len(whole) <= MOST_NAME else f"{whole[: MOST_NAME - 10]} {digest(whole)[:9]}"


def digest(text: str) -> str:
    """Return 16 hex digits that identify a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def log_parameters(client: MlflowClient, run_id: str, config: TrainConfig, facts: dict[str, str]) -> None:
    """Log a run's data set, parameters that are too long for MLflow in a file, and last, once all is there, the parameters."""
    params, long = split_long(parameters(config, facts))
    if long:
        client.log_dict(run_id, long, LONG_PARAMETERS)
    client.log_inputs(run_id, [dataset(config, facts)])
    client.log_batch(run_id, params=[Param(name, value) for name, value in params.items()])


def split_long(values: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Split parameters into those that MLflow takes, a digest for each that it would cut, and the long ones in full."""
    long = {name: value for name, value in values.items() if len(value) > MAX_PARAM_VAL_LENGTH}
    digests = {name: f"sha256 {digest(v)} of {len(v)} characters, in {LONG_PARAMETERS}" for name, v in long.items()}
    return {**values, **digests}, long


def dataset(config: TrainConfig, facts: dict[str, str]) -> DatasetInput:
    """Return the images of a run as MLflow shows them: digest of images and split, where they come from, and counts."""
    source = {"data_root": config.data_root, "crop": config.crop, "image_size": config.image_size}
    counts = {name: int(facts[name]) for name in (TRAIN_IMAGES, VAL_IMAGES, VAL_GROUPS) if name in facts}
    digests = "-".join(facts.get(name, "")[:12] for name in (DATA_DIGEST, SPLIT_HASH))
    found = Dataset(config.protocol_name[:100], digests, "local", json.dumps(source), profile=json.dumps(counts))
    return DatasetInput(found, [InputTag(MLFLOW_DATASET_CONTEXT, "training and selection")])


def parameters(config: TrainConfig, facts: dict[str, str]) -> dict[str, str]:
    """Return all parameters of a run: config fields, levels, unit and bits of each axis, facts of its data."""
    values = config.as_dict() | facts | file_digests(config) | {"unit": unit(config.axes)}
    if not isinstance(config.protocol, str):
        values["protocol_definition"] = json.dumps(config.protocol)
    for axis in config.axes:
        values |= {f"levels_{axis.name}": axis.levels, f"unit_{axis.name}": axis.unit}
        values[f"bits_{axis.name}"] = HEADS[config.head].code_width(axis, config)
    return {name: str(value) for name, value in values.items() if value is not None}
