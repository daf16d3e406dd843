"""The command `bel-data`: what is done to data before any training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from bel.data.synthetic import LAYOUTS, synthesise
from bel.errors import command


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Render a data set of heads with known pose, in the layout of a real one."""
    parser = argparse.ArgumentParser(prog="bel-data", description="Make and check image data.")
    commands = parser.add_subparsers(dest="command", required=True)
    synth = commands.add_parser("synth", help="render heads with known yaw, pitch and roll")
    synth.add_argument("--layout", required=True, help=f"on-disk layout: {' or '.join(LAYOUTS)}")
    synth.add_argument("--out", type=Path, required=True, help="folder for the data; it becomes a data_root")
    synth.add_argument("--subjects", type=int, default=20, help="people (%(default)s)")
    synth.add_argument("--frames", type=int, default=100, help="images of each (%(default)s)")
    synth.add_argument("--size", type=int, default=128, help="side of an image in pixels (%(default)s)")
    synth.add_argument("--seed", type=int, default=0, help="everything random (%(default)s)")
    a = parser.parse_args(argv)
    with tqdm(desc=f"rendering {a.layout}", unit=" images", delay=0.5) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        synthesise(a.layout, a.out, a.subjects, a.frames, a.size, a.seed, progress=show)
    print(f"{a.layout} data of {a.subjects} subjects: data_root {a.out}")
    return 0
