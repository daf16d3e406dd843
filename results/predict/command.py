"""Predictions of a trained network on anyone's pictures: `bel-predict SOURCE --run-id ID`, as numbers and drawn in.

SOURCE is an image, a folder of images (with the folders below it, in the order of their names), or a video. Each picture, or
each box in it, is cut as the network's training images were.
"""

import argparse
import itertools
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from tqdm import tqdm

from bel.config import TrainConfig
from bel.deploy.crop import has_landmarks
from bel.errors import UserError, within
from bel.files import replacing
from bel.output import Answer, add_format, answering, command_parser
from bel.text import harmless
from results.predict import inference
from results.predict.output import Output
from results.predict.source import Source, open_source
from results.predict.summary import FAILED, print_problems, summary, values_of, why_nothing
from results.retest.evaluate import add_settings, settings
from results.retest.loaded_checkpoint import add_source, read_state
from results.store.faults import store_command

FOLDER = Path("runs/predict")
FREE = ("device", "eval_batch_size")


@store_command
def main(argv: Sequence[str] | None = None) -> int:
    """Predict pictures, and write a table and annotated pictures; 1 where some of several could not be read."""
    arguments = parse(argv)
    with answering(arguments.format) as answer:
        return predict(arguments, answer)


def predict(arguments: argparse.Namespace, answer: Answer) -> int:
    """Predict what the options name into a folder."""
    source = open_source(arguments.source, arguments.every, arguments.limit)
    find = box_finder(arguments)
    refuse_folder(arguments.out, source)
    changes = settings(arguments.set, FREE)
    state, run = read_state(arguments)
    network = inference.Network.of(state, run, changes)
    print_notes(network.loaded.config, find is not None)
    start = time.monotonic()
    out = make_folder(arguments.out)
    with replaced_folder(out) as folder:
        counts = predict_all(network, source, find, folder)
    answer.values = values_of(counts, source, out, time.monotonic() - start, network)
    print_problems(answer.values, source)
    answer.say(summary(answer.values))
    return int(bool(counts.failed))


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options. Raises `UserError` for numbers out of range, and for one without what it belongs to."""
    parser = command_parser(
        "bel-predict",
        "Predict pictures with a trained network. Each picture, or each box in it, is cut as the "
        "network's training images were, and turned upright as its EXIF says if those were.",
        epilog="Written: predictions.csv (units, std_: the posterior's standard deviation, of heads that have one, and "
        "lower_, upper_: the ends of intervals, of runs with a calibration), pictures/ or annotated.mp4, of a folder "
        "sheet.jpg, and not_predicted.txt where there is such. "
        "Exit code 1: some pictures could not be used; 2: nothing was written.",
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="image, folder of images (and those below), video")
    add_source(parser)
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
    add_settings(parser, f"one of {', '.join(FREE)}")
    add_format(parser)
    arguments = parser.parse_args(argv)
    within("--every", arguments.every, 1, math.inf)
    within("--limit", arguments.limit, 1, math.inf)
    within("--grow", arguments.grow, -0.45, 10)
    if arguments.grow is not None and arguments.boxes is None and not arguments.detect:
        raise UserError("--grow is of boxes: add --boxes FILE or --detect, or leave it out")
    return arguments


def box_finder(arguments: argparse.Namespace) -> inference.FindBoxes | None:
    """Return the function that finds the boxes of a picture; None for whole pictures."""
    if arguments.boxes is None and not arguments.detect:
        return None
    find = inference.face_detector() if arguments.detect else inference.boxes_of_file(arguments.boxes)
    return inference.grown(find, arguments.grow or 0.0)


def refuse_folder(out: Path | None, source: Source) -> None:
    """Raise `UserError` where a folder to write holds something, or is where the pictures are looked for."""
    if out is not None and out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"--out must be a new or an empty folder, {out} is {'not empty' if out.is_dir() else 'a file'}")
    place = out or FOLDER
    if source.path.is_dir() and place.resolve().is_relative_to(source.path.resolve()):
        raise UserError(f"--out {place} is in {source.path}, where pictures are looked for: choose a folder elsewhere")


def print_notes(config: TrainConfig, boxed: bool) -> None:
    """Print how pictures are cropped unlike the training images."""
    if config.exif == "ignore":
        print("note: the network was trained on images as stored: none is turned as its EXIF says", file=sys.stderr)
    on_boxes = config.crop in ("boxes", "landmarks") or (config.crop == "published" and has_landmarks(config))
    if on_boxes and not boxed:
        where = "boxes" if config.crop == "boxes" else "landmarks"
        note = f"squares around {where}, and sees whole pictures here: where they hold more, give --boxes or --detect"
    elif boxed and not on_boxes:
        note = "whole images, and sees boxes here: each should hold as much as one of those did, see --grow"
    else:
        return
    print(f"note: the network was trained on {note}", file=sys.stderr)


def make_folder(out: Path | None) -> Path:
    """Make the folder to write if it does not exist, and return it; by default the first new of predict, predict-2, ..."""
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
def replaced_folder(out: Path) -> Iterator[Path]:
    """Yield a folder that replaces the empty folder `out` at the end; neither is left where something fails."""
    try:
        with replacing(out.absolute()) as work:
            work.mkdir()
            yield work
    except BaseException:
        with suppress(OSError):
            out.rmdir()
        raise


def predict_all(
    network: inference.Network, source: Source, find: inference.FindBoxes | None, folder: Path
) -> inference.Counts:
    """Predict every picture of a source into a folder. Raises `UserError` where there is nothing to predict."""
    counts, config = inference.Counts(), network.loaded.config
    bar = tqdm(total=source.count, unit=" pictures", delay=0.5, disable=None)
    with bar, closing(Output(folder, source, config, network.calibration is not None)) as output:
        pictures = source.pictures(counts.failed.append, config.exif or "apply")
        for crops, found in network.predicted(pictures, find, counts, bar.update):
            output.add(crops, found)
        if not counts.predictions:
            raise UserError(why_nothing(counts))
    if counts.failed:
        (folder / FAILED).write_text("".join(f"{harmless(line)}\n" for line in counts.failed), encoding="utf-8")
    return counts
