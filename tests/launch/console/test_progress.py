"""What a sweep shows: lines where nobody watches, a calm table in a terminal, next to nothing where it is to be quiet."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time

import pytest
import yaml

from launch.console.progress import ProgressDisplay
from tests.conftest import PROJECT, SWEEP, without_gpu
from tests.launch.schedule.test_searcher import Bench, entries
from tests.launch.schedule.test_searches import started  # noqa: F401 - a fixture

TWO = {"code": {"grid": ["u", "hex16"]}}
ENDED = re.compile(r"\[\d/2\] (u-38|hex16-38) bce lr=1e-3 s0 +finished epoch 1  val MAE \d+\.\d{3}")


@pytest.mark.slow
def test_lines_where_stdout_is_no_terminal_and_only_the_table_where_it_is_quiet(started, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr("launch.console.progress.LINE", 3600.0)
    assert started("lines", TWO, base={"epochs": 1}) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    ended = [line for line in lines if line.startswith("[")]
    assert len(ended) == 2 and all(ENDED.fullmatch(line) for line in ended), ended
    assert [line[:5] for line in ended] == ["[1/2]", "[2/2]"] and sum("parent run" in line for line in lines) == 1
    assert "\x1b" not in out and "\r" not in out and "min left" not in out
    table = out[out.index("\nbiwi, crop frame") : out.index("checkpoints kept: 2 of 2 trials")]
    assert started("lines", TWO, "--quiet", "--fresh", base={"epochs": 1}) == 0
    quiet = capsys.readouterr().out
    ids = re.compile(r"[0-9a-f]{32}")
    assert ids.sub("", quiet) == ids.sub("", table)


def test_what_went_wrong_is_said_in_the_quiet_too(capsys):
    bench = Bench(TWO, {})
    runs = bench.all()
    display = ProgressDisplay(bench.sweep_runs, 2, quiet=True)
    for run, outcome in zip(runs, ("finished", "failed"), strict=True):
        run.history, run.outcome, run.reason = entries(5.0), outcome, "no GPU"
        display.ended(run)
    display.say("parent run")
    display.close()
    assert capsys.readouterr().out.split() == f"[2/2] {runs[1].name} failed no GPU".split()


def test_the_time_that_is_left_follows_the_pace_so_far():
    bench = Bench({"head_lr_factor": {"grid": [float(n) for n in range(1, 5)]}}, {})  # four runs of nine epochs
    runs = bench.all()
    display = ProgressDisplay(bench.sweep_runs, 4, quiet=False)
    assert display.summary() == "0 of 4 trials", "no word before the first epoch"
    display.began = time.monotonic() - 600
    bench.end(runs[0], *[5.0] * 9)
    assert display.summary() == f"1 of 4 trials, best 5.000 ({runs[0].name}), about 30 min left"
    runs[1].outcome, runs[1].history = "running", entries(*[6.0] * 3)
    assert "about 20 min left" in display.summary(), "24 of 36 epochs are left, and 12 took ten minutes"
    bench.end(runs[2], 6.0, 6.0, 6.0, outcome="stopped")
    runs[2].resumed = 3
    assert "about 8 min left" in display.summary(), "runs are as long as those that ended, six epochs: nine are left"
    display.total = 4000
    assert re.search(r"about \d+\.\d h left", display.summary())


def seen(output, width=200):
    """The lines that a terminal shows after some output."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", output):
        if part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
            column = 0
        elif part == "\r":
            column = 0
        elif part.startswith("\x1b["):
            if part.endswith("A"):
                row = max(row - int(part[2:-1] or 1), 0)
            elif part == "\x1b[2K":
                lines[row] = ""
            else:
                assert part[-1] in "mlh", f"what the test does not know: {part!r}"
        else:
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
            assert len(lines[row]) <= width, "a line that wraps is not redrawn in place"
    return lines


def in_a_terminal(command, folder, environment, width=200):
    """Exit code, what was written to a terminal, and when each piece came."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    with (folder / "err").open("w") as err:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=follower, stdout=follower, stderr=err, start_new_session=True
        )
    os.close(follower)
    pieces = []
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        pieces.append((time.monotonic(), re.sub(r"\x1b\[[0-9;]*m", "", piece.decode())))  # without colours
    os.close(leader)
    return process.wait(60), pieces


@without_gpu
@pytest.mark.slow
def test_a_terminal_shows_a_calm_table_which_goes_without_a_trace(rendered, cache, tmp_path):
    base = SWEEP["base"] | {"data_root": str(rendered), "cache_dir": str(cache), "head": "bel", "epochs": 30}
    content = {"name": "live", "base": base, "space": TWO, "resources": {"cpu": 1}}
    (tmp_path / "live.yaml").write_text(yaml.safe_dump(content))
    command = [sys.executable, str(PROJECT / "launch" / "sweep.py"), "live.yaml"]
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}", "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    code, pieces = in_a_terminal(command, tmp_path, environment)
    output = "".join(piece for _, piece in pieces)
    assert code == 0, output + (tmp_path / "err").read_text()
    drawn = [
        at
        for at, piece in pieces
        for _ in range(len(re.findall(r"trial +epoch +of it +step +images/s +left +val MAE +best", piece)))
    ]
    lines = len(re.findall(r"\[\d/2\]|parent run", output))
    assert len(drawn) >= 2, output
    assert len(drawn) <= drawn[-1] - drawn[0] + 2 + lines, "more than once a second"
    assert re.search(r"[012] of 2 trials", output) and re.search(r"u-\d+ bce lr=1e-3 s0 +\d+/30 .*\d+\.\d{3}", output)
    left = seen(output)
    assert not [line for line in left if re.search(r"epoch +of it|^\d of 2 trials|/30", line)], "a leftover"
    assert sum(line.startswith("[") for line in left) == 2 and sum("re-test the best" in line for line in left) == 1
    assert output.count("\x1b[?25l") == output.count("\x1b[?25h"), "the cursor is back"
