"""A user's whole path on a team's MLflow server (PostgreSQL, artifact proxy, basic auth), and what it refuses."""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import mlflow
import pytest
import yaml

from bel.run_layout import CHECKPOINT
from tests.chaos.processes import MARK, is_worker, ours
from tests.conftest import PROJECT, SWEEP, children
from tests.services.mlflow_team import PASSWORD, TeamServer, environment, why_no_team

psycopg = pytest.importorskip("psycopg")
pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    """The server, with alice and bob; skips where there is no PostgreSQL."""
    if why := why_no_team():
        pytest.skip(why)
    server = TeamServer(tmp_path_factory.mktemp("team"))
    before = mlflow.get_tracking_uri()
    try:
        server.start()
        for user in ("alice", "bob"):
            server.add_user(user)
        mlflow.set_tracking_uri(server.uri)
        yield server
    finally:
        mlflow.set_tracking_uri(before)
        server.remove()


@pytest.fixture
def lab(tmp_path, rendered, cache):
    """A working folder with a sweep of four trials, of which one checkpoint is kept."""
    base = SWEEP["base"] | {"data_root": str(rendered), "cache_dir": str(cache), "head": "bel", "code_bits": 38}
    space = {"code": {"grid": ["u", "j"]}, "lr": {"grid": [5e-4, 1e-3]}}
    del base["lr"]
    content = SWEEP | {"base": base | {"epochs": 4}, "space": space, "search": {"method": "grid"}, "keep": 1}
    (tmp_path / "lab.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


@pytest.fixture
def cluster():
    """The mark and the address of a Ray cluster, none of whose processes has a credential."""
    mark = uuid.uuid4().hex
    without = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TRACKING")} | {
        MARK: mark
    }
    script = str(PROJECT / "tests" / "launch" / "driver" / "cluster_here.py")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, script], env=without, text=True, **pipes)
    yield mark, process.stdout.readline().strip()
    process.stdin.close()
    process.wait(timeout=60)


def user_of(team, name, **more):
    """Environment of a user."""
    return os.environ | {"MLFLOW_TRACKING_URI": team.uri, "PYTHONPATH": str(PROJECT)} | team.credentials(name) | more


def typed(folder, environment, command, *words, code=0):
    """What a command prints that a user types; it ends with a code, and says what is wrong in a line."""
    line = [str(Path(sys.executable).with_name(command)), *map(str, words)]
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == code, done.stdout + done.stderr
    if code == 2:
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    return done.stderr if code else done.stdout


def named(name):
    """Options that give the sweep another name, and so an experiment of its own."""
    return ("lab.yaml", "--set", f"name={name}")


def kept_in(team):
    """Everything in the server's database, as text."""
    with psycopg.connect(team.store.replace("+psycopg", "")) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (name,) in names:
            yield from (str(row[0]).encode() for row in connection.execute(f'SELECT t::text FROM "{name}" t'))


def assert_nowhere(team, folder):
    """No password is in a file of the working folder, in an artifact, or in the database."""
    pairs = [f"{user}:{password}" for user, password in team.passwords.items()]
    secret = [*team.passwords.values(), *(base64.b64encode(pair.encode()).decode() for pair in pairs)]
    files = [path for place in (folder, team.folder / "served") for path in place.rglob("*") if path.is_file()]
    assert len(files) > 10 and sum(map(len, kept_in(team))) > 10_000
    for content in (*(path.read_bytes() for path in files), *kept_in(team)):
        assert not [word for word in secret if word.encode() in content]


def await_(until, seconds):
    """Wait for something that happens within so many seconds."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


def test_a_sweep_its_continuation_its_tables_re_tests_and_predictions(team, lab, cluster, rendered):
    alice, (mark, address) = user_of(team, "alice"), cluster
    driver = begun(lab, alice, *named("path"), "--address", address)
    workers = [p.pid for p in ours(mark, session=-1).values() if is_worker(p)]
    assert workers and not any(PASSWORD in Path(f"/proc/{pid}/environ").read_text() for pid in workers)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    said = typed(lab, alice, "bel-sweep", *named("path"), "--address", address)
    assert "bel-eval --run-id" in said
    with environment(**team.credentials("alice")):
        parent, trials = children("path")
        client = mlflow.MlflowClient()
        assert {run.info.status for run in (parent, *trials)} == {"FINISHED"} and len(trials) == 4
        for run in trials:
            assert [m.step for m in client.get_metric_history(run.info.run_id, "val/mae")] == [1, 2, 3, 4]
        assert all(run.info.artifact_uri.startswith("mlflow-artifacts:/") for run in trials)
        kept = [r for r in trials if CHECKPOINT in {f.path for f in client.list_artifacts(r.info.run_id)}]
        assert len(kept) == 1, "the others were deleted through the proxy"
    run_id, bob = kept[0].info.run_id, user_of(team, "bob")  # who may read
    assert "ask its owner for the permission" in typed(lab, bob, "bel-eval", "--run-id", run_id, code=2)
    assert "repeats the logged" in typed(lab, alice, "bel-eval", "--run-id", run_id)
    assert typed(lab, alice, "bel-results", "leaderboard", "path").count("-38 bce lr=") == 4
    typed(lab, alice, "bel-results", "report", "path", "-o", "report.html")
    assert "<svg" in (lab / "report.html").read_text() or "<img" in (lab / "report.html").read_text()
    assert "now heads@champion" in typed(lab, alice, "bel-results", "best", "path", "--register", "heads")
    assert "repeats the logged" in typed(lab, bob, "bel-eval", "--model", "heads@champion")  # what is logged already
    pictures = rendered / "BIWI" / "hpdb" / "01"
    found = json.loads(typed(lab, bob, "bel-predict", pictures, "--model", "heads@champion", "--format", "json"))
    assert found and "finished before" in typed(lab, bob, "bel-sweep", *named("path"), "--plan")
    assert "4 finished before" in typed(lab, alice, "bel-sweep", *named("path"))
    assert_nowhere(team, lab)


def begun(folder, environment, *words):
    """A user's sweep after its first epoch: the process of its driver."""
    line = [str(Path(sys.executable).with_name("bel-sweep")), *words]
    with (folder / "driver.log").open("w") as log:
        driver = subprocess.Popen(line, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
    trained = lambda: list(folder.glob("runs/*/trials/*/last.pt"))  # noqa: E731
    await_(lambda: trained() or driver.poll() is not None, 240)
    assert driver.poll() is None, (folder / "driver.log").read_text()
    return driver


def short(name):
    """A sweep of two trials."""
    return *named(name), "--set", "space.lr.grid=[5e-4]", "--set", "epochs=6", "--set", "keep=2"


def test_a_wrong_password_and_a_missing_permission_are_a_line_and_leave_nothing(team, lab):
    with environment(**team.credentials("alice")):
        client = mlflow.MlflowClient()
        theirs = client.create_run(client.create_experiment("theirs")).info
    team.permit("bob", theirs.experiment_id, "DENY")
    wrong = user_of(team, "alice") | {PASSWORD: "wrong-and-secret"}
    for words in (short("refused"), ("leaderboard", "path"), ("--run-id", theirs.run_id)):
        command = {"lab.yaml": "bel-sweep", "leaderboard": "bel-results"}.get(words[0], "bel-eval")
        said = typed(lab, wrong, command, *words, code=2)
        assert "code 401" in said and "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" in said
        assert "wrong-and-secret" not in said
    bob = user_of(team, "bob")
    for command, *words in (("bel-sweep", *short("theirs")), ("bel-eval", "--run-id", theirs.run_id)):
        assert "ask its owner for the permission" in typed(lab, bob, command, *words, code=2)
    with environment(**team.credentials("admin")):
        client = mlflow.MlflowClient()
        assert client.get_experiment_by_name("refused") is None
        assert [run.info.run_id for run in client.search_runs([theirs.experiment_id])] == [theirs.run_id]
    assert not list(lab.glob("runs/*-*"))


def test_a_password_may_be_in_mlflow_s_own_file(team, lab, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    environment = {n: value for n, value in user_of(team, "bob").items() if n not in team.credentials("bob")}
    environment |= {"HOME": str(home)}
    assert "code 401" in typed(lab, environment, "bel-results", "leaderboard", "nothing", code=2)
    (home / ".mlflow").mkdir()
    lines = [f"{name.lower()} = {value}" for name, value in team.credentials("bob").items()]
    (home / ".mlflow" / "credentials").write_text("\n".join(["[mlflow]", *lines]))
    assert "no sweep 'nothing'" in typed(lab, environment, "bel-results", "leaderboard", "nothing", code=2)


def test_a_permission_that_is_taken_away_and_given_back_costs_no_epoch(team, lab):
    with environment(**team.credentials("alice")):
        experiment = mlflow.MlflowClient().create_experiment("shared")
        team.permit("bob", experiment, "EDIT")
        driver = begun(lab, user_of(team, "bob"), *short("shared"))
        team.permit("bob", experiment, "READ")
        assert driver.wait(timeout=400) == 1
        said = (lab / "driver.log").read_text()
        assert re.search(r"MLflow refused \d+ writes, the first of them: .*code 403", said), said
        ended = {path: path.stat().st_mtime for path in lab.glob("runs/shared-*/trials/*/last.pt")}
        assert len(ended) == 2, "what was trained is there"
        team.permit("bob", experiment, "EDIT")
        again = typed(lab, user_of(team, "bob"), "bel-sweep", *short("shared"))
        assert "[1/2]" not in again and not list(lab.glob("runs/shared-*"))
        _, trials = children("shared")
        for run in trials:
            history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "val/mae")
            assert run.info.status == "FINISHED" and [m.step for m in history] == [1, 2, 3, 4, 5, 6]
        fewer = (*short("shared"), "--set", "keep=1")
        said = typed(
            lab, user_of(team, "bob"), "bel-sweep", *fewer, code=1
        )  # EDIT is not enough to delete a checkpoint
        assert re.search("MLflow refused 1 writes, the first of them: HTTPError: 403 Client Error", said), said
        team.permit("bob", experiment, "MANAGE")
        assert "checkpoints kept: 1 of 2" in typed(lab, user_of(team, "bob"), "bel-sweep", *fewer)
    assert_nowhere(team, lab)


def test_a_server_that_is_away_is_a_line(team, lab):
    team.stop()
    try:
        said = typed(lab, user_of(team, "alice"), "bel-sweep", *short("away"), code=2)
        assert "cannot use the MLflow store" in said and not list(lab.glob("runs/*-*"))
    finally:
        team.start()
