"""What verifying prepared arrays costs `bel-eval` on the demo's data: `python tests/benchmarks/verify.py BEFORE [NOW]`.

Two commits, the second by default what is checked out, re-test one checkpoint in turns, in fresh processes; 1 where the
medians differ by more than 5 %.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bel.run_layout import CHECKPOINT

HERE = Path(__file__).parents[2]
ROUNDS, BAR = 7, 1.05


def python(code: Path, module: str, *arguments: str) -> tuple[float, float]:
    """Run a module of a version; its wall time and the time of the processor, in seconds."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys, {module} as m; sys.exit(m.main())", *arguments],
        env=os.environ | {"PYTHONPATH": str(code), "OMP_NUM_THREADS": "1"},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Compare two commits."""
    with tempfile.TemporaryDirectory() as folder:
        old, new, data, run = (Path(folder) / name for name in ("old", "new", "data", "run"))
        trees = ["git", "-C", str(HERE), "worktree"]
        try:
            for code, commit in zip((old, new), [*sys.argv[1:], "HEAD"], strict=False):
                subprocess.run([*trees, "add", "--detach", str(code), commit], check=True)
            demo = ["--layout", "biwi", "--subjects", "160", "--frames", "16", "--size", "80"]
            python(new, "bel.data.command", "synth", *demo, "--out", str(data))
            fields = {"protocol": "biwi", "data_root": data, "cache_dir": f"{folder}/old-cache", "crop": "frame"}
            fields |= {"image_size": 64, "backbone": "resnet10", "weights": "none", "code": "u", "epochs": 1}
            flags = [text for name, value in fields.items() for text in (f"--{name.replace('_', '-')}", str(value))]
            python(old, "launch.train", *flags, "--out", str(run))
            times: dict[Path, list[tuple[float, float]]] = {old: [], new: []}
            for number in range(ROUNDS + 1):  # the first prepares and stamps
                for code, cache in ((old, "old-cache"), (new, "new-cache")):
                    options = ["--checkpoint", str(run / CHECKPOINT), "--set", f"cache_dir={folder}/{cache}"]
                    took = python(code, "results.retest.evaluate", *options)
                    times[code] += [took] if number else []
        finally:
            for code in (old, new):
                subprocess.run([*trees, "remove", "--force", str(code)], check=False)
    ratios = []
    for kind, name in enumerate(("wall", "user + sys")):
        before, after = (statistics.median(took[kind] for took in times[code]) for code in (old, new))
        ratios.append(after / before)
        print(f"{name}: {before:.2f} s before, {after:.2f} s now, ratio {after / before:.3f}, at most {BAR}")
    return int(min(ratios) > BAR)


if __name__ == "__main__":
    sys.exit(main())
