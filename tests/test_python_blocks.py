"""The blocks of Python in the READMEs that show `Sweep`, `Results` and `Model` run as they stand, on a small sweep."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import PROJECT
from tests.test_readmes import fences

TYPED = """
from launch import Sweep
from results import Model, Results

reveal_type(Sweep("demo").run())
reveal_type(Sweep("demo").plan().values)
for event in Sweep("demo").iterate("epoch"):
    reveal_type(event["epoch"])
reveal_type(Results("demo").compare("a", "b").verdict)
reveal_type(Model("demo@champion").units)
Sweep(5)
"""


def block(document, start):
    """The block of Python of a document that begins with a line."""
    (found,) = [text for language, text in fences(document) if language == "python" and text.startswith(start)]
    return found


def test_results_and_a_model(swept_store, rendered, monkeypatch, capsys):
    monkeypatch.chdir(swept_store)
    os.mkdir("photos")
    for name, image in zip("ab", sorted(rendered.glob("BIWI/hpdb/*/*_rgb.png")), strict=False):
        shutil.copy(image, f"photos/{name}.png")
    names = {}
    exec(block("results/README.md", "from results import").replace('"demo"', '"fixture"'), names)
    said = capsys.readouterr().out
    assert f"first of {len(names['table'])} configurations: {names['first']}" in said
    assert f"{names['second']} minus {names['first']}: " in said and "photos/b.png" in said
    assert len(names["errors"]) == len(set(names["errors"]["image"]))


@pytest.mark.slow
def test_a_sweep(swept_store, swept, capsys):
    text = block("launch/README.md", "from launch import").replace("sweeps/demo.yaml", str(swept[1]))
    exec(text.replace('"epochs": 2', '"epochs": 2, "lr": 2e-3, "search.trials": 1'), {})
    said = capsys.readouterr().out
    assert "sweep fixture: 1 trials to run" in said and "first of 1 configurations" in said
    assert [line.split()[-2] for line in said.splitlines() if " s0 " in line] == ["1", "2"]


@pytest.mark.slow
def test_a_type_checker_sees_what_they_give(tmp_path):
    (tmp_path / "mine.py").write_text(TYPED)
    options = ["--config-file=", "--no-site-packages", "--ignore-missing-imports", "--follow-imports=silent"]
    command = [sys.executable, "-m", "mypy", *options, "mine.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"MYPYPATH": str(PROJECT)}, capture_output=True, text=True
    )
    for wanted in (
        '"results.results.Results"', '"dict[str, Any]"', '"int"', '"str"', '"dict[str, str]"',
        'Argument 1 to "Sweep" has incompatible type "int"', "Found 1 error",
    ):  # fmt: skip
        assert wanted in done.stdout, done.stdout
