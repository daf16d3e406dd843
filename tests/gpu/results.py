"""Real sweeps on a GPU, each with its table: `python tests/gpu/results.py [--only STEP ...] [--quick]`.

biwi: ResNet-50 at 224 px on rendered full-size frames; small: sweeps/biwi_small.yaml at 112 px on all frames, its best
re-tested; search: a recipe for BIWI crops, kept as runs/recipe.yaml; crops, folds: the recipe tested, and out of fold;
study: ten contenders of study_pose at 112 px on all frames, three seeds. All but the first want datasets/BIWI and
TORCH_HOME. What they print is kept in a file, too.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml
from measured import card, table

from bel.data.synthetic import synthesise

PROJECT = Path(__file__).parents[2]
ENTRIES = {"bel-eval": "results.retest.evaluate", "bel-results": "results.commands.main"}  # they need not be installed
RENDERED = ["weights=none", "protocol=biwi"]
SEARCH = "biwi_crops_search"
STEPS: dict[str, tuple[str, list[str], list[list[str]]]] = {
    # sweep, settings, and commands after it, of which RUN stands for the sweep's run
    "biwi": (
        "biwi", [*RENDERED, "crop=frame", "epochs=4", "search.trials=6", "batch_size=32"], [["bel-eval", "--run-id", "RUN"]],
    ),
    "small": (
        "biwi_small", ["image_size=112", "frame_stride=1", "resources.gpu=auto"],
        [["bel-results", "leaderboard", "RUN"], ["bel-eval", "--run-id", "RUN"]],
    ),
    "search": (
        SEARCH, ["resources.gpu=0.0625"],
        [["bel-results", "leaderboard", "RUN"], ["bel-results", "best", "RUN", "--config", "runs/recipe.yaml"]],
    ),
    "crops": (
        "biwi_crops", ["search.folds=null", "selection=last", "val_fraction=0.06", "resources.gpu=0.125"],
        [["bel-results", "leaderboard", "RUN"], ["bel-eval", "--run-id", "RUN"]],
    ),
    "folds": ("biwi_crops", ["resources.gpu=0.125"], [["bel-results", "leaderboard", "RUN"]]),
    "study": (
        "study_pose",
        ["image_size=112", "frame_stride=1", "search.seeds=3", "resources.gpu=0.125",
         "space.head.grid=[bel, direct, classification, or_cnn, rotation6d, soft_label, rlel, hopenet]",
         "space.code.grid=[j, u, hex16]", "space.loss.grid=[bce]", "space.lr.grid=[2e-4, 5e-4, 1.2e-3, 3e-3]"],
        [["bel-results", "study", "runs/study", "--add", "pose=RUN"]],
    ),
}  # fmt: skip
TINY = ["backbone=resnet10", "image_size=32", "frame_stride=2", "epochs=1", "batch_size=8", "resources.gpu=0"]
QUICK = {
    "biwi": ["search.trials=2", "resources.cpu=1"],
    "small": ["head=bel", "loss=ce", "space.code.grid=[u, hex16]"],
    "search": ["search.trials=2"],
    "crops": ["search.seeds=1", "val_fraction=0.2"],
    "folds": ["search.seeds=1", "search.folds=2"],
    "study": ["head=direct", "code=null", "loss=l1", "search.seeds=1", "search.folds=2", "space.lr.grid=[1e-3, 1e-4]"],
}  # what a sweep is cut to for two CPU cores


def run(command: Sequence[str], log: Path, place: Path) -> str:
    """What a command prints in a working folder, shown and kept. Raises `CalledProcessError` where it fails."""
    print("$", *command[1:], flush=True)
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            print(line, end="", flush=True)
    with log.open("a") as file:
        file.writelines([f"$ {' '.join(command[1:])}\n", *lines])
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return "".join(lines)


def entry(name: str) -> list[str]:
    """How to call one of the project's commands."""
    return [sys.executable, "-c", f"import sys; from {ENTRIES[name]} import main; sys.exit(main(sys.argv[1:]))"]


def recipe(path: Path) -> list[str]:
    """What the search varied, as a config has it."""
    varied = yaml.safe_load((PROJECT / "sweeps" / f"{SEARCH}.yaml").read_text(encoding="utf-8"))["space"]
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [f"{field}={'null' if values[field] is None else values[field]}" for field in varied]


def step(name: str, settings: Sequence[str], log: Path, place: Path) -> list[object]:
    """Run a sweep and what follows it in a working folder; a row of the last table."""
    sweep, own, after = STEPS[name]
    given = [f"--set={setting}" for setting in (*own, *settings)]
    began = time.perf_counter()
    try:
        script, file = (str(PROJECT / path) for path in ("launch/sweep.py", f"sweeps/{sweep}.yaml"))
        out = run([sys.executable, script, file, *given, "--quiet"], log, place)
        swept = time.perf_counter() - began
        parent = re.findall(r"(?:leaderboard|--run-id) ([0-9a-f]{32})", out)[-1]
        for command in after:
            run([*entry(command[0]), *(word.replace("RUN", parent) for word in command[1:])], log, place)
    except (subprocess.CalledProcessError, IndexError) as error:
        return [name, sweep, f"{time.perf_counter() - began:.0f}", "", f"failed: {error}"[:60]]
    return [name, sweep, f"{swept:.0f}", f"{time.perf_counter() - began - swept:.0f}", "ok"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps that are asked for; 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--quick", action="store_true", help="rendered heads and sizes for two CPU cores")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of every sweep")
    parser.add_argument(
        "--recipe", type=Path, metavar="CONFIG", help="of crops and folds: the config that a search found"
    )
    parser.add_argument("--log", type=Path, default=PROJECT / "runs" / "gpu.log", help="file of what is printed")
    o = parser.parse_args(argv)
    log = o.log.absolute()
    log.parent.mkdir(parents=True, exist_ok=True)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])])
    found = []
    with tempfile.TemporaryDirectory() as folder:
        if o.quick or "biwi" in o.only:
            people, frames, size = (8, 12, 48) if o.quick else (24, 12, 240)
            synthesise("biwi", Path(folder), people, frames, size, seed=0)
        if (
            o.quick
        ):  # all of it in the folder, on as many threads as trials have: so few images repeat to 1e-6 only then
            os.environ |= {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        for name in o.only:
            rendered = [f"data_root={folder}", *RENDERED] if o.quick or name == "biwi" else []
            found_before = recipe(o.recipe) if o.recipe and name in ("crops", "folds") else []
            settings = [*rendered, *found_before, *(TINY + QUICK[name] if o.quick else ()), *o.set]
            found.append(step(name, settings, log, Path(folder) if o.quick else PROJECT))
    table(["step", "sweep", "seconds", "after it", "outcome"], found)
    print(card())
    return int(any(row[-1] != "ok" for row in found))


if __name__ == "__main__":
    raise SystemExit(main())
