"""Inspection of the files of one image by a worker of a check: label read, image decoded, both compared."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bel.angles import euler_to_matrix
from bel.data.images import stored, upright
from bel.data.prepare.crops import boxes, frame, present, refuse_large, square
from bel.data.readers.base import Box, Entry, Label
from bel.errors import UserError

OUTSIDE = 0.25  # share of landmarks outside the image above which it was cropped later; 0 in real data

# Rough places of eyes, nose tip, mouth corners and chin (x right, y down, z away; eyes 1 apart, origin between them),
# and their rows in the two landmark schemes: 300W_LP's 68 (an eye is the mean of its six) and AFLW's 21 (23 adds ears).
FACE = np.array([[-0.5, 0.5, 0, -0.38, 0.38, 0], [0, 0, 0.55, 1.05, 1.05, 1.75], [0, 0, -0.55, -0.1, -0.1, 0]])
ROWS_68: tuple[slice, ...] = tuple(slice(*ends) for ends in ((36, 42), (42, 48), (30, 31), (48, 49), (54, 55), (8, 9)))
ROWS_21: tuple[slice, ...] = tuple(slice(row, row + 1) for row in (7, 10, 14, 17, 19, 20))
ROWS = {68: ROWS_68, 21: ROWS_21, 23: ROWS_21}
LIKELY, WORSE, MUCH_WORSE = 0.9, 0.02, 0.1  # agreement of all 1,000 real labels but one is above 0.93

# By words in the messages of the readers.
LABEL_KINDS = {"not finite": "not finite", "no rotation matrix": "not a rotation"}


@dataclass(frozen=True)
class Fault:
    """A fault of a file: its kind, the file, and a sentence."""

    kind: str
    file: str
    sentence: str


@dataclass(frozen=True)
class Facts:
    """The content of an entry's files: target, width and height, digest of the pixels, square of the face, faults.

    `turned` says that the EXIF of the image has a rotation.
    """

    target: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    digest: str = ""
    face: Box | None = None
    turned: bool = False
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """The task of a worker in a check: by source the function that reads a label, its largest absolute target, and exif."""

    sources: tuple[tuple[Callable[[Entry], Label], float, str], ...]

    def run(self, job: tuple[int, list[Entry]]) -> list[Facts]:
        """Return the facts of a job's entries, all of one source."""
        number, entries = job
        return [inspect(entry, *self.sources[number]) for entry in entries]


def inspect(entry: Entry, read: Callable[[Entry], Label], limit: float, exif: str) -> Facts:
    """Read and compare the files of one entry."""
    label, faults = inspect_label(entry, read)
    facts = inspect_image(entry, exif)
    if label is not None:
        facts = replace(facts, target=tuple(label.target.tolist()))
        if facts.size is not None:
            found, face = inspect_place(entry, label, facts.size)
            facts, faults = replace(facts, face=face), faults + found
        if in_degrees(label, limit):
            faults.append(units_fault(entry, label))
    return replace(facts, faults=(*faults, *facts.faults))


def inspect_label(entry: Entry, read: Callable[[Entry], Label]) -> tuple[Label | None, list[Fault]]:
    """Return the label, or its faults."""
    path = entry.label
    if path is not None and is_empty(path):
        return None, [Fault("empty file", f"{path}", f"{path} has no content")]
    try:
        return read(entry), []
    except (UserError, OSError) as error:
        kind = next((kind for words, kind in LABEL_KINDS.items() if words in str(error)), "unreadable label")
        return None, [Fault(kind, f"{path or entry.image}", f"{error}")]


def inspect_image(entry: Entry, exif: str) -> Facts:
    """Return size, digest and faults of the image as training reads it."""
    path = entry.image
    if is_empty(path):
        return Facts(faults=(Fault("empty file", f"{path}", f"{path} has no content"),))
    try:
        image, turn = stored(path)
    except (UserError, OSError) as error:
        return Facts(faults=(Fault("unreadable image", f"{path}", f"{error}"),))
    rgb = upright(image, turn, exif)
    faults = []
    if rgb.getcolors(1):  # None where there are more
        faults.append(Fault("blank image", f"{path}", f"{path} is of one colour"))
    digest = hashlib.sha256(rgb.tobytes() + repr(rgb.size).encode()).hexdigest()[:32]
    return Facts(size=rgb.size, digest=digest, turned=turn != 1, faults=tuple(faults))


def is_empty(path: Path) -> bool:
    """Return whether a file is empty; False where the system cannot access it, which opening it will report."""
    try:
        return os.stat(path).st_size == 0
    except OSError:
        return False


def inspect_place(entry: Entry, label: Label, size: tuple[int, int]) -> tuple[list[Fault], Box | None]:
    """Return the faults of a box or of landmarks in an image of (width, height), and the square of the face."""
    try:
        if entry.box is not None:
            refuse_large(face := boxes(entry, label, *size, 0.1))
            return [], face
        if label.landmarks is None:
            refuse_large(frame(entry, label, *size, 0))
            return [], None
        kept = present(label.landmarks)
    except UserError as error:
        if entry.box is not None or label.landmarks is None:
            kind = "too large" if "pixels," in f"{error}" else "box outside"
            return [Fault(kind, f"{entry.image}", f"{entry.image}: {error}")], None
        return [Fault("no landmarks", f"{entry.label}", f"{entry.label}: {error}")], None
    outside = int(((kept >= np.array(size)[:, None]) | (kept < 0)).any(0).sum())
    (x0, y0), (x1, y1) = kept.min(1).tolist(), kept.max(1).tolist()
    face = square(x0, y0, x1, y1, 0.4)
    if outside <= OUTSIDE * kept.shape[1]:
        return [], face
    sentence = (
        f"{entry.label} has {outside} of {kept.shape[1]} landmarks outside {entry.image} "
        f"({size[0]} x {size[1]}): the image was cropped after they were made; use the original, or crop frame"
    )
    return [Fault("landmarks outside", f"{entry.label}", sentence)], face


def units_fault(entry: Entry, label: Label) -> Fault:
    """Return the fault of a pose in degrees in place of radians."""
    raw = ", ".join(f"{value:.4g}" for value in np.radians(label.target))
    sentence = (
        f"{entry.label} holds degrees where radians belong: yaw, pitch, roll of {raw} fit its landmarks as degrees "
        "and do not as radians; multiply them by pi / 180"
    )
    return Fault("degrees for radians", f"{entry.label}", sentence)


def in_degrees(label: Label, limit: float) -> bool:
    """Return whether landmarks show that a pose read as radians was stored in degrees.

    The size of an angle alone does not: six of 1,000 real AFLW2000 labels are beyond pi, a full turn off.
    """
    stored = np.radians(label.target)
    largest = np.abs(stored).max()
    if label.landmarks is None or np.radians(limit) < largest <= np.pi:  # training leaves these out
        return False
    as_radians, as_degrees = agreement(label.landmarks, label.target), agreement(label.landmarks, stored)
    return as_degrees > LIKELY and as_radians < as_degrees - (WORSE if largest > np.pi else MUCH_WORSE)


def agreement(landmarks: NDArray[np.float64], pose: NDArray[np.float64]) -> float:
    """Return how well landmarks (2, points) fit a rough face rotated by a pose in degrees: 1 at best, 0 if unknown."""
    rows = ROWS.get(landmarks.shape[1])
    if rows is None:
        return 0.0
    seen = np.stack([landmarks[:, row].mean(1) for row in rows], axis=1)
    there = (seen > 0).all(0)
    if there.sum() < 4:  # fewer fit nearly every rotation
        return 0.0
    turned = (euler_to_matrix(pose) @ FACE)[:2, there]
    a, b = (points - points.mean(1, keepdims=True) for points in (seen[:, there], turned))
    return float((a * b).sum() / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-9))
