"""Each recipe of CONTRIBUTING.md, followed in a copy of the tree: its blocks are applied, its commands run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bel.config import TrainConfig
from bel.data.loading import load
from tests.conftest import PROJECT
from tests.test_readmes import FENCE, SCRIPTS

TEXT = (PROJECT / "CONTRIBUTING.md").read_text()
RECIPES = dict(re.findall(r"^## (Add a .+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
SHOWN = {
    "Add a code": [r"code natural: 16 words of 4 bits, all different", r"[1-9]\d* passed"],
    "Add a head": [r"[1-9]\d* passed"],
    "Add a data set": [r"faces train: \d+ images of \d+ groups", r"epoch 1"],
    "Add a scheduler": [r"sweep demo: \d+ trials to run \(grid, scheduler asha2\)"],
    "Add a column of the leaderboard": [r"hours +batch size\n"],
}
SHIM = '#!/usr/bin/env bash\nexec "{python}" -c "import sys; from {module} import main; sys.exit(main())" "$@"\n'


def changed(text: str, diff: str) -> str:
    """A file's text after a block of lines that begin with a blank (kept), + (new) or - (removed)."""
    lines = diff.splitlines()
    before = "\n".join(line[1:] for line in lines if not line.startswith("+"))
    after = "\n".join(line[1:] for line in lines if not line.startswith("-"))
    assert text.count(before) == 1, f"the lines of the recipe stand in the file once:\n{before}"
    return text.replace(before, after)


def apply(recipe: str, tree: Path) -> None:
    """Write the new files of a recipe, and change those that it changes."""
    for language, block in FENCE.findall(recipe):
        first, _, rest = block.partition("\n")
        if language == "python":
            (tree / first.removeprefix("# ")).write_text(rest)
        elif language == "diff":
            path = tree / first.removeprefix("+++ ")
            path.write_text(changed(path.read_text(), rest))


def faces(folder: Path, small: dict) -> None:
    """Rendered heads in the layout of the recipe's data set."""
    data = load(TrainConfig.make(small | {"head": "direct"}), "train")
    images = sorted(Path(small["data_root"]).glob("BIWI/hpdb/*/*_rgb.png"))
    for i, image in enumerate(images):
        place = folder / ("test" if i % 4 == 3 else "train") / f"{i % 8}" / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image, place)
        place.with_suffix(".txt").write_text(" ".join(f"{x:.3f}" for x in data.targets[i % len(data)].tolist()))


@pytest.fixture
def tree(tmp_path, small, rendered):
    """A copy of the tree with rendered data and the console scripts."""
    copy = tmp_path / "tree"
    ignored = shutil.ignore_patterns("__pycache__", "*.png", "h100", "study")
    for name in ("bel", "launch", "results", "sweeps", "tests"):
        shutil.copytree(PROJECT / name, copy / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(PROJECT / name, copy)
    shutil.copytree(rendered, copy / "datasets/synthetic")
    faces(copy / "datasets/FACES", small)
    (tmp_path / "bin").mkdir()
    for name, module in SCRIPTS.items():
        (tmp_path / "bin" / name).write_text(SHIM.format(python=sys.executable, module=module))
        (tmp_path / "bin" / name).chmod(0o755)
    return copy


def test_every_recipe_is_followed():
    assert [*RECIPES] == [*SHOWN]
    before = TEXT.partition("\n## ")[0]
    setup = [line.split()[:2] for language, block in FENCE.findall(before) for line in block.splitlines()]
    typed = [["make", "lint"], ["make", "test"]]  # by `.ci/run`
    assert setup == [*typed, ["source", ".venv/bin/activate"]]


@pytest.mark.parametrize("title", SHOWN)
def test_the_changes_of_a_recipe_fit_the_tree(title):
    for language, block in FENCE.findall(RECIPES[title]):
        if language == "diff":
            first, _, rest = block.partition("\n")
            assert changed((PROJECT / first.removeprefix("+++ ")).read_text(), rest)


@pytest.mark.slow
@pytest.mark.parametrize("title", SHOWN)
def test_a_recipe_works(tree, request, title):
    apply(RECIPES[title], tree)
    commands = "\n".join(block for language, block in FENCE.findall(RECIPES[title]) if language == "sh")
    path = f"{tree.parent / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    store = request.getfixturevalue("swept")[0] if "leaderboard" in title else tree
    environment = {"PATH": path, "PYTHONPATH": str(tree), "MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db"}
    done = subprocess.run(
        ["bash", "-euc", commands.replace("leaderboard demo", "leaderboard fixture")],
        cwd=tree, env=os.environ | environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    for shown in SHOWN[title]:
        assert re.search(shown, done.stdout), done.stdout
