"""300W_LP and AFLW2000-3D (Zhu 2016): NAME.jpg beside NAME.mat with `Pose_Para` (radians) and `pt2d` (pixels)."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from bel.data.readers.base import Entry, Label, Listing, Source, find_folder, find_images, read_list
from bel.errors import UserError

LIST = "overall_filelist_clean.txt"
LIMIT = 99.0  # degrees; both protocols leave out images beyond it
FRAME = (450, 450)


def scanned(data_root: Path, name: str, pattern: str, group: Callable[[str], str]) -> Listing:
    """Return every image or label on disk of the dataset folder `name`, in which images match `pattern`."""
    return scan(data_root, name, (pattern, pattern.removesuffix(".jpg") + ".mat"), group)


def scan(data_root: Path, name: str, patterns: tuple[str, ...], group: Callable[[str], str]) -> Listing:
    """Return what matches `patterns`, that of the images first, in the dataset folder `name`."""
    folder = find_folder(data_root, name, patterns[0])
    stems = {str(path.relative_to(folder).with_suffix("")) for pattern in patterns for path in folder.glob(pattern)}
    return find_images(folder, sorted(stems), (".jpg",), ".mat", group, folder)


def listed(data_root: Path, name: str, pattern: str, group: Callable[[str], str]) -> Listing:
    """Return the images in the list of the dataset folder `name`, or all; the published folders have other .mat files too."""
    folder = find_folder(data_root, name, pattern)
    path = folder / LIST
    if not path.exists():
        return scan(data_root, name, (pattern,), group)
    return find_images(folder, read_list(path), (".jpg",), ".mat", group, path)


def read(entry: Entry) -> Label:
    """Read yaw, pitch, roll in degrees and `pt2d` from a .mat file. Raises `UserError` where it lacks them."""
    path = entry.label
    assert path is not None
    try:
        content = loadmat(path, variable_names=["Pose_Para", "pt2d"])
        pitch, yaw, roll = np.degrees(content["Pose_Para"][0][:3].astype(np.float64))
        landmarks = content["pt2d"].astype(np.float64)
    except Exception as error:  # scipy raises a dozen kinds on a damaged file
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the system: the file may be intact
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise UserError(
            f"{path} is not a pose file with Pose_Para and pt2d ({reason}): leave it out of the list"
        ) from error
    target = np.array([yaw, pitch, roll])
    if not np.isfinite(target).all():
        raise UserError(f"{path} holds an angle that is not finite: {target.tolist()}")
    if landmarks.ndim != 2 or len(landmarks) != 2 or not np.isfinite(landmarks).all():
        raise UserError(f"{path} holds pt2d of shape {landmarks.shape} that is not 2 x points of finite numbers")
    return Label(target, landmarks)


def photograph(stem: str) -> str:
    """Return the photograph of a synthetic view (or of its mirror image): the name without the number of the view."""
    return re.sub(r"_\d+$", "", stem.split("/")[-1])


def source(name: str, folder: str, pattern: str, group: Callable[[str], str]) -> Source:
    """Return the source of a dataset folder."""
    where = {"name": folder, "pattern": pattern, "group": group}
    return Source(name, partial(listed, **where), partial(scanned, **where), read, LIMIT, FRAME, LIST)  # type: ignore[arg-type]


W300LP = source("300w_lp", "300W_LP", "*/*.jpg", photograph)
AFLW2000 = source("aflw2000", "AFLW2000", "image*.jpg", str)  # each image is its own group, named by its stem
