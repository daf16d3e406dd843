"""What many tests share: rendered data in both layouts, the real data where it is, a small config, a store of one's own.

Ray, MLflow and `launch` are imported where they are used: tests of `bel` alone run without them.
"""

import functools
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml

from bel.config import TrainConfig
from bel.data.synthetic import synthesise
from bel.model import BACKBONES
from results.store.sqlite_file import relocate

PROJECT = Path(__file__).parents[1]
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here, which the test wants missing")


UNTIL = float(os.environ.get("TEST_UNTIL", "inf"))


def pytest_runtest_setup():
    """Skip the tests that would begin after TEST_UNTIL, in seconds since 1970, where that is set, and say so."""
    if time.time() > UNTIL:
        pytest.skip(f"TEST_UNTIL={UNTIL:.0f}, seconds since 1970, is over")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Trials run on one core; so do the runs that they are compared with."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """A data_root with small rendered sets in the BIWI and the 300W_LP + AFLW2000 layouts."""
    root = tmp_path_factory.mktemp("rendered")
    synthesise("biwi", root, subjects=8, frames=12, size=64, seed=0)
    synthesise("300w_lp", root, subjects=10, frames=6, size=64, seed=0)
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache of prepared arrays for the whole session."""
    return tmp_path_factory.mktemp("prepared")


@pytest.fixture(scope="session", autouse=True)
def usual_cache(cache):
    """Arrays of checkpoints go where those of the other tests are: a checkpoint does not say where."""
    TrainConfig.cache_dir = str(cache)


@pytest.fixture
def small(rendered, cache):
    """Fields of a config that trains in a second."""
    return {
        "protocol": "biwi",
        "data_root": str(rendered),
        "cache_dir": str(cache),
        "crop": "frame",
        "image_size": 32,
        "backbone": "resnet10",
        "weights": "none",
        "batch_size": 8,
        "epochs": 2,
        "lr": 1e-3,
        "device": "cpu",
    }


@pytest.fixture
def make(small):
    """A small config with some fields of one's own."""
    return lambda **fields: TrainConfig.make(small | {"code": "u"} | fields)


@pytest.fixture(scope="session")
def broken_weights(tmp_path_factory):
    """A state dict of resnet10 that makes every output NaN."""
    path = tmp_path_factory.mktemp("weights") / "broken.pt"
    state = BACKBONES["resnet10"]().state_dict()
    state["conv1.weight"].fill_(float("nan"))
    torch.save(state, path)
    return path


@functools.cache
def empty_store() -> bytes:
    """MLflow's database before anything is in it, which MLflow itself takes seconds to make."""
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
        return Path(folder, "mlflow.db").read_bytes()


@contextmanager
def working_in(folder: Path):
    """Work in a folder with an MLflow store of its own, as a user does."""
    import mlflow
    from mlflow.tracking._tracking_service import utils

    if not (folder / "mlflow.db").exists():
        (folder / "mlflow.db").write_bytes(empty_store())
    utils._artifact_repos_cache.clear()  # by run id, which copies of a store have in common
    before, uri = Path.cwd(), mlflow.get_tracking_uri()
    os.chdir(folder)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    try:
        yield folder
    finally:
        os.chdir(before)
        mlflow.set_tracking_uri(uri)


@pytest.fixture
def store(tmp_path):
    """A working folder and an MLflow store of the test's own."""
    with working_in(tmp_path):
        yield tmp_path


@pytest.fixture(scope="session")
def ray_here():
    """A real local Ray with two CPUs and a GPU that is, as a rule, only believed in."""
    import ray

    import launch.sweep  # noqa: F401 - what it sets in the environment is for Ray's workers, too
    from launch.driver.ray_cluster import start_local_ray

    start_local_ray(num_cpus=2, num_gpus=1)
    yield
    ray.shutdown()


SWEEP = {
    "name": "fixture",
    "description": "three heads on rendered heads",
    "base": {
        "protocol": "biwi", "crop": "frame", "image_size": 32, "backbone": "resnet10", "weights": "none",
        "batch_size": 8, "epochs": 2, "lr": 1e-3, "device": "cpu",
    },
    "space": {
        "head": {"grid": ["bel", "direct", "classification"]},
        "code": {"grid": ["u", "hex16"]},
        "code_bits": {"grid": [38, 76]},
        "loss": {"grid": ["ce", "l1"]},
    },
    "search": {"method": "random", "trials": 11},
    "resources": {"cpu": 1},
}  # fmt: skip


@pytest.fixture(scope="session")
def swept(ray_here, rendered, cache, tmp_path_factory):
    """The folder of a finished real sweep: its YAML, its store, and what `main` returned."""
    from launch import sweep

    folder = tmp_path_factory.mktemp("swept")
    path = folder / "fixture.yaml"
    base = SWEEP["base"] | {"data_root": str(rendered), "cache_dir": str(cache)}
    path.write_text(yaml.safe_dump(SWEEP | {"base": base}))
    with working_in(folder):
        code = sweep.main([str(path)])
    return folder, path, code


def link_checkpoints(source: str, target: str):
    """Copy a file; a checkpoint, of megabytes, gets another name."""
    return os.link(source, target) if source.endswith(".pt") else shutil.copy2(source, target)


@pytest.fixture
def swept_store(swept, tmp_path):
    """A copy of the finished sweep's store, so that a test may write into it: its checkpoints may be deleted, not changed."""
    folder = tmp_path / "store"
    shutil.copytree(swept[0], folder, copy_function=link_checkpoints)
    relocate(folder / "mlflow.db")
    with working_in(folder):
        yield folder


def children(name: str):
    """Parent run and child runs of an experiment in the present store."""
    import mlflow

    client = mlflow.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    return parents[0], [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]


def study_of(parent):
    """Optuna's study of a search, that this folder keeps."""
    import optuna

    from launch.schedule.studies import journal

    (kept,) = (Path("runs") / "optuna").glob(f"*-{parent.info.run_id[:8]}.journal")
    return optuna.load_study(study_name=None, storage=journal(kept))


def real_data(name: str) -> Path:
    """The folder `datasets/NAME` of the project, or of its shared data untarred; skips the test where there is none."""
    folder = PROJECT / "datasets" / name
    if not folder.is_dir():
        pytest.skip(f"real data: no {folder.relative_to(PROJECT)} (it is research data, not in git)")
    return folder
