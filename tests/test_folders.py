"""A project may lie in any folder: each command reads and writes there, and nowhere else."""

import itertools
import shutil
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistryStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore
from mlflow.tracking._model_registry.registry import ModelRegistryStoreRegistry
from mlflow.tracking._tracking_service.registry import TrackingStoreRegistry

from bel.data.command import main as data
from bel.run_layout import CHECKPOINT
from launch import sweep, train
from results.commands import main as command
from results.predict import command as predict
from results.retest import evaluate, export
from results.store import ui_links as views
from tests.conftest import SWEEP, children, working_in

FAST = ["with a blank, ü and #, 100%20?"]
SLOW = [  # folders within each other
    """a+b&c='d'/%/%2F%zz/50%/"quoted"/[a-b]*/{x}{0}""", "tab\tand\nline/a::b/file:/~/-rf/$HOME;`ls`",
    "back\\slash/日本語 🙂/e\u0301/@host:80/sqlite:/c!d|e^f(g)/" + "x" * 200,
]  # fmt: skip


def forget_stores():
    """Forget what MLflow keeps by address, which is the same relative one in each folder."""
    for registry in (TrackingStoreRegistry, ModelRegistryStoreRegistry):
        registry._get_store_with_resolved_uri.cache_clear()
    for store in (TrackingStore, RegistryStore):
        store._engine_map.clear()


@contextmanager
def default_store(folder: Path):
    """Work in a folder with the store that a user has who names none."""
    forget_stores()
    with working_in(folder):
        mlflow.set_tracking_uri(None)
        yield
    forget_stores()


def checked(main, *arguments: object, code: int = 0) -> None:
    """Run a command, which ends with a code."""
    assert main([str(argument) for argument in arguments]) == code, arguments


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_every_command_works_in_a_folder_of_any_name(ray_here, rendered, tmp_path, name, capsys):
    folder = tmp_path / name
    folder.mkdir(parents=True)
    with default_store(folder):
        shutil.copytree(rendered, "data")
        every_command(capsys)
    for outer, inner in itertools.pairwise([tmp_path, *reversed(folder.parents[: name.count("/")]), folder]):
        assert list(outer.iterdir()) == [inner], "a folder of another name appeared"


@pytest.mark.slow
def test_every_command_works_in_a_folder_that_is_reached_by_a_link(ray_here, rendered, tmp_path, capsys):
    (tmp_path / "real #1").mkdir()
    (tmp_path / "link to %").symlink_to(tmp_path / "real #1")
    with default_store(tmp_path / "link to %"):
        shutil.copytree(rendered, "data")
        every_command(capsys)
    assert len(list(tmp_path.iterdir())) == 2


def every_command(capsys) -> None:
    """Data, a sweep, its re-test, its tables and pictures, an export, predictions, and a training of its own."""
    checked(data, "synth", "--layout", "csv", "--out", "made", "--subjects", 2, "--frames", 1, "--size", 32)
    checked(data, "prepare", "--protocol", "biwi", "--data-root", "data", "--crop", "frame", "--image-size", 32)
    base = SWEEP["base"] | {"data_root": "data", "epochs": 1, "head": "bel", "code": "u", "val_fraction": 0.4}
    del base["lr"]
    space = {"lr": {"loguniform": [1e-4, 1e-3]}}  # a search, whose study is in a file of its own
    content = {"name": "odd", "base": base, "space": space, "search": {"method": "tpe", "trials": 2}}
    Path("odd.yaml").write_text(yaml.safe_dump(content))
    checked(sweep.main, "odd.yaml")
    assert (
        Path("mlflow.db").is_file()
        and len(list(Path("runs/optuna").glob("odd-*.journal"))) == 1
        and not Path("runs/odd").exists()
    )
    checked(sweep.main, "odd.yaml")
    assert "2 finished before" in capsys.readouterr().out
    parent, trials = children("odd")
    run = trials[0].info.run_id
    checked(evaluate.main, "--run-id", run)
    checked(command.main, "leaderboard", "odd", "--publish")
    checked(command.main, "compare", *(trial.info.run_id for trial in trials))
    checked(command.main, "best", "odd", "--config", "best.yaml", "--register", "odd")
    checked(evaluate.main, "--model", "odd@champion")
    checked(command.main, "report", parent.info.run_id, "-o", "report.html")
    checked(export.main, "--run-id", run, "--to", "torchscript")
    checked(train.main, "best.yaml", "--out", "runs/one")
    checked(evaluate.main, "--checkpoint", f"runs/one/{CHECKPOINT}")
    checked(predict.main, next(Path("data").glob("**/*.png")), "--run-id", run)
    checked(views.main)
    said = capsys.readouterr()
    assert "newest sweep, odd" in said.out and "NO CHECKPOINT" not in said.out and "error" not in said.err
    assert {"mlflow.db", "mlruns", "runs", "data"} <= {path.name for path in Path().iterdir()}
