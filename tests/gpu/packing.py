"""Many trials on one GPU: images/s of all together over one after the other. `python tests/gpu/packing.py [--quick]`.

`turns`: one process, each trial's step a CUDA graph on a stream of its own. `processes`: one each, as fractions of a GPU
are; with eager steps, with graphs, and with graphs under MPS where the driver has it. About four minutes on an H100.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from measured import CUDA, card, config_of, in_turns, noise, ready, seconds, sync, table

Case = tuple[str, int, int]
CASES: list[Case] = [("mobilenet_v2", 64, 32), ("mobilenet_v2", 112, 32), ("resnet50", 224, 16)]
TRIALS = (1, 2, 4, 8, 16)
TARGET = 1.5  # seconds of a measurement, about


def turns(case: Case, trials: int, graph: bool, rows: int, target: float) -> float:
    """Images/s of trials that take turns in this process."""
    configs = [config_of(*case, number, cuda_graph=graph) for number in range(trials)]
    runs = ready(configs, noise(configs[0], rows))
    once = seconds(lambda: in_turns(runs, 4)) / 4
    rounds = max(4, min(int(target / once), 200))  # less than an epoch
    rate = trials * rounds * case[2] / seconds(lambda: in_turns(runs, rounds))
    for run in runs:
        run.close()
    return rate


def worker(number: int, orders: Any, answers: Any, barrier: Any) -> None:
    """A process of one trial: trains what it is told, beside the others, and says from when to when."""
    torch.set_num_threads(1)
    while order := orders.get():
        case, graph, rows, rounds = order
        try:
            config = config_of(*case, number, cuda_graph=graph)
            (run,) = ready([config], noise(config, rows))
            sync()
            barrier.wait(120)
            start = time.perf_counter()  # of all processes of a machine
            in_turns([run], rounds)
            sync()
            answers.put((start, time.perf_counter()))
            run.close()
        except Exception:
            barrier.abort()
            answers.put(traceback.format_exc())


def beside(case: Case, trials: int, graph: bool, rows: int, rounds: int) -> float:
    """Images/s of trials in a process each."""
    context = multiprocessing.get_context("spawn")
    orders, answers, barrier = context.Queue(), context.Queue(), context.Barrier(trials)
    made = [context.Process(target=worker, args=(i, orders, answers, barrier)) for i in range(trials)]
    for process in made:
        process.start()
    for order in [(case, graph, rows, rounds)] * trials + [None] * trials:
        orders.put(order)
    found = [answers.get(timeout=240) for _ in made]
    for process in made:
        process.join()
    for answer in found:
        if isinstance(answer, str):
            raise RuntimeError(answer)
    return trials * rounds * case[2] / (max(end for _, end in found) - min(start for start, _ in found))


@contextmanager
def mps() -> Iterator[bool]:
    """NVIDIA's multi-process service for processes that are begun meanwhile; False where there is none."""
    control = shutil.which("nvidia-cuda-mps-control")
    if not (CUDA and control):
        yield False
        return
    with tempfile.TemporaryDirectory() as folder:
        own = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        os.environ.update(own)
        begun = subprocess.run([control, "-d"], capture_output=True, text=True)
        print("MPS:", begun.returncode, begun.stdout.strip(), begun.stderr.strip(), flush=True)
        try:
            yield begun.returncode == 0
        finally:
            subprocess.run([control], input="quit\n", text=True, timeout=30)
            for name in own:
                del os.environ[name]


def report(rows: list[list[object]], case: Case, trials: int, how: str, rate: float, alone: float) -> None:
    """Add a row and say it at once."""
    name = f"{case[0]} {case[1]} px, batch {case[2]}"
    rows.append([name, trials, how, f"{rate:.0f}", f"{rate / alone:.2f}x"])
    print(*rows[-1], sep="  ", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, case by case."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="sizes for two CPU cores")
    add("--trials", type=int, nargs="+", default=TRIALS)
    add("--processes", type=int, nargs="*", default=(4, 8, 16), help="how many trials are tried as processes")
    add("--only", help="cases whose name holds this")
    options = parser.parse_args(argv)
    cases, rows, target = CASES, 8192, TARGET
    if options.quick:
        cases, rows, target = [("mobilenet_v2", 32, 8), ("resnet10", 32, 8)], 256, 0.5
        options.trials, options.processes = options.trials[:3], options.processes[:1]
        torch.set_num_threads(1)
    found: list[list[object]] = []
    for case in (case for case in cases if not options.only or options.only in f"{case[0]} {case[1]}"):
        eager = turns(case, 1, False, rows, target)
        alone = turns(case, 1, True, rows, target)
        report(found, case, 1, "alone, eager", eager, alone)
        for trials in options.trials:
            report(found, case, trials, "turns", turns(case, trials, True, rows, target), alone)
        rounds = max(8, min(int(target * alone / case[2] / 4), 200))
        for trials in options.processes:
            report(found, case, trials, "processes, eager", beside(case, trials, False, rows, rounds), alone)
            report(found, case, trials, "processes", beside(case, trials, True, rows, rounds), alone)
        with mps() as there:
            for trials in options.processes if there else ():
                report(found, case, trials, "processes, MPS", beside(case, trials, True, rows, rounds), alone)
    table(["case", "trials", "how", "images/s", "over one"], found)
    print(card(), "(`over one`: over trials one after the other with captured steps)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
