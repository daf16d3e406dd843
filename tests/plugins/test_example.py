"""The example plug-in, installed, and a file beside a sweep: swept, re-tested, exported, reported; then removed."""

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import PROJECT

PLUGIN = """
import numpy as np

def natural(levels):
    place = np.arange((levels - 1).bit_length())[::-1]
    return (np.arange(levels)[:, None] >> place & 1).astype(np.uint8)

CODES = {"natural": natural}
"""
SWEEP = """
name: dots
plugins: [mine]
base: {{protocol: dots, data_root: {root}, image_size: 32, backbone: resnet10, weights: none, epochs: 1, batch_size: 8}}
space:
  head: {{grid: [log_cosh, bel]}}
  code: {{grid: [natural]}}
  sharpness: {{loguniform: [0.5, 2]}}
points: [{{head: log_cosh, sharpness: 0.5}}, {{head: bel, code: natural}}]
search: {{method: random, trials: 3, scheduler: none}}
resources: {{cpu: 1, gpu: 0}}
"""
MODULES = {
    "bel-sweep": "launch.sweep",
    "bel-eval": "results.retest.evaluate",
    "bel-export": "results.retest.export",
    "bel-predict": "results.predict.command",
    "bel-results": "results.commands.main",
    "bel-codes": "launch.codes",
}
LOG = """
import sys, mlflow
from results.store.logged_model import log_model
for run in sys.argv[1:]:
    print(log_model(mlflow.get_run(run), "dots"), run)
"""
SERVED = """
import sys, mlflow, pandas
import numpy as np
one, first, two, second, picture = sys.argv[1:]
for model, run in ((one, first), (two, second)):
    found = mlflow.pyfunc.load_model(f"models:/{model}").predict({"image": [open(picture, "rb").read()]})
    np.testing.assert_allclose(found[["x", "y"]], pandas.read_csv(f"{run}/predictions.csv")[["x", "y"]], atol=1e-5)
print("served")
"""
BY_CODE = r"\d +[\d. ]+natural-40 .* ([0-9a-f]{32})"
BY_HEAD = r"\d +[\d. ]+log_cosh-40 .* ([0-9a-f]{32})"


@pytest.mark.slow
def test_it_keeps_the_contract(shell, dots):
    said = shell.python(f"from bel.testing import check_plugin; print(check_plugin('bel_example', {str(dots)!r}))")
    assert said == "['heads log_cosh', 'readers dots']\n"


class Shell:
    """Commands in a folder, with the example or without it."""

    def __init__(self, folder, example):
        self.folder, self.example = folder, example

    def run(self, *command, installed=True, code=0):
        """Run a command of Python; return what it prints."""
        paths = [str(PROJECT), *([str(self.example)] if installed else [])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{self.folder}/mlflow.db"
        done = subprocess.run(
            [sys.executable, *map(str, command)], cwd=self.folder, env=environment, text=True,
            capture_output=True,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + (done.stderr if code else "")

    def python(self, program):
        """Run a program."""
        return self.run("-c", program)

    def __call__(self, name, *arguments, **how):
        """Run one of our commands."""
        program = f"import sys; from {MODULES[name]} import main; sys.exit(main())"
        return self.run("-c", program, *arguments, **how)


@pytest.fixture
def shell(tmp_path, example):
    """Commands in an empty folder."""
    return Shell(tmp_path, example)


@pytest.mark.slow
def test_it_sweeps_is_re_tested_exported_reported_and_missed(shell, dots, tmp_path):
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "dots.yaml").write_text(SWEEP.format(root=dots))
    assert "natural: 16 words of 4 bits" in shell("bel-codes", "natural", 16, "--plugins", "mine.py")
    said = shell("bel-sweep", "dots.yaml")
    by_code, by_head = (re.search(pattern, said).group(1) for pattern in (BY_CODE, BY_HEAD))
    assert "0 trials to run" in shell("bel-sweep", "dots.yaml")
    for run in (by_code, by_head):
        assert "difference 0.0e+00" in shell("bel-eval", "--run-id", run)
        assert "wrote net.pt2" in shell("bel-export", "--run-id", run, "--to", "pt2", "--out", "net.pt2")
        (tmp_path / "net.pt2").unlink()
    files = [dots / "dots/test/0/1.png"]
    for run in (by_code, by_head):
        assert "1 predictions" in shell("bel-predict", "--run-id", run, *files, "--out", run)
    assert "log_cosh-40" in shell("bel-results", "leaderboard", "dots")
    model = shell.run("-c", LOG, by_code, by_head).split()
    shell("bel-results", "report", "dots", "-o", "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "log_cosh-40" in page and "natural-40" in page

    missing = shell("bel-eval", "--run-id", by_head, installed=False, code=2)
    assert re.fullmatch(
        r"error: the plug-in bel_example\.\w+ is neither .* install the package that has it.*\n", missing
    )
    missing = shell("bel-sweep", "dots.yaml", installed=False, code=2)
    assert re.fullmatch(r"error: .*'sharpness'.*\n", missing)
    assert "log_cosh-40" in shell("bel-results", "leaderboard", "dots", installed=False)
    shell("bel-results", "report", "dots", "-o", "report.html", installed=False)
    (tmp_path / "mine.py").unlink()
    assert shell.run("-c", SERVED, *model, *files) == "served\n", "where the file is not there any more"
    missing = shell("bel-eval", "--run-id", by_code, code=2)
    assert re.fullmatch(r"error: the plug-in \S+/mine\.py is not there: put it back, .*\n", missing)
    assert "difference 0.0e+00" in shell("bel-eval", "--run-id", by_head), "that run does not use it"
