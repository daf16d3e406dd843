"""How much sooner a training step is on this CPU where freed memory is kept, by trunk and size.

`python tests/benchmarks/freed_memory.py [--steps 12] [--rounds 3]`; processor time of interleaved processes, one thread each.
"""

import argparse
import subprocess
import sys
import time

import torch

from bel.training.run_context import keep_freed_memory
from tests.benchmarks.precision import step_of

CASES = (("mobilenet_v2", 64, 32), ("mobilenet_v2", 224, 16), ("resnet18", 224, 16))
WARM_UP = 3


def measure(trunk: str, size: int, batch: int, steps: int) -> float:
    """Return the images a second of processor time."""
    torch.set_num_threads(1)
    step, images = step_of(trunk, size, batch, "fp32"), torch.randn(batch, 3, size, size)
    images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.zeros(batch, 3, dtype=torch.float64)
    for number in range(WARM_UP + steps):
        if number == WARM_UP:
            start = time.process_time()
        step(images, targets)
    return batch * steps / (time.process_time() - start)


def main() -> None:
    """Print images a second of processor time as it was and with freed memory kept, and their ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=4, help="mode, trunk, size and batch of one measurement")
    a = parser.parse_args()
    if a.one:
        mode, trunk, size, batch = a.one
        if mode == "kept":
            keep_freed_memory()
        print(measure(trunk, int(size), int(batch), a.steps))
        return
    for case in CASES:
        best = {"plain": 0.0, "kept": 0.0}
        for _ in range(a.rounds):
            for mode in best:
                command = [
                    sys.executable,
                    "-m",
                    "tests.benchmarks.freed_memory",
                    "--steps",
                    str(a.steps),
                    "--one",
                    mode,
                ]
                run = subprocess.run([*command, *map(str, case)], capture_output=True, text=True, check=True)
                best[mode] = max(best[mode], float(run.stdout))
        ratio = best["kept"] / best["plain"]
        print("{} {} px, batch {}: {:.0f} -> {:.0f} images/s, ratio {:.2f}".format(*case, *best.values(), ratio))


if __name__ == "__main__":
    main()
