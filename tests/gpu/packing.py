"""Many trials on one GPU: images/s of all together over one after the other. `python tests/gpu/packing.py [--quick]`.

`turns`: one process, each trial's step a CUDA graph on a stream of its own. `processes`: one each, as fractions of a GPU
are; with eager steps, with graphs, and with graphs under MPS where the driver has it. Some minutes on an H100.
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

from bel.training.step import WARM_UP

Case = tuple[str, int, int]
CASES: list[Case] = [("mobilenet_v2", 64, 32), ("mobilenet_v2", 112, 32), ("resnet50", 224, 16)]
TRIALS = (1, 2, 4, 8, 16)
TARGET = 1.5  # seconds of a measurement, about


def turns(case: Case, trials: int, graph: bool, rows: int, target: float) -> float:
    """Images/s of trials that take turns in this process."""
    configs = [config_of(*case, number, cuda_graph=graph) for number in range(trials)]
    data = noise(configs[0], rows_of(case, rows))
    runs = ready(configs, data)
    once = seconds(lambda: in_turns(runs, 4)) / 4
    rounds = max(4, min(int(target / once), most_rounds(case, len(data))))
    rate = trials * rounds * case[2] / seconds(lambda: in_turns(runs, rounds))
    for run in runs:
        run.close()
    return rate


def rows_of(case: Case, rows: int) -> int:
    """How many images: so many, or as 400 MB hold."""
    return min(rows, int(4e8 / (3 * (case[1] * 240 / 224) ** 2)))


def most_rounds(case: Case, rows: int) -> int:
    """Steps that are left of a run's first epoch when it is ready and was tried, so that nothing is validated meanwhile."""
    return int(rows * 0.9) // case[2] - WARM_UP - 8


def worker(number: int, orders: Any, answers: Any, barriers: Any) -> None:
    """A process of one trial at a time: trains what it is told, beside the others, and says from when to when."""
    torch.set_num_threads(1)
    while order := orders.get():
        case, trials, graph, rows, rounds = order
        try:
            config = config_of(*case, number, cuda_graph=graph)
            (run,) = ready([config], noise(config, rows))
            sync()
            barriers[trials].wait(120)
            start = time.perf_counter()  # of all processes of a machine
            in_turns([run], rounds)
            sync()
            answers.put((start, time.perf_counter()))
            run.close()
        except Exception:
            barriers[trials].abort()
            answers.put(traceback.format_exc())


class Workers:
    """Processes that train a trial each."""

    def __init__(self, counts: Sequence[int]) -> None:
        context = multiprocessing.get_context("spawn")
        self.answers, self.orders = context.Queue(), [context.Queue() for _ in range(max(counts))]
        self.barriers = {
            count: context.Barrier(count) for count in counts
        }  # held: they end with their last reference here
        self.processes = [
            context.Process(target=worker, args=(i, orders, self.answers, self.barriers), daemon=True)
            for i, orders in enumerate(self.orders)
        ]
        for process in self.processes:
            process.start()

    def rate(self, case: Case, trials: int, graph: bool, rows: int, rounds: int) -> float:
        """Images/s of so many of them, each with its trial."""
        for orders in self.orders[:trials]:
            orders.put((case, trials, graph, rows_of(case, rows), rounds))
        found = [self.answers.get(timeout=240) for _ in range(trials)]
        for answer in found:
            if isinstance(answer, str):
                raise RuntimeError(answer)
        return trials * rounds * case[2] / (max(end for _, end in found) - min(start for start, _ in found))

    def close(self) -> None:
        """End the processes."""
        for orders in self.orders:
            orders.put(None)
        for process in self.processes:
            process.join()


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


def processes(
    kinds: dict[str, bool], alone: dict[Case, float], counts: Sequence[int], rows: int, target: float
) -> list[list[object]]:
    """Rows of trials in a process each, by what to call them and whether their steps are captured."""
    found: list[list[object]] = []
    workers = Workers(counts)
    for case, rate in alone.items():
        rounds = max(4, min(int(target * rate / case[2] / 4), most_rounds(case, rows_of(case, rows))))
        for trials in counts:
            for how, graph in kinds.items():
                report(found, case, trials, how, workers.rate(case, trials, graph, rows, rounds), rate)
    workers.close()
    return found


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
    cases = [case for case in cases if not options.only or options.only in f"{case[0]} {case[1]}"]
    if not cases:
        parser.error(f"--only: no case holds {options.only!r}: {CASES}")
    alone: dict[Case, float] = {}
    for case in cases:
        eager = turns(case, 1, False, rows, target)
        alone[case] = turns(case, 1, True, rows, target)
        report(found, case, 1, "alone, eager", eager, alone[case])
        for trials in options.trials:
            report(found, case, trials, "turns", turns(case, trials, True, rows, target), alone[case])
    if options.processes:
        found += processes({"processes, eager": False, "processes": True}, alone, options.processes, rows, target)
        with mps() as there:
            if there:
                found += processes({"processes, MPS": True}, alone, options.processes, rows, target)
    table(["case", "trials", "how", "images/s", "over one"], found)
    print(card(), "(`over one`: over trials one after the other with captured steps, on a CPU with plain ones)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
