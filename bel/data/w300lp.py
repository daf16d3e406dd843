"""300W_LP and AFLW2000-3D (Zhu 2016): NAME.jpg beside NAME.mat with `Pose_Para` (radians) and `pt2d` (pixels)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from bel.data.sources import Entry, Label, Source, find_folder, find_images, read_list
from bel.errors import UserError

LIST = "overall_filelist_clean.txt"
LIMIT = 99.0  # degrees; both protocols leave images beyond it out


def entries(data_root: Path, name: str, pattern: str) -> list[Entry]:
    """Images of the dataset folder `name`, by its list or else by scanning for `pattern`."""
    folder = find_folder(data_root, name, pattern)
    listed = folder / LIST
    if listed.exists():
        return find_images(folder, read_list(listed), (".jpg",), ".mat", listed)
    stems = [str(path.relative_to(folder))[: -len(".jpg")] for path in sorted(folder.glob(pattern))]
    return find_images(folder, stems, (".jpg",), ".mat", folder)


def read(path: Path) -> Label:
    """Yaw, pitch, roll in degrees and `pt2d` from a .mat file. Raises `UserError` where it lacks them."""
    try:
        content = loadmat(path, variable_names=["Pose_Para", "pt2d"])
        pitch, yaw, roll = np.degrees(content["Pose_Para"][0][:3].astype(np.float64))
        landmarks = content["pt2d"].astype(np.float64)
    except Exception as error:  # scipy raises a dozen kinds on a damaged file
        reason = f"no {error}" if isinstance(error, KeyError) else error
        raise UserError(
            f"{path} is not a pose file with Pose_Para and pt2d ({reason}): leave it out of the list"
        ) from error
    return Label(np.array([yaw, pitch, roll]), landmarks)


def photograph(stem: str) -> str:
    """Photograph that a synthetic view (and its mirror image) was made from: the name without its view number."""
    return re.sub(r"_\d+$", "", stem.split("/")[-1])


W300LP = Source(lambda root: entries(root, "300W_LP", "*/*.jpg"), read, photograph, LIMIT)
AFLW2000 = Source(lambda root: entries(root, "AFLW2000", "image*.jpg"), read, lambda stem: stem, LIMIT)
