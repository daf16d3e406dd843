"""Make a store as the last commit before the rooms were redrawn made it: `python tests/old_store.py FOLDER`.

The sources of that commit, taken from git, render heads and sweep three trials of them there.
"""

import os
import subprocess
import sys
from pathlib import Path

COMMIT = "5b24e625e9be303fc28c493e3836e578ea15ef7d"
SWEEP = """
name: old
description: A sweep of an older version.
base: {protocol: biwi, data_root: data, crop: frame, image_size: 32, backbone: resnet10, weights: none,
       batch_size: 8, epochs: 2, lr: 1e-3, device: cpu, code_bits: 38}
space:
  head: {grid: [bel, direct]}
  code: {grid: [u, hex16]}
search: {method: grid}
resources: {cpu: 1}
"""


def is_known() -> bool:
    """Whether git has that commit, which a clone without its history has not."""
    root = Path(__file__).parents[1]
    return (
        subprocess.run(["git", "cat-file", "-e", f"{COMMIT}^{{commit}}"], cwd=root, capture_output=True).returncode == 0
    )


def make(folder: Path) -> None:
    """Make the store `mlflow.db` of the sweep `old` in an empty folder."""
    source = folder / "source"
    source.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "archive", COMMIT, "bel", "launch", "results"],
        cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    subprocess.run(["tar", "-x", "-C", str(source)], input=archive.stdout, check=True)
    (folder / "old.yaml").write_text(SWEEP)
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment |= {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    synth = ["synth", "--layout", "biwi", "--out", "data", "--subjects", "8", "--frames", "12", "--size", "64"]
    render = ["-c", "import sys; from bel.data.command import main; sys.exit(main())", *synth]
    for command in (render, [str(source / "launch" / "sweep.py"), "old.yaml", "--quiet"]):
        subprocess.run([sys.executable, *command], cwd=folder, env=environment, check=True)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
