"""What a run's context does to the process."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from bel.model import resnet10
from bel.training.run_context import RunContext
if sys.argv[1] == "kept":
    RunContext(torch.device("cpu"))
torch.set_num_threads(1)
network, images = resnet10(), torch.ones(32, 3, 64, 64)
for step in range(8):
    if step == 5:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    network(images).sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_memory_that_is_freed_is_used_again():
    faults = {
        mode: int(
            subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=True).stdout
        )
        for mode in ("plain", "kept")
    }
    assert faults["kept"] < faults["plain"] / 3, faults
