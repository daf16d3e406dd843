"""When NVIDIA's multi-process service is started and stopped; the service itself is tested in tests/gpu/test_launch_mps.py.

Its control program is a script here that notes what it is told: no driver, so no service, is on a machine without a GPU.
"""

import fcntl
import os
import subprocess
import sys

import pytest

from launch.driver import mps

CONTROL = """#!/bin/sh
cd {folder}
if [ "$1" = -d ]; then echo "-d $CUDA_VISIBLE_DEVICES" >> said; touch there; exit 0; fi
[ -e there ] || exit 1
read line; echo "$line" >> said
case "$line" in get_server_list) cat servers;; quit) rm there;; esac
"""


@pytest.fixture
def service(tmp_path, monkeypatch):
    """The folder of a control program whose service runs as one server; what it is told is in the file `said`."""
    program = tmp_path / mps.CONTROL
    program.write_text(CONTROL.format(folder=tmp_path))
    program.chmod(0o755)
    (tmp_path / "servers").write_text("4711\n")
    (tmp_path / "said").touch()
    before = dict(os.environ)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(mps, "WHOLE_MACHINE", tmp_path / "none")
    monkeypatch.setattr(mps, "TEST_PROGRAM", "pass")
    monkeypatch.setattr(mps.ray, "shutdown", lambda: None)
    ends = []
    monkeypatch.setattr(mps.atexit, "register", lambda *call: ends.append(call))
    yield tmp_path, ends
    for name in set(os.environ) - set(before):
        del os.environ[name]


def said(folder):
    """What the control program was told."""
    return (folder / "said").read_text().splitlines()


def test_it_sees_all_gpus_and_ends_with_the_driver(service):
    folder, ends = service
    assert mps.start_mps() == "" and os.environ[mps.PIPES].startswith(str(folder))
    assert said(folder) == ["-d ", "get_server_list"]
    assert mps.start_mps() == "" and len(said(folder)) == 2, "it is there already"
    ((stop, lock),) = ends
    stop(lock)
    assert said(folder)[2:] == ["quit"]


def test_it_goes_on_where_another_driver_of_the_user_has_it(service):
    folder, ends = service
    mps.start_mps()
    other = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_SH); print('held', flush=True); input()"
    path = os.path.join(os.environ[mps.PIPES], "drivers")
    with subprocess.Popen([sys.executable, "-c", other, path], stdin=-1, stdout=-1, text=True) as driver:
        assert driver.stdout.readline() == "held\n"
        ((stop, lock),) = ends
        stop(lock)
        assert "quit" not in said(folder)
        driver.communicate("\n")
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        stop(lock)
    assert said(folder)[-1] == "quit"


def test_a_service_that_somebody_stopped_is_started_again(service, monkeypatch):
    folder, _ = service
    reached = f"import os; raise SystemExit(not os.path.exists({str(folder / 'there')!r}))"
    monkeypatch.setattr(mps, "SEES_GPU", reached)
    assert mps.start_mps() == "" and mps.restore_gpu() and said(folder).count("-d ") == 1
    (folder / "there").unlink()
    assert mps.restore_gpu() and said(folder).count("-d ") == 2
    monkeypatch.setattr(mps, "SEES_GPU", "raise SystemExit(1)")
    assert not mps.restore_gpu(), "a GPU that is gone stays gone"
    os.environ[mps.PIPES], before = "/somewhere", said(folder)
    assert not mps.restore_gpu() and said(folder) == before, "what the user has is left alone"


@pytest.mark.parametrize(("servers", "program"), [("", "pass"), ("4711\n", "raise SystemExit(1)")])
def test_one_that_does_not_serve_is_stopped_and_said(service, monkeypatch, servers, program):
    folder, ends = service
    (folder / "servers").write_text(servers)
    monkeypatch.setattr(mps, "TEST_PROGRAM", program)
    assert "does not start" in mps.start_mps()
    assert said(folder)[-1] == "quit" and not ends and mps.PIPES not in os.environ


def test_what_the_user_or_the_machine_has_is_left_alone(service, monkeypatch):
    folder, ends = service
    monkeypatch.setenv(mps.PIPES, "/somewhere")
    assert mps.start_mps() == "" and said(folder) == []
    monkeypatch.delenv(mps.PIPES)
    (folder / "none").mkdir()
    for name in ("none/control", "there"):
        (folder / name).touch()
    assert mps.start_mps() == "" and said(folder) == ["get_server_list"] and not ends
    monkeypatch.setattr(mps, "CONTROL", "no-such-program")
    assert mps.start_mps() == "there is no no-such-program"
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert mps.start_mps() == ""
