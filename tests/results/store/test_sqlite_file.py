"""A store that is copied or moved with its project uses the files beside it, and none of the original's."""

import shutil
import sqlite3
import threading
from pathlib import Path

import mlflow
import pytest
from mlflow.tracking._tracking_service import utils
from sqlalchemy import URL

from bel.errors import UserError
from bel.run_layout import CHECKPOINT, HEARTBEAT, STORE
from launch.tracking.parent_run import find_experiment
from results.store import sqlite_file
from results.store.runs import artifact
from results.store.sqlite_file import relocate
from tests.conftest import working_in


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A project with a store that holds a run with a file and a registered model; a blank and a % are in its path."""
    folder = tmp_path_factory.mktemp("store") / "a project, 100%"
    folder.mkdir()
    with working_in(folder):
        mlflow.set_tracking_uri("sqlite:///mlflow.db")
        client = mlflow.MlflowClient()
        run = client.create_run(find_experiment(client, "one"))
        client.log_text(run.info.run_id, "of the original", CHECKPOINT)
        client.create_registered_model("m")
        client.create_model_version("m", run.info.artifact_uri, run.info.run_id)
    return folder


@pytest.fixture
def project(template, tmp_path, monkeypatch):
    """A project that is where its store was made, and its run."""
    folder = tmp_path / "project"
    shutil.copytree(template, folder)
    relocate(folder / "mlflow.db")
    return folder


def the_run(folder: Path):
    """The one run of a store, as a client of MLflow's that begins there finds it."""
    utils._artifact_repos_cache.clear()  # of a process that has to do with one store
    client = mlflow.MlflowClient((URL.create("sqlite", database=str(folder / "mlflow.db"))).render_as_string())
    (run,) = client.search_runs([client.get_experiment_by_name("one").experiment_id])
    return client, run


def test_a_store_where_it_was_made_is_left_alone(project, capsys, monkeypatch):
    capsys.readouterr()
    (project.parent / "link").symlink_to(project)
    for database in (project / "mlflow.db", project.parent / "link" / "mlflow.db", project / "nothing.db"):
        relocate(database)
    monkeypatch.chdir(project)
    relocate(Path("mlflow.db"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("tagged", [True, False], ids=["now", "of a version without the tag"])
@pytest.mark.parametrize("how", [shutil.copytree, shutil.move], ids=["copied", "moved"])
def test_a_copy_reads_and_writes_its_own_files_alone(project, tmp_path, how, tagged, capsys):
    if not tagged:
        with sqlite3.connect(project / "mlflow.db") as store:
            store.execute("delete from experiment_tags where key = ?", (STORE,))
    how(project, tmp_path / "the copy, 50%")
    copy = tmp_path / "the copy, 50%"
    capsys.readouterr()
    relocate(copy / "mlflow.db")
    said = capsys.readouterr().err
    assert said == f"note: the store was copied or moved here: its files are now those in {copy / 'mlruns'}\n"
    client, run = the_run(copy)
    client.log_text(run.info.run_id, "of the copy", CHECKPOINT)
    with artifact(run, CHECKPOINT) as path:
        assert path.is_relative_to(copy) and path.read_text() == "of the copy"
    assert client.get_model_version("m", "1").source == run.info.artifact_uri
    assert client.get_experiment_by_name("one").tags[STORE] == str(copy / "mlflow.db")
    relocate(copy / "mlflow.db")
    assert capsys.readouterr().err == "", "it is said once"
    if how is shutil.copytree:
        client, run = the_run(project)
        with artifact(run, CHECKPOINT) as path:
            assert path.is_relative_to(project) and path.read_text() == "of the original"


def test_without_its_files_a_store_is_not_used(project, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(project / "mlflow.db", copy)
    before = (copy / "mlflow.db").read_bytes()
    with pytest.raises(
        UserError, match=f"without the files of one: they are looked for in {copy}/mlruns, and were in {project}"
    ):
        relocate(copy / "mlflow.db")
    assert (copy / "mlflow.db").read_bytes() == before
    shutil.copytree(project / "mlruns", copy / "mlruns")
    relocate(copy / "mlflow.db")


@pytest.mark.parametrize("alive", [True, False])
def test_a_store_that_a_sweep_writes_into_under_another_path_is_left_alone(project, tmp_path, alive, monkeypatch):
    monkeypatch.setattr(sqlite_file, "HEARTBEAT_SECONDS", 0.4)
    client, run = the_run(project)
    client.set_tag(run.info.run_id, HEARTBEAT, "1 a")
    database = tmp_path / "elsewhere" / "mlflow.db"
    shutil.move(project, database.parent)  # as a container or another host has the same folder

    def beat():
        with sqlite3.connect(database) as store:
            store.execute("update tags set value = '1 b' where key = ?", (HEARTBEAT,))

    if alive:
        timer = threading.Timer(0.2, beat)
        timer.start()
        with pytest.raises(
            UserError, match=f"a sweep is at work in the store .* files are in {project / 'mlruns'}: use"
        ):
            relocate(database)
        timer.join()
    else:
        relocate(database)
    uri = the_run(database.parent)[1].info.artifact_uri
    assert (str(project) in uri) == alive


def test_what_is_no_store_is_left_to_mlflow(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"no database")
    relocate(tmp_path / "mlflow.db")
    (tmp_path / "mlflow.db").write_bytes(b"")
    relocate(tmp_path / "mlflow.db")
