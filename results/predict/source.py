"""What `bel-predict` reads and writes: the pictures of a file, a folder or a video, one after the other, and a video."""

import importlib
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bel.data.images import decoded, refuse_pixels
from bel.data.readers.base import absent
from bel.errors import UserError

# Suffixes of files that are no pictures; every other file of a folder is taken for one.
NO_PICTURES = (
    ".txt", ".csv", ".tsv", ".json", ".jsonl", ".yaml", ".yml", ".xml", ".html", ".md", ".log", ".ini", ".db", ".mat", ".npy",
    ".npz", ".pt", ".pth", ".parquet", ".xlsx", ".py",
)  # fmt: skip
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")

# Our error message says what is wrong with a video, not OpenCV's log.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@dataclass(frozen=True)
class Picture:
    """An RGB image with its name in the source; of a video with the number of its frame, from 0."""

    name: str
    image: Image.Image
    frame: int | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """Its names in a file of boxes: its name, also without the suffix, or the number of its frame."""
        return (self.name, Path(self.name).with_suffix("").as_posix()) if self.frame is None else (str(self.frame),)


@dataclass(frozen=True)
class Source:
    """Where pictures come from: files below a folder, or a video; every `every`-th one, `limit` of them at most.

    `count` is how many pictures there are, as far as a video announces, `rate` those a second of a video. `others` are
    files of the folder that are hidden, or no pictures by their suffix.
    """

    path: Path
    every: int
    limit: int | None
    files: tuple[Path, ...] = ()
    others: tuple[Path, ...] = ()
    count: int = 0
    rate: float = 0.0

    @property
    def video(self) -> bool:
        """Whether it is a video."""
        return not self.files

    def pictures(self, failed: Callable[[str], None], exif: str) -> Iterator[Picture]:
        """Yield every picture that can be read, upright if `exif` is `apply`; `failed` is called with why another cannot."""
        return self.frames(exif) if self.video else self.opened(failed, exif)

    def opened(self, failed: Callable[[str], None], exif: str) -> Iterator[Picture]:
        """Yield the pictures of the files."""
        folder = self.path if self.path.is_dir() else self.path.parent
        for path in self.files:
            try:
                refuse_no_picture(path)
                image = decoded(path, exif)
            except (UserError, OSError) as error:
                failed(str(error) if str(path) in str(error) else f"{path}: {error}")
                continue
            yield Picture(path.relative_to(folder).as_posix(), image)

    def frames(self, exif: str) -> Iterator[Picture]:
        """Yield the frames of the video, turned as its container says where `exif` is `apply`."""
        with opened_video(self.path) as (cv2, capture):
            capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, float(exif == "apply"))
            number, left = 0, math.inf if self.limit is None else self.limit
            while left > 0 and capture.grab():
                if number % self.every == 0:
                    good, pixels = capture.retrieve()
                    if not good:
                        break
                    yield Picture(self.path.name, Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)), number)
                    left -= 1
                number += 1


@contextmanager
def opened_video(path: Path) -> Iterator[tuple[Any, Any]]:
    """OpenCV, and its capture of a video. Raises `UserError` where it cannot read that."""
    cv2 = opencv(f"the video {path}")
    capture = cv2.VideoCapture(str(path))
    try:
        width, height = (int(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if not capture.isOpened() or width < 1:
            raise UserError(
                f"cannot read the video {path}: it is damaged, or of a codec that OpenCV lacks; save it as mp4"
            )
        refuse_pixels(width, height, f"a frame of {path}")
        yield cv2, capture
    finally:
        capture.release()


class VideoWriter:
    """A video that is written frame by frame; the first one decides its size."""

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
    """Return the module of OpenCV. Raises `UserError` where it is not installed."""
    try:
        return importlib.import_module("cv2")
    except ImportError:
        raise UserError(f"{what} needs OpenCV: pip install 'bel-sweeps[video]'") from None


def refuse_no_picture(path: Path) -> None:
    """Raise `UserError` for a video among pictures, and for what is no file."""
    if path.is_dir():
        raise UserError(f"{path} is a link to a folder, or a folder that cannot be read: give it alone as SOURCE")
    if not path.is_file():
        raise UserError(absent(path) if path.is_symlink() or not path.exists() else f"{path} is no file")
    if path.suffix.lower() in VIDEOS:
        raise UserError(f"{path} is a video: give it alone as SOURCE")


def files_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return what may be a picture below a folder, and what is hidden or no picture by its suffix, in order of the names."""
    found: list[Path] = []
    others: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=lambda error: found.append(Path(error.filename))):
        links = [name for name in folders if name[0] == "." or os.path.islink(os.path.join(place, name))]
        for path in (Path(place, name) for name in names + links):
            (others if path.name[0] == "." or path.suffix.lower() in NO_PICTURES else found).append(path)
        folders[:] = [name for name in folders if name[0] != "."]
    return sorted(found), sorted(others)


def open_source(path: Path, every: int, limit: int | None) -> Source:
    """Return the pictures of a path. Raises `UserError` where there is none, or a video that cannot be read."""
    found, others = files_below(path) if path.is_dir() else ([path], [])
    if not found:
        raise UserError(f"no image in {path} or below: SOURCE is a folder of images, an image or a video")
    if not path.is_dir():
        if not path.is_file():
            raise UserError(f"{path} does not exist: SOURCE is an image, a folder of images or a video")
        if path.suffix.lower() in VIDEOS:
            return open_video(path, every, limit)
        if path.suffix.lower() in NO_PICTURES:
            raise UserError(f"SOURCE must be a folder of images, an image or a video, got {path}")
    files = tuple(found[::every][:limit])
    return Source(path, every, limit, files, tuple(others), len(files))


def open_video(path: Path, every: int, limit: int | None) -> Source:
    """Return the frames of a video. Raises `UserError` where it cannot be read."""
    with opened_video(path) as (cv2, capture):
        count = math.ceil(max(capture.get(cv2.CAP_PROP_FRAME_COUNT), 0) / every)
        rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
    return Source(path, every, limit, count=count if limit is None else min(count, limit), rate=rate / every)
