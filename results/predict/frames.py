"""What `bel-predict` reads and writes: pictures of a file, a folder or a video, one after the other, and a video."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bel.data.images import decoded, refuse_pixels
from bel.data.readers.base import absent
from bel.errors import UserError

# Endings of what lies beside pictures; every other file of a folder is taken for one, whatever its ending.
BESIDE = (
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".xml", ".html", ".md", ".log", ".ini", ".db", ".mat", ".npy",
    ".npz", ".pt", ".pth", ".parquet", ".xlsx", ".py",
)  # fmt: skip
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")

# What is wrong with a video is said in our line, not in theirs.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

Failed = Callable[[str], None]


@dataclass(frozen=True)
class Picture:
    """A picture in RGB, by its name in the source; of a video with the number of its frame, from 0."""

    name: str
    image: Image.Image
    frame: int | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """What a file of boxes may call it: its name, also without its ending, or the number of its frame."""
        return (self.name, Path(self.name).with_suffix("").as_posix()) if self.frame is None else (str(self.frame),)


@dataclass(frozen=True)
class Source:
    """Where pictures come from: files below a folder, or a video; every `every`-th one, `limit` of them at most.

    `beside` are files of the folder that are hidden, or no pictures by their ending.
    """

    path: Path
    files: tuple[Path, ...] = ()
    every: int = 1
    limit: int | None = None
    beside: tuple[Path, ...] = ()

    @property
    def video(self) -> bool:
        """Whether it is a video."""
        return not self.files

    @property
    def picked(self) -> tuple[Path, ...]:
        """The files to read."""
        return self.files[:: self.every][: self.limit]

    def pictures(self, failed: Failed, exif: str) -> Iterator[Picture]:
        """Every picture that can be read, turned or not; `failed` is told the others. Raises `UserError` for no video."""
        return self.frames(exif) if self.video else self.opened(failed, exif)

    def opened(self, failed: Failed, exif: str) -> Iterator[Picture]:
        """The pictures of the files."""
        folder = self.path if self.path.is_dir() else self.path.parent
        for path in self.picked:
            try:
                refuse_no_picture(path)
                image = decoded(path, exif)
            except (UserError, OSError) as error:
                failed(str(error) if str(path) in str(error) else f"{path}: {error}")
                continue
            yield Picture(path.relative_to(folder).as_posix(), image)

    def frames(self, exif: str) -> Iterator[Picture]:
        """The frames of the video, turned as its container says where pictures are."""
        cv2 = opencv(f"the video {self.path}")
        with closing(Capture(cv2, self.path)) as capture:
            capture.device.set(cv2.CAP_PROP_ORIENTATION_AUTO, float(exif == "apply"))
            number, left = 0, math.inf if self.limit is None else self.limit
            while left > 0 and capture.device.grab():
                if number % self.every == 0:
                    good, pixels = capture.device.retrieve()
                    if not good:
                        break
                    yield Picture(self.path.name, Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)), number)
                    left -= 1
                number += 1

    @property
    def count(self) -> int:
        """How many pictures there are, as far as a video says. Raises `UserError` where that cannot be read."""
        if not self.video:
            return len(self.picked)
        cv2 = opencv(f"the video {self.path}")
        with closing(Capture(cv2, self.path)) as capture:
            total = math.ceil(max(capture.device.get(cv2.CAP_PROP_FRAME_COUNT), 0) / self.every)
        return total if self.limit is None else min(total, self.limit)

    @property
    def rate(self) -> float:
        """Pictures a second of the video."""
        with closing(Capture(opencv(f"the video {self.path}"), self.path)) as capture:
            return capture.rate / self.every


class Capture:
    """An open video, with its frames a second. Raises `UserError` where OpenCV cannot read it."""

    def __init__(self, cv2: Any, path: Path) -> None:
        self.device = cv2.VideoCapture(str(path))
        if not self.device.isOpened() or self.device.get(cv2.CAP_PROP_FRAME_WIDTH) < 1:
            raise UserError(
                f"cannot read the video {path}: it is damaged, or of a codec that OpenCV lacks; save it as mp4"
            )
        width, height = (int(self.device.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        refuse_pixels(width, height, f"a frame of {path}")
        self.rate = self.device.get(cv2.CAP_PROP_FPS) or 25.0
        self.close = self.device.release


class Writer:
    """A video that is written frame by frame, opened by the first one."""

    def __init__(self, path: Path, rate: float) -> None:
        self.cv2, self.path, self.rate = opencv("a video"), path, rate
        self.device: Any = None

    def write(self, image: Image.Image) -> None:
        """Add a frame. Raises `UserError` where OpenCV cannot write mp4."""
        if self.device is None:
            code = self.cv2.VideoWriter.fourcc(*"mp4v")
            self.device = self.cv2.VideoWriter(str(self.path), code, self.rate, image.size)
            if not self.device.isOpened():
                raise UserError(
                    f"this OpenCV cannot write {self.path.name} of {image.size}: pip install 'bel-sweeps[video]'"
                )
        self.device.write(self.cv2.cvtColor(np.asarray(image), self.cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """End the video."""
        if self.device is not None:
            self.device.release()


def opencv(what: str) -> Any:
    """OpenCV. Raises `UserError` where it is not installed."""
    try:
        return importlib.import_module("cv2")
    except ImportError:
        raise UserError(f"{what} needs OpenCV: pip install 'bel-sweeps[video]'") from None


def refuse_no_picture(path: Path) -> None:
    """Raise `UserError` for a video among pictures, and for what is no file, or cannot be asked."""
    if path.is_dir():
        raise UserError(f"{path} is a link to a folder, or a folder that cannot be read: give it alone as SOURCE")
    if not path.is_file():
        raise UserError(absent(path) if path.is_symlink() or not path.exists() else f"{path} is no file")
    if path.suffix.lower() in VIDEOS:
        raise UserError(f"{path} is a video: give it alone as SOURCE")


def below(folder: Path) -> tuple[list[Path], list[Path]]:
    """What may be a picture below a folder, and what is hidden there or lies beside pictures, in the order of their names."""
    found: list[Path] = []
    beside: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=lambda error: found.append(Path(error.filename))):
        links = [name for name in folders if name[0] == "." or os.path.islink(os.path.join(place, name))]
        for path in (Path(place, name) for name in names + links):
            (beside if path.name[0] == "." or path.suffix.lower() in BESIDE else found).append(path)
        folders[:] = [name for name in folders if name[0] != "."]
    return sorted(found), sorted(beside)


def open_source(path: Path, every: int, limit: int | None) -> Source:
    """What a path holds. Raises `UserError` where there is no picture."""
    if path.is_dir():
        found, beside = below(path)
        if not found:
            raise UserError(f"no image in {path} or below: SOURCE is a folder of images, an image or a video")
        return Source(path, tuple(found), every, limit, tuple(beside))
    if not path.is_file():
        raise UserError(f"{path} does not exist: SOURCE is an image, a folder of images or a video")
    if path.suffix.lower() in VIDEOS:
        return Source(path, (), every, limit)
    if path.suffix.lower() in BESIDE:
        raise UserError(f"SOURCE must be a folder of images, an image or a video, got {path}")
    return Source(path, (path,), every, limit)
