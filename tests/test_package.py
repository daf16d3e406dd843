"""The wheel in a fresh environment, from an empty folder: its commands find all that they need, and no checkout is there."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import PROJECT

PARTS = ("bel", "launch", "results", "sweeps", "pyproject.toml", "README.md", "LICENSE")
SMALL = "--set epochs=1 --set image_size=32 --set space.code.grid=[u,j] --set space.code_bits.grid=[38]"
RENDER = "bel-data synth --layout biwi --out datasets/synthetic --subjects 24 --frames 8 --size 48 --seed 0"
COMMANDS = ("bel-codes", "bel-data", "bel-eval", "bel-export", "bel-predict", "bel-results", "bel-sweep", "bel-train")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the source."""
    folder = tmp_path_factory.mktemp("wheel")
    for part in map(PROJECT.joinpath, PARTS):
        copy = shutil.copytree if part.is_dir() else shutil.copy
        copy(part, folder / part.name)
    built = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", folder]
    subprocess.run(built, check=True, capture_output=True, env=without_checkout())
    (file,) = (folder / "dist").glob("*.whl")
    return file


def without_checkout(**more):
    """The environment without what leads to the checkout."""
    return {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MLFLOW_TRACKING_URI")
    } | more


@pytest.fixture(scope="module")
def shell(wheel, tmp_path_factory):
    """Runs a line as typed in an empty folder, with the commands of a fresh environment; its exit code and what it printed."""
    fresh, empty = tmp_path_factory.mktemp("fresh"), tmp_path_factory.mktemp("empty")
    subprocess.run([sys.executable, "-m", "venv", fresh], check=True)
    subprocess.run(
        [fresh / "bin" / "pip", "install", "--quiet", "--no-compile", wheel], check=True, env=without_checkout()
    )
    environment = without_checkout(PATH=f"{fresh / 'bin'}:/usr/bin:/bin", OMP_NUM_THREADS="1")

    def run(line):
        done = subprocess.run(["bash", "-c", line], cwd=empty, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    yield run
    shutil.rmtree(fresh)  # some GB


def test_the_wheel_has_the_sweeps_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {Path(name).name for name in names if name.startswith("sweeps/")} == {"slurm.sbatch", "tour.ipynb"} | {
        path.name for path in (PROJECT / "sweeps").glob("*.yaml")
    }
    assert {name.split("/")[0] for name in names if not name.startswith("bel_sweeps-")} == {
        "bel",
        "launch",
        "results",
        "sweeps",
    }
    assert {"results/report/page.html", "bel/py.typed", "launch/py.typed", "results/py.typed"} <= set(names)


@pytest.mark.slow
def test_its_commands_need_no_checkout(shell):
    for command in COMMANDS:
        code, said = shell(f"{command} --version")
        assert code == 0 and re.search(r"of bel-sweeps \d+\.\d+\.\d+", said), said
    shell("mkdir -p ros/launch && touch ros/launch/__init__.py")
    code, said = shell("PYTHONPATH=ros bel-sweep --version")
    assert code == 1 and "No module named 'launch.sweep'" in said, said
    code, said = shell("export PYTHONPATH=ros; env -u PYTHONPATH bel-sweep --version")
    assert code == 0, said
    code, said = shell("bel-sweep demo")
    assert code == 2 and said.count("\n") == 1 and "bel-data synth --layout biwi --out" in said, said
    assert shell(RENDER)[0] == 0
    code, said = shell(f"bel-sweep demo {SMALL}")
    assert code == 0, said
    (eval_line,) = re.findall(r"bel-eval --run-id \w+", said)
    code, said = shell(eval_line)
    assert code == 0 and "allowed 1e-06" in said and "test MAE (deg)" in said, said
    for line, wanted in {
        "bel-results leaderboard demo": "j-38 bce",
        "bel-results best demo --register demo": "demo@champion",
        "bel-predict $(ls -d datasets/synthetic/BIWI/hpdb/*/*.png | head -n 1) --model demo@champion --out out": "out",
        "bel-codes hex16 38": "picture: ",
    }.items():
        code, said = shell(line)
        assert code == 0 and wanted in said, said
    assert shell("ls out/predictions.csv")[0] == 0
