"""What a run is called, and parameters that are longer than MLflow takes."""

from dataclasses import replace

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from bel.run_layout import LONG_PARAMETERS, SWEEP_FILE
from bel.training.checkpoint import code_version
from launch.runs import Run
from launch.spec.sweep_file import Sweep
from launch.tracking.logger import RunLogger
from launch.tracking.params import MOST_NAME, label, parameters, split_long
from launch.tracking.parent_run import MOST_NOTE, about
from launch.tracking.store import Store
from launch.tracking.trial_folder import Folder
from results.store.runs import find_run

SPAN = {"low": 0, "high": 48, "unit": "px"}


@pytest.fixture
def landmarks(make):
    """A function that makes a config of 196 targets, of which the last one has so many levels."""

    def config(levels):
        targets = {f"landmark_{i}": SPAN | {"levels": 24} for i in range(195)}
        last = {"landmark_195": SPAN | {"levels": levels}}
        return make(protocol={"name": "csv", "train": "points.csv", "targets": targets | last})

    return config


def sweep_of(*fields):
    return Sweep("s", "", {}, dict.fromkeys(fields))


def test_a_long_parameter_is_a_digest_and_an_artifact_and_no_two_are_taken_for_one(store, landmarks):
    client, found = mlflow.MlflowClient(), []
    experiment = client.create_experiment("many")
    logger = RunLogger(Store(experiment, "", {}, {}), Folder(str(store)), {}, b"")
    for levels in (24, 26):
        config = landmarks(levels)
        run = Run(str(levels), config, "many", {"protocol": "csv", "code_version": code_version()}, group="")
        logger.open(run, client)
        params = client.get_run(logger.run_ids[run.key]).data.params
        whole = mlflow.artifacts.load_dict(f"runs:/{logger.run_ids[run.key]}/{LONG_PARAMETERS}")
        assert list(whole) == ["protocol_definition"] and len(whole["protocol_definition"]) > 6000
        said = parameters(config, run.facts)
        assert said == params | whole, "nothing is cut"
        assert find_run(logger.run_ids[run.key]).data.params == said, "a reader has it whole"
        assert params["protocol_definition"].endswith(
            f"of {len(whole['protocol_definition'])} characters, in {LONG_PARAMETERS}"
        )
        found.append(params["protocol_definition"])
    assert found[0] != found[1]


class Killed(BaseException):
    """In the place of a SIGKILL."""


@pytest.mark.parametrize("write", ["log_dict", "log_inputs", "log_batch"])
def test_a_run_whose_driver_was_killed_before_it_had_parameters_has_them_when_it_goes_on(
    store, landmarks, monkeypatch, write
):
    def killed(*args, **options):
        raise Killed

    client, config = MlflowClient(), landmarks(24)
    experiment = client.create_experiment("many")
    run = Run("k", config, "many", {"protocol": "csv", "code_version": code_version()}, group="")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(MlflowClient, write, killed)
        RunLogger(Store(experiment, "", {}, {}), Folder(str(store)), {}, b"").open(run, client)
    (half,) = client.search_runs([experiment])
    assert not half.data.params, "the parameters come last"
    logger = RunLogger(Store(experiment, "", {"k": half}, {}), Folder(str(store)), {}, b"")
    for cache in (config.cache_dir, "elsewhere"):
        logger.open(replace(run, config=replace(config, cache_dir=cache)), client)
    assert find_run(half.info.run_id).data.params == parameters(config, run.facts), "and those of its first worker stay"
    assert len(client.get_run(half.info.run_id).inputs.dataset_inputs) == 1


def test_short_parameters_are_themselves():
    assert split_long({"lr": "0.1", "protocol": "x" * 6000}) == ({"lr": "0.1", "protocol": "x" * 6000}, {})


def test_a_name_tells_protocols_apart_without_writing_them_out(landmarks):
    names = {label(landmarks(levels), sweep_of("protocol", "lr")) for levels in (24, 26)}
    assert len(names) == 2 and all(name.startswith("u-2") and "protocol=csv~" in name for name in names)
    assert max(map(len, names)) < 50


def test_a_name_has_no_more_characters_than_a_database_takes(make, tmp_path):
    folder = tmp_path / ("f" * 120) / ("g" * 120)
    config = make(data_root=str(folder), cache_dir=str(folder))
    name = label(config, sweep_of("data_root"))
    assert name.startswith("u-150 bce lr=1e-3 s0 data_root=") and len(name) < 90 and "~" in name
    fields = [name for name in config.as_dict() if name not in ("seed", "fold")]
    assert len(label(config, sweep_of(*fields))) <= MOST_NAME


def test_a_long_description_ends_where_it_says_so():
    for length in (MOST_NOTE, MOST_NOTE + 1, 20_000):
        said = about(replace(sweep_of(), description="d" * length))
        assert len(said) < 8000 and said.endswith(f"(all of it is in {SWEEP_FILE})") == (length > MOST_NOTE)
