"""Stores that cannot be used: each is a line with what to do, at once, in every command that needs one."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import mlflow
import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED

from results.commands import main as bel_results
from results.retest import evaluate
from results.store.connect import connect, is_away
from results.store.faults import explain, fault, sqlite_path, store_command, wait_until_made
from tests.conftest import empty_store

SQLITE = {
    "folder": "it is a folder",
    "text": "file is not a database",
    "another program's": r"a database of something else, with tables \['orders'\]",
    "newer": "tables are of another MLflow: install that version",
    "newer with fewer tables": "tables are of another MLflow: install that version",
    "older": "run `mlflow db upgrade URI`",
}
ANSWERS = {
    (401, "<html>log in</html>"): "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or",
    (403, "<html>no</html>"): "ask its owner for the permission",
    (404, "<html>what?</html>"): "to the address of an MLflow server",
    (200, "<html>welcome</html>"): "to the address of an MLflow server",
    (500, "{}"): "see the server's log",
}
NONSENSE = ["foo://x", "nonsense", "sqlite:/x.db", "sqlite+foo:///x.db", "sqlite://", "sqlite:///:memory:", "://",
            "postgresql://nobody@127.0.0.1:9/x", "http://127.0.0.1:99999", "http://127.0.0.1:9"]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store that MLflow has made."""
    path = tmp_path_factory.mktemp("whole") / "mlflow.db"
    path.write_bytes(empty_store())
    return path


MAKERS = {  # of the tables of a store: sweeps, and what MLflow's own programs do
    "sweep": "from results.store.connect import connect; connect(write=True)",
    "mlflow": "import mlflow; mlflow.MlflowClient().search_experiments()",
    "bel-results": "import sys; from results.commands.main import main; main(['leaderboard', 'x'])",
}


@pytest.mark.slow
def test_several_that_begin_at_once_in_a_new_folder_make_one_store(tmp_path):
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    for number in range(3):
        (tmp_path / "mlflow.db").unlink(missing_ok=True)
        names = ["sweep", "sweep", "sweep", *(["mlflow"] if number == 2 else []), "bel-results"]
        begun = [
            subprocess.Popen(
                [sys.executable, "-c", MAKERS[name]], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
            )
            for name in names
        ]
        said = [process.communicate(timeout=600)[1].decode() for process in begun]
        assert [process.returncode for process in begun] == [0] * len(begun), said
        assert not any("Traceback" in text for text in said) and not list(tmp_path.glob(".mlflow*")), said
        with sqlite3.connect(tmp_path / "mlflow.db") as database:
            assert database.execute("SELECT name FROM experiments").fetchall() == [("Default",)]


@pytest.fixture
def bad(whole, tmp_path):
    """Files that are no store of this MLflow, by what they are."""
    paths = {name: tmp_path / f"{number}.db" for number, name in enumerate(SQLITE)}
    paths["folder"].mkdir()
    paths["text"].write_text("orders\n" * 200)
    statements = {
        "another program's": ["CREATE TABLE orders (x)"],
        "newer": ["UPDATE alembic_version SET version_num = 'ffffffffffff'"],
        "newer with fewer tables": [
            "UPDATE alembic_version SET version_num = 'fffffffffff0'",
            "DROP TABLE assessments",
        ],
        "older": ["UPDATE alembic_version SET version_num = 'cc1f77228345'"],
    }
    for name, done in statements.items():
        if name != "another program's":
            shutil.copy(whole, paths[name])
        database = sqlite3.connect(paths[name])
        for statement in done:
            database.execute(statement)
        database.commit()
        database.close()
    return {name: f"sqlite:///{path}" for name, path in paths.items()}


def said_by_all(capsys, uri):
    """What sweep.py, bel-eval and bel-results print about a store, a line each, with exit code 2."""
    mlflow.set_tracking_uri(uri)
    lines = []
    for run in (
        lambda: store_command(lambda argv: connect(write=True) or 0)([]),
        lambda: evaluate.main(["--run-id", "0" * 32]),
        lambda: bel_results.main(["leaderboard", "0" * 32]),
    ):
        began = time.monotonic()
        assert run() == 2
        err = "\n".join(line for line in capsys.readouterr().err.splitlines() if " INFO mlflow." not in line)
        assert err.startswith("error: cannot ") and "MLflow store" in err and err.count("\n") == 0, err
        assert time.monotonic() - began < 20, "a minute and more is no answer"
        lines.append(err)
    return lines


@pytest.mark.parametrize("name", SQLITE)
def test_a_file_that_is_no_store_of_this_mlflow_is_said_in_a_line(store, bad, capsys, name):
    for line in said_by_all(capsys, bad[name]):
        assert re.search(SQLITE[name], line)


def test_another_program_s_database_is_left_as_it_is(store, bad, capsys):
    said_by_all(capsys, bad["another program's"])
    database = sqlite3.connect(sqlite_path(bad["another program's"]))
    assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("orders",)]


@contextmanager
def answering(code, body, searching=None):
    """The address of a server with one answer; `searching` is that to a search for experiments, if it is another."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            status, text = searching if searching and "experiments/search" in self.path else (code, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_GET(self):
            self.do_POST()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_a_server_that_refuses_or_is_none_of_mlflow_s_is_said_in_a_line(store, capsys, answer):
    with answering(*answer) as uri:
        for line in said_by_all(capsys, uri):
            assert ANSWERS[answer] in line


def test_another_user_s_run_is_not_said_to_be_missing(store, capsys):
    with answering(403, "Permission denied", searching=(200, "{}")) as uri:
        mlflow.set_tracking_uri(uri)
        for main, arguments in (
            (evaluate.main, ["--run-id", "0" * 32]),
            (evaluate.main, ["--model", "heads@champion"]),
            (bel_results.main, ["leaderboard", "0" * 32]),
            (bel_results.main, ["leaderboard", "a name"]),
        ):
            assert main(arguments) == 2
            err = capsys.readouterr().err
            assert err.startswith("error: MLflow's store: ") and "ask its owner for the permission" in err, err
            assert err.count("\n") == 1


PROXY = {
    401: (False, "MLFLOW_TRACKING_PASSWORD"),
    403: (False, "ask its owner"),
    429: (True, ""),
    503: (True, "server's log"),
}


@pytest.mark.parametrize("code", PROXY)
def test_an_answer_of_an_artifact_proxy_is_waited_for_where_it_may_become_another(code):
    with answering(code, "no") as uri, pytest.raises(requests.HTTPError) as raised:
        requests.get(uri, timeout=10).raise_for_status()
    away, advice = PROXY[code]
    assert is_away(raised.value) is away and advice in explain(raised.value)


@pytest.mark.parametrize("uri", NONSENSE)
def test_an_address_of_nonsense_is_said_in_a_line(store, capsys, uri):
    for line in said_by_all(capsys, uri):
        assert "MLFLOW_TRACKING_URI" in line or "see the server's log" in line or "install that package" in line
    assert [path.name for path in store.iterdir()] == ["mlflow.db"]


def test_a_store_in_a_folder_that_cannot_be_written_is_refused_before_anything_runs(whole, tmp_path, monkeypatch):
    path = tmp_path / "mlflow.db"
    shutil.copy(whole, path)
    assert fault(f"sqlite:///{path}", write=True) is None
    monkeypatch.setattr("os.access", lambda folder, mode: False)  # root may write anywhere
    assert "its folder is read-only: make the file and its folder writable" in fault(f"sqlite:///{path}", write=True)
    assert fault(f"sqlite:///{path}", write=False) is None
    assert "cannot be written" in fault(f"sqlite:///{tmp_path}/new/mlflow.db", write=True)


def test_tables_that_another_process_is_making_are_waited_for(tmp_path, whole):
    path = tmp_path / "mlflow.db"
    database = sqlite3.connect(path, check_same_thread=False)
    source = sqlite3.connect(whole, check_same_thread=False)

    def slowly():
        for number in range(6):
            time.sleep(0.3)
            database.execute(f"CREATE TABLE t{number} (x)")
            database.commit()
        database.execute("CREATE TABLE experiments (x)")
        database.execute("INSERT INTO experiments VALUES (1)")
        database.commit()

    maker = threading.Thread(target=slowly)
    maker.start()
    wait_until_made(f"sqlite:///{path}")
    assert database.execute("SELECT count(*) FROM experiments").fetchone() == (1,)
    maker.join()
    source.close()


def test_an_error_of_mlflow_s_in_the_middle_of_a_command_is_a_line(capsys):
    def main(argv):
        raise MlflowException("no such run\nfor you", error_code=PERMISSION_DENIED)

    assert store_command(main)([]) == 2
    assert capsys.readouterr().err.startswith("error: MLflow's store: no such run for you: set ")
    with pytest.raises(ZeroDivisionError):
        store_command(lambda argv: 1 // 0)([])
