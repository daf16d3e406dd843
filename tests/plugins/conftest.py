"""The example plug-in, installed as a user's would be, but into a folder of its own; and its data."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLE = Path(__file__).parent / "example"


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    """The folder into which the example is installed."""
    import shutil

    source, target = tmp_path_factory.mktemp("example") / "source", tmp_path_factory.mktemp("installed")
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*install, "--target", target, source], check=True)
    return target


@pytest.fixture(scope="session")
def dots(tmp_path_factory):
    """A data root with pictures of dots: 8 series of 12 to train, 3 to test."""
    root, generator = tmp_path_factory.mktemp("dots"), np.random.default_rng(0)
    grid = np.mgrid[:40, :40]
    for part, series in (("train", 8), ("test", 3)):
        for number in range(series * 12):
            folder = root / "dots" / part / f"{number // 12}"
            folder.mkdir(parents=True, exist_ok=True)
            x, y = generator.uniform(5, 35, 2)
            spot = np.exp(-((grid[1] - x) ** 2 + (grid[0] - y) ** 2) / 18)
            Image.fromarray((255 * spot[..., None].repeat(3, -1)).astype(np.uint8)).save(folder / f"{number}.png")
            (folder / f"{number}.txt").write_text(f"{x:.3f} {y:.3f}")
    return root
