"""Preparing the real BIWI crops: two cores against one, and killed at random moments: `python tests/benchmarks/prepare.py`.

1 where two cores are less than 1.6 times as fast, or where the killed preparation ends with another digest.
"""

import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bel.data.prepare.build import Request
from bel.data.prepare.prepared import prepare, verify
from bel.data.readers.biwi import BIWI_TEST, BIWI_TRAIN

DATASETS = Path(__file__).parents[2] / "datasets"
SIZE, ROUNDS, BAR = 240, 3, 1.6


def both(cache: Path, workers: int) -> list[str]:
    """Prepare train and test; their digests."""
    requests = [Request(source, DATASETS, cache, "frame", SIZE) for source in (BIWI_TRAIN, BIWI_TEST)]
    return [prepare(request, workers=workers).digest for request in requests]


def rate(cache: Path, workers: int, count: int) -> float:
    """Images a second of a preparation from nothing."""
    shutil.rmtree(cache, ignore_errors=True)
    start = time.perf_counter()
    both(cache, workers)
    return count / (time.perf_counter() - start)


def killed_thrice(cache: Path, seconds: float) -> None:
    """Begin the preparation in another process and kill it, three times, at random moments within `seconds`."""
    shutil.rmtree(cache, ignore_errors=True)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, __file__, "prepare", str(cache)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()  # it has begun
        moment = random.uniform(0.5, seconds / 2)
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(f"killed {moment:.1f} s after it began: {sorted(path.name for path in cache.glob('*'))}")


def main() -> int:
    """Compare and kill."""
    if sys.argv[1:2] == ["prepare"]:
        print("begun", flush=True)
        both(Path(sys.argv[2]), 2)
        return 0
    if not (DATASETS / "BIWI").is_dir():
        print(f"skipped: no {DATASETS / 'BIWI'}, which is research data and not in git")
        return 0
    runs = DATASETS.parent / "runs"  # a temporary folder of the system may be small
    runs.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=runs) as folder:
        cache = Path(folder) / "cache"
        digests = both(cache, 2)
        count = sum(source.listed(DATASETS).total for source in (BIWI_TRAIN, BIWI_TEST))
        rates: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(ROUNDS):
            for workers in rates:
                rates[workers].append(rate(cache, workers, count))
        medians = {workers: statistics.median(values) for workers, values in rates.items()}
        ratio = medians[2] / medians[1]
        print(f"{count} crops to {SIZE} px, digests {digests}, {os.cpu_count()} cores")
        for workers, median in medians.items():
            print(f"{workers} process(es): {median:.0f} images/s")
        print(f"bar: at least {BAR}x, measured {ratio:.2f}x")
        killed_thrice(cache, count / medians[2])
        again = both(cache, 2)
        sound = all(
            verify(prepare(Request(source, DATASETS, cache, "frame", SIZE))) for source in (BIWI_TRAIN, BIWI_TEST)
        )
        print(f"after three kills: digests {again}, {'verified' if sound else 'NOT WHAT WAS WRITTEN'}")
    return 0 if ratio >= BAR and again == digests and sound else 1


if __name__ == "__main__":
    sys.exit(main())
