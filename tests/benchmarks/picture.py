"""The picture of README.md: some images of a sweep, and the error of each configuration with its 95 % interval.

    python tests/benchmarks/picture.py demo results/pictures/demo.png

The numbers are those of `bel-results leaderboard demo --format json`, the images lie in datasets/synthetic.
"""

import argparse
import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from results.commands.main import main as bel_results

HEADS = 12


def strip(folder: Path) -> np.ndarray:
    """One image each of some people, side by side."""
    people = sorted(path for path in folder.iterdir() if path.is_dir())[:HEADS]
    images = [Image.open(min(person.glob("*.png"))).convert("RGB").resize((80, 80)) for person in people]
    return np.hstack([np.asarray(image) for image in images])


def main(argv: list[str] | None = None) -> int:
    """Draw the picture of a sweep."""
    parser = argparse.ArgumentParser(prog="picture.py", description=__doc__.partition("\n")[0])
    parser.add_argument("sweep")
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=Path, default=Path("datasets/synthetic/BIWI/hpdb"))
    a = parser.parse_args(argv)
    a.out.parent.mkdir(parents=True, exist_ok=True)
    bel_results(["leaderboard", a.sweep, "--format", "json", "--out", str(a.out)])
    board = json.loads(a.out.read_text())[0]
    rows = board["rows"][::-1]
    figure, (above, below) = plt.subplots(2, 1, figsize=(8, 3.6), height_ratios=[1, 3.4], layout="constrained")
    above.imshow(strip(a.images))
    above.set_axis_off()
    for place, row in enumerate(rows):
        ended = "o" if not row["stopped_early"] else "x"
        if row["interval"]:  # none of a few people
            below.plot(row["interval"], [place, place], color="#0072b2", linewidth=2)
        below.plot(row["mae"], place, ended, color="#d55e00")
    names = [row["configuration"] + (" *" if row["stopped_early"] else "") for row in rows]
    below.set_yticks(range(len(rows)), names, fontsize=9)
    below.set_xlim(left=0)
    facts = board["facts"]
    below.set_xlabel(f"validation MAE ({facts['unit']}), {facts['groups']} people, 95 % interval; * stopped early")
    below.grid(axis="x", alpha=0.3)
    figure.savefig(a.out, dpi=110)
    plt.close(figure)
    reduced = Image.open(a.out).convert("RGB").quantize(128)
    reduced.save(a.out, optimize=True)
    print(f"{a.out}: {a.out.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
