"""The scripts that measure a GPU run to their last table without one: what breaks in them must not wait for a GPU."""

import os
import subprocess
import sys

import pytest

from tests.conftest import PROJECT


def printed(script, *arguments):
    """What a script prints in its quick form."""
    command = [sys.executable, str(PROJECT / "tests" / "gpu" / script), "--quick", *arguments]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("script", ["speed.py", "packing.py"])
def test_a_script_ends_with_its_table(script):
    head, *rows, card = printed(script, "--only", "resnet10").split("\n\n")[-1].splitlines()
    assert head.startswith("case ") and "torch" in card
    assert rows and all(row.startswith("resnet10 32 px, batch 8 ") for row in rows)
