"""Predictions of a trained network on anyone's pictures: `bel-predict SOURCE --run-id ID`, as numbers and drawn in.

SOURCE is an image, a folder of images (with the folders below it, in the order of their names), or a video. Each picture, or
each box in it, is cut as the network's training images were.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import torch
from tqdm import tqdm

from bel.errors import UserError, within
from bel.files import replacing
from bel.text import harmless
from bel.training import checkpoint
from results.predict.album import Album
from results.predict.faces import Find, detector, grown, landmarked, listed
from results.predict.frames import Source, open_source
from results.predict.looks import Tally, chunks, look_at, predict
from results.retest.evaluate import settings
from results.retest.export import one_run
from results.retest.subject import Subject, fetch_state, open_subject
from results.store.faults import store_command

FOLDER = Path("runs/predict")
FREE = ("device", "eval_batch_size")
ENOUGH = 0.98  # of the frames that a video announces, which some only estimate
FAILED = "not_predicted.txt"
SHOWN = 10  # lines on pictures that could not be used


@store_command
def main(argv: Sequence[str] | None = None) -> int:
    """Predict pictures, and write a table and annotated pictures; 1 where some of several could not be read."""
    arguments = parse(argv)
    source = open_source(arguments.source, arguments.every, arguments.limit)
    find = finder(arguments)
    refuse_folder(arguments.out, source)
    changes = settings(arguments.set, FREE)
    if source.video:
        _ = source.count  # before a network is fetched for a video that cannot be read
    if arguments.run_id is None:
        subject = open_subject(checkpoint.load(arguments.checkpoint), changes)
    else:
        run = one_run(arguments.run_id)
        subject = open_subject(fetch_state(run), changes, run)
    remark(subject, find is not None)
    start = time.monotonic()
    out = claimed(arguments.out)
    with written(out) as folder:
        tally = predict_all(subject, source, find, folder)
    say(tally, source, out, time.monotonic() - start)
    return int(bool(tally.failed))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options. Raises `UserError` for numbers out of range, and for one without what it belongs to."""
    parser = argparse.ArgumentParser(
        prog="bel-predict",
        description="Predict pictures with a trained network. Each picture, or each box in it, is cut as the "
        "network's training images were, and turned upright as its EXIF says if those were.",
        epilog="Written: predictions.csv (units, and std_: the posterior's standard deviation, of heads that have "
        "one), pictures/ or annotated.mp4, of a folder sheet.jpg, and not_predicted.txt where there is such. "
        "Exit code 1: some pictures could not be used; 2: nothing was written.",
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="image, folder of images (and those below), video")
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--run-id", help="MLflow id of a trial, or of a sweep (its best trial)")
    model.add_argument("--checkpoint", type=Path, metavar="FILE", help="checkpoint file, without MLflow")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help=f"new or empty folder; default: {FOLDER}, or -2, -3, ..."
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE",
        help="CSV of image,x0,y0,x1,y1 in pixels, several lines an image allowed (of a video: the frame's number, from 0); "
        "default: the whole image",
    )
    where.add_argument("--detect", action="store_true", help="look for upright frontal faces (OpenCV's Haar cascade)")
    parser.add_argument(
        "--grow", type=float, metavar="SHARE", help="of a box's sides, added on every side first; below 0 taken off"
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th picture or frame")
    parser.add_argument("--limit", type=int, metavar="N", help="N pictures or frames at most")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=f"one of {', '.join(FREE)}")
    arguments = parser.parse_args(argv)
    within("--every", arguments.every, 1, math.inf)
    within("--limit", arguments.limit, 1, math.inf)
    within("--grow", arguments.grow, -0.45, 10)
    if arguments.grow is not None and arguments.boxes is None and not arguments.detect:
        raise UserError("--grow is of boxes: add --boxes FILE or --detect, or leave it out")
    return arguments


def finder(arguments: argparse.Namespace) -> Find | None:
    """How boxes are found; None for whole pictures."""
    if arguments.boxes is None and not arguments.detect:
        return None
    return grown(detector() if arguments.detect else listed(arguments.boxes), arguments.grow or 0.0)


def refuse_folder(out: Path | None, source: Source) -> None:
    """Raise `UserError` where a folder to write holds something, or is where the pictures are looked for."""
    if out is not None and out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"--out must be a new or an empty folder, {out} is {'not empty' if out.is_dir() else 'a file'}")
    place = out or FOLDER
    if source.path.is_dir() and place.resolve().is_relative_to(source.path.resolve()):
        raise UserError(f"--out {place} is in {source.path}, where pictures are looked for: choose a folder elsewhere")


def remark(subject: Subject, boxed: bool) -> None:
    """Say where pictures are cut otherwise than training images were."""
    config = subject.config
    if config.exif == "ignore":
        print("note: the network was trained on images as stored: none is turned as its EXIF says", file=sys.stderr)
    on_boxes = config.crop in ("boxes", "landmarks") or (config.crop == "published" and landmarked(config))
    if on_boxes and not boxed:
        where = "boxes" if config.crop == "boxes" else "landmarks"
        note = f"squares around {where}, and sees whole pictures here: where they hold more, give --boxes or --detect"
    elif boxed and not on_boxes:
        note = "whole images, and sees boxes here: each should hold as much as one of those did, see --grow"
    else:
        return
    print(f"note: the network was trained on {note}", file=sys.stderr)


def claimed(out: Path | None) -> Path:
    """The folder to fill, made if it is not there; without one the first new of predict, predict-2, ..."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        return out
    for number in itertools.count(1):
        folder = FOLDER if number == 1 else FOLDER.with_name(f"{FOLDER.name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            break
    return folder


@contextmanager
def written(out: Path) -> Iterator[Path]:
    """A folder that takes the place of `out`, an empty one, when all is in it; neither is left where something fails."""
    try:
        with replacing(out.absolute()) as work:
            work.mkdir()
            yield work
    except BaseException:
        with suppress(OSError):
            out.rmdir()
        raise


def predict_all(subject: Subject, source: Source, find: Find | None, folder: Path) -> Tally:
    """Predict every picture of a source into a folder. Raises `UserError` where there is nothing to predict."""
    tally, config = Tally(), subject.config
    bar = tqdm(total=source.count, unit=" pictures", delay=0.5, disable=None)
    with bar, closing(Album(folder, source, config)) as album:
        for chunk in chunks(source.pictures(tally.failed.append, config.exif or "apply"), config.eval_batch_size):
            looks = [look for picture in chunk if (look := look_at(picture, find, subject, tally))]
            pixels = [each for look in looks for each in look.pixels]
            values, std = predict(subject, pixels) if pixels else (torch.empty(0, len(config.axes)), None)
            first = 0
            for look in looks:
                rows = slice(first, first := first + len(look.boxes))
                album.add(look, values[rows].tolist(), None if std is None else std[rows].tolist())
            tally.pictures += len(looks)
            tally.predictions += first
            bar.update(len(chunk))
        if not tally.predictions:
            raise UserError(nothing(tally))
    if tally.failed:
        (folder / FAILED).write_text("".join(f"{harmless(line)}\n" for line in tally.failed), encoding="utf-8")
    return tally


def nothing(tally: Tally) -> str:
    """Why nothing was predicted, and what to do."""
    if tally.failed:
        return f"none of {tally.pictures + len(tally.failed)} pictures can be used, the first: {tally.failed[0]}"
    if not tally.pictures:
        return "the video holds no frame that can be read: save it as mp4"
    return (
        f"there is no box in any picture, of {tally.pictures}: with --boxes, name them as they are below SOURCE; --detect "
        "finds upright frontal faces alone, give --boxes of others"
    )


def say(tally: Tally, source: Source, out: Path, seconds: float) -> None:
    """Name the pictures that could not be used, then sum up in a line."""
    for line in tally.failed[:SHOWN]:
        print(f"not predicted: {harmless(line)}", file=sys.stderr)
    if len(tally.failed) > SHOWN:
        print(f"not predicted: {len(tally.failed) - SHOWN} more, all of them are in {out / FAILED}", file=sys.stderr)
    done = tally.pictures + len(tally.failed)
    if source.video and done < ENOUGH * source.count:
        print(
            f"note: {done} of the {source.count} frames that the video announces can be read: is it whole?",
            file=sys.stderr,
        )
    what = "frames" if source.video else "pictures"
    counts = f"{tally.predictions} predictions of {tally.pictures} {what}"
    counts += f", {tally.without} without a box" if tally.without else ""
    counts += f", {len(tally.failed)} not predicted" if tally.failed else ""
    beside = [path.relative_to(source.path).as_posix() for path in source.beside]
    others = f"; {len(beside)} files are no pictures: {', '.join(beside[:3])}" if beside else ""
    others += ", ..." if len(beside) > 3 else ""
    print(harmless(f"{counts}, in {out}, {tally.pictures / seconds:.1f} images/s{others}"))
