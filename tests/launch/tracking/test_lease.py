"""One driver per sweep: who takes the lease, who is refused, who has lost it, on SQLite, PostgreSQL and a server."""

import os
import shutil
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import mlflow
import pytest
from mlflow.exceptions import MlflowException

from bel.errors import UserError
from bel.run_layout import HEARTBEAT, SWEEP
from launch.spec.search import Search
from launch.spec.sweep_file import Sweep
from launch.tracking import lease
from launch.tracking.lease import acquire, boot_id, latest_driver, process_alive, process_identity
from launch.tracking.parent_run import open_store
from launch.tracking.writer import Lost, Writer
from results.store.connect import retry
from tests.chaos.server import Server
from tests.conftest import PROJECT
from tests.services.postgres import Postgres, why_missing

ELSEWHERE = "elsewhere 7 7 another-boot"  # a driver of another host, of which only its heartbeat tells
OTHER_HOST = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh"]


@pytest.fixture
def quick(monkeypatch):
    """Heartbeats within the patience of a test."""
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(lease, "STALE", 0.6)


@pytest.fixture
def parent(store, quick):
    """A client and the parent run of a sweep."""
    client = mlflow.MlflowClient()
    return client, client.create_run(client.create_experiment("t")).info.run_id


def ignore(text):
    """What a driver would say."""


def test_a_process_is_known_by_its_start_and_a_dead_one_that_nobody_fetched_is_dead():
    assert (
        process_alive(process_identity(os.getpid())) is True and process_alive(process_identity(os.getppid())) is True
    )
    host, pid, start, machine = process_identity(os.getpid()).split()
    assert (host, machine) == (socket.gethostname(), boot_id())
    assert process_alive(f"{host} {pid} {int(start) - 1} {machine}") is False, "another process has its number now"
    assert (
        process_alive(f"elsewhere {pid} {start} {machine}") is None and process_alive(f"{host} {pid} {start} x") is None
    )
    child = subprocess.Popen(["sleep", "60"])
    noted = process_identity(child.pid)
    assert process_alive(noted) is True
    child.kill()
    while " Z " not in Path(f"/proc/{child.pid}/stat").read_text():
        time.sleep(0.01)
    assert process_alive(noted) is False
    child.wait()
    assert process_alive(noted) is False


def test_the_lease_is_one_driver_s_until_it_ends(parent):
    client, run_id = parent
    with (
        acquire(client, run_id, ignore),
        pytest.raises(UserError, match=f"process {os.getpid()} on .* is running this"),
    ):
        acquire(client, run_id, ignore)
    with acquire(client, run_id, ignore) as second:
        assert second.number == 2
    assert client.get_run(run_id).data.tags[HEARTBEAT] == "2 ended"


def test_a_driver_of_another_host_is_refused_while_it_beats_and_followed_when_it_does_not(parent):
    client, run_id = parent
    client.log_param(run_id, "driver.1", ELSEWHERE)
    held = lease.Lease(run_id, 1)  # its heart
    with pytest.raises(UserError, match="process 7 on elsewhere is running this very sweep"):
        acquire(client, run_id, ignore)
    held.over.set()
    held.thread.join()
    said, began = [], time.monotonic()
    with acquire(client, run_id, said.append) as mine:
        assert mine.number == 2 and 0.5 < time.monotonic() - began < 30 and "ran this sweep last" in said[0]


def test_a_driver_that_lost_its_lease_writes_no_more(parent):
    client, run_id = parent
    with acquire(client, run_id, ignore) as mine:
        writer, written = Writer(mine.check), []
        writer.put(lambda client: written.append(1))
        assert writer.drain(10, print) and written == [1]
        client.log_param(run_id, "driver.2", ELSEWHERE)
        mine.confirmed -= 60  # as if it had been stopped for a while
        writer.put(lambda client: written.append(2))
        assert not writer.drain(10, print) and written == [1]
        assert writer.lost == "process 7 on elsewhere has taken this sweep over, because this one did not answer"
        mine.thread.join(10)
        with pytest.raises(Lost):
            mine.check_after_pause()
    assert client.get_run(run_id).data.tags.get(HEARTBEAT) != "1 ended"


@pytest.mark.parametrize("how", ["deleted", "another file", "the run is deleted"])
def test_a_store_that_is_gone_is_said_at_once(parent, store, how):
    client, run_id = parent
    with acquire(client, run_id, ignore) as mine:
        if how == "the run is deleted":
            client.delete_run(run_id)
            mine.thread.join(10)
        else:
            shutil.copy(store / "mlflow.db", store / "copy.db")
            (store / "mlflow.db").unlink()
            if how == "another file":
                (store / "copy.db").rename(store / "mlflow.db")
        with pytest.raises(Lost, match="was deleted" if "run" in how else "is gone, or another one is in its place"):
            mine.check()


def opened(fresh=False, key="k"):
    """A sweep's store with its lease."""
    return open_store(Sweep(name="light", search=Search()), key, fresh, ignore)


def test_a_parent_run_is_one_and_a_fresh_call_makes_the_next(store, quick):
    with opened().lease as first:
        pass
    with opened().lease as again:
        assert again.parent_id == first.parent_id
        with pytest.raises(UserError, match="is running this very sweep"):
            opened(fresh=True)
    with opened(fresh=True).lease as second:
        assert second.parent_id != first.parent_id
    with opened().lease as third:
        assert third.parent_id == second.parent_id
    client = mlflow.MlflowClient()
    client.delete_run(second.parent_id)
    client.delete_run(first.parent_id)
    with opened().lease as after:
        assert after.parent_id not in (first.parent_id, second.parent_id)
    experiment = client.get_experiment_by_name("light").experiment_id
    assert [run.info.run_id for run in client.search_runs([experiment])] == [after.parent_id]
    with opened(key="other").lease as other:
        assert other.parent_id != after.parent_id


def contend(uri, folder, tries):
    """Let two drivers, on two hosts with clocks a minute apart, begin the same sweep at once, again and again."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": uri, "PYTHONPATH": str(PROJECT)}
    environment["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    hosts = [OTHER_HOST, []] if subprocess.run([*OTHER_HOST, "true"], capture_output=True).returncode == 0 else [[], []]
    script = str(PROJECT / "tests" / "launch" / "tracking" / "lease_driver.py")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": folder, "env": environment}
    drivers = [subprocess.Popen([*hosts[i], sys.executable, script, str(60 * i)], **pipes) for i in (0, 1)]

    def tell(line):
        for each in drivers:
            each.stdin.write(f"{line}\n")
            each.stdin.flush()
        return sorted(each.stdout.readline().strip() for each in drivers)

    try:
        assert [each.stdout.readline() for each in drivers] == ["ready\n"] * 2
        for number in range(tries):
            answers = tell(f"key{number}")
            assert answers[0].startswith("refused: process ") and answers[1] == "won", (number, answers)
            assert tell("") == ["", "held"]
    finally:
        for each in drivers:
            each.kill()
            each.communicate()
    mlflow.set_tracking_uri(uri)
    client = mlflow.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("light").experiment_id], max_results=1000)
    assert len(runs) == tries == len({run.data.tags[SWEEP] for run in runs}), "a parent run each"
    assert all(latest_driver(run)[0] == 1 for run in runs)


@pytest.mark.slow
def test_of_two_that_begin_at_once_exactly_one_goes_on(store):
    contend(f"sqlite:///{store / 'mlflow.db'}", store, 50)


@pytest.mark.slow
def test_of_two_that_begin_at_once_on_a_server_exactly_one_goes_on(store):
    server = Server(store)
    server.start()
    try:
        contend(server.uri, store, 20)
    finally:
        server.stop()


@pytest.fixture
def postgres():
    """The address of a database in a PostgreSQL of its own; skips where there can be none."""
    pytest.importorskip("psycopg")
    if why := why_missing():
        pytest.skip(why)
    server = Postgres()
    try:
        server.start()
        yield server.address()
    finally:
        server.remove()


@pytest.mark.service
def test_of_two_that_begin_at_once_on_postgresql_exactly_one_goes_on_in_a_database_that_both_make(store, postgres):
    environment = os.environ | {"MLFLOW_TRACKING_URI": postgres, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", "from results.store.connect import connect; connect(write=True)"]
    makers = [subprocess.Popen(command, env=environment, cwd=store, stderr=subprocess.PIPE) for _ in range(3)]
    said = [maker.communicate(timeout=600)[1] for maker in makers]
    assert [maker.returncode for maker in makers] == [0] * 3, said
    contend(postgres, store, 50)


def test_a_store_that_refuses_the_lease_is_an_error_and_no_endless_loop(parent, monkeypatch):
    client, run_id = parent
    monkeypatch.setattr(lease, "retry", partial(retry, seconds=0))
    shutil.copy("mlflow.db", "copy.db")
    os.replace("copy.db", "mlflow.db")  # SQLite writes into no file that is another one than it opened
    with pytest.raises(MlflowException, match="readonly"):
        acquire(client, run_id, ignore)
