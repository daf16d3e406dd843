"""BIWI Kinect head pose (Fanelli 2013): `hpdb/NN/frame_XXXXX_rgb.png|jpg` and `_pose.txt`, divided by sequence."""

from functools import partial
from pathlib import Path

import numpy as np

from bel.angles import matrix_to_euler
from bel.data.readers.base import Entry, Label, Listing, Source, find_folder, find_images, read_list
from bel.errors import UserError

TEST_SEQUENCES = ("02", "07", "09", "14", "15", "19", "20")  # of the published 30 % list
LISTS = {"train": "70_train.txt", "test": "30_test.txt"}
ENDINGS, POSE = ("_rgb.png", "_rgb.jpg"), "_pose.txt"
FRAME = (640, 480)


def scanned(data_root: Path, part: str) -> Listing:
    """Return every frame or pose on disk of `part` (train or test), divided by the published test sequences."""
    frames = find_folder(data_root, "BIWI", "hpdb") / "hpdb"
    found = {
        str(path.relative_to(frames))[: -len(ending)]
        for ending in (POSE, *ENDINGS)
        for path in frames.glob(f"*/frame_*{ending}")
    }
    stems = [stem for stem in sorted(found) if (sequence(stem) in TEST_SEQUENCES) == (part == "test")]
    return find_images(frames, stems, ENDINGS, POSE, sequence, frames)


def listed(data_root: Path, part: str) -> Listing:
    """Return the frames of `part`, by the list beside `hpdb` or else by the published sequences."""
    folder = find_folder(data_root, "BIWI", "hpdb")
    path = folder / LISTS[part]
    if not path.exists():
        return scanned(data_root, part)
    return find_images(folder / "hpdb", read_list(path), ENDINGS, POSE, sequence, path)


def read(entry: Entry) -> Label:
    """Read yaw, pitch, roll in degrees from a pose file. Raises `UserError` where it has no rotation matrix."""
    path = entry.label
    assert path is not None
    try:
        matrix = np.array([line.split() for line in path.read_text().splitlines()[:3]], dtype=np.float64)
    except ValueError as error:
        raise UserError(f"{path} is not a BIWI pose (three rows of three numbers): {error}") from error
    if matrix.shape != (3, 3):
        raise UserError(f"{path} is not a BIWI pose (three rows of three numbers): its matrix is {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise UserError(f"{path} holds no rotation matrix in its first three rows: a number is not finite")
    if np.abs(matrix @ matrix.T - np.eye(3)).max() > 1e-2:
        raise UserError(f"{path} holds no rotation matrix in its first three rows: they are not orthonormal")
    if np.linalg.det(matrix) < 0:
        raise UserError(f"{path} holds no rotation matrix in its first three rows: its determinant is -1, a reflection")
    return Label(matrix_to_euler(matrix))


def sequence(stem: str) -> str:
    """Return the sequence of a frame: one person in one recording."""
    return stem.split("/")[0]


def source(part: str) -> Source:
    """Return the source of one part."""
    images = partial(listed, part=part), partial(scanned, part=part)
    return Source(f"biwi_{part}", *images, read, frame=FRAME, filelist=LISTS[part])


BIWI_TRAIN, BIWI_TEST = source("train"), source("test")
