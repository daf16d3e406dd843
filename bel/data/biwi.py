"""BIWI Kinect head pose (Fanelli 2013): `hpdb/NN/frame_XXXXX_rgb.png|jpg` and `_pose.txt`, divided by sequence."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bel.angles import matrix_to_euler
from bel.data.sources import Entry, Label, Source, find_folder, find_images, read_list
from bel.errors import UserError

TEST_SEQUENCES = ("02", "07", "09", "14", "15", "19", "20")  # of the published 30 % list
LISTS = {"train": "70_train.txt", "test": "30_test.txt"}
ENDINGS = ("_rgb.png", "_rgb.jpg")


def scan(frames: Path, part: str) -> list[str]:
    """Stems of a part where there is no list: all frames with a pose, divided by the published test sequences."""
    stems = [str(path.relative_to(frames))[: -len("_pose.txt")] for path in sorted(frames.glob("*/frame_*_pose.txt"))]
    return [stem for stem in stems if (sequence(stem) in TEST_SEQUENCES) == (part == "test")]


def entries(data_root: Path, part: str) -> list[Entry]:
    """Frames of `part` (train or test), by the list beside `hpdb` or else by the published sequences."""
    folder = find_folder(data_root, "BIWI", "hpdb")
    frames, listed = folder / "hpdb", folder / LISTS[part]
    if listed.exists():
        return find_images(frames, read_list(listed), ENDINGS, "_pose.txt", listed)
    return find_images(frames, scan(frames, part), ENDINGS, "_pose.txt", frames)


def read(path: Path) -> Label:
    """Yaw, pitch, roll in degrees from a pose file. Raises `UserError` where it holds no rotation matrix."""
    try:
        matrix = np.array([line.split() for line in path.read_text().splitlines()[:3]], dtype=np.float64)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a BIWI pose (three rows of three numbers): {error}") from error
    if matrix.shape != (3, 3) or not np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-2) or np.linalg.det(matrix) < 0:
        raise UserError(f"{path} holds no rotation matrix in its first three rows: leave the frame out of the list")
    return Label(matrix_to_euler(matrix))


def sequence(stem: str) -> str:
    """Sequence of a frame: one person in one recording."""
    return stem.split("/")[0]


BIWI_TRAIN = Source(lambda root: entries(root, "train"), read, sequence)
BIWI_TEST = Source(lambda root: entries(root, "test"), read, sequence)
