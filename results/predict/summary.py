"""What `bel-predict` says at its end: how many pictures it predicted, and which not."""

import sys
from pathlib import Path
from typing import Any

from bel.text import harmless
from results.predict import inference
from results.predict.output import TABLE
from results.predict.source import Source

ENOUGH = 0.98  # of the frames that a video announces, which some only estimate
FAILED = "not_predicted.txt"
SHOWN = 10  # lines on pictures that could not be used


def why_nothing(counts: inference.Counts) -> str:
    """Return why nothing was predicted, and what to do."""
    if counts.failed:
        return f"none of {counts.pictures + len(counts.failed)} pictures can be used, the first: {counts.failed[0]}"
    if not counts.pictures:
        return "the video holds no frame that can be read: save it as mp4"
    return (
        f"there is no box in any picture, of {counts.pictures}: with --boxes, name them as they are below SOURCE; --detect "
        "finds upright frontal faces alone, give --boxes of others"
    )


def values_of(
    counts: inference.Counts,
    source: Source,
    out: Path,
    seconds: float,
    network: inference.Network,
) -> dict[str, Any]:
    """Return what was predicted, and what was not, in plain values."""
    return {
        "folder": out,
        "table": out / TABLE,
        "units": {axis.name: axis.unit for axis in network.loaded.config.axes},
        "interval": network.calibration.level if network.calibration else None,
        "kind": "frames" if source.video else "pictures",
        "pictures": counts.pictures,
        "predictions": counts.predictions,
        "without_box": counts.without_box,
        "images_per_s": counts.pictures / seconds,
        "not_predicted": list(counts.failed),
        "not_pictures": [path.relative_to(source.path).as_posix() for path in source.others],
    }


def print_problems(found: dict[str, Any], source: Source) -> None:
    """Print the first pictures that could not be used."""
    failed = found["not_predicted"]
    for line in failed[:SHOWN]:
        print(f"not predicted: {harmless(line)}", file=sys.stderr)
    if len(failed) > SHOWN:
        where = found["folder"] / FAILED
        print(f"not predicted: {len(failed) - SHOWN} more, all of them are in {where}", file=sys.stderr)
    done = found["pictures"] + len(failed)
    if source.video and done < ENOUGH * source.count:
        print(
            f"note: {done} of the {source.count} frames that the video announces can be read: is it whole?",
            file=sys.stderr,
        )


def summary(found: dict[str, Any]) -> str:
    """Return a line on all pictures."""
    failed, names = len(found["not_predicted"]), found["not_pictures"]
    text = f"{found['predictions']} predictions of {found['pictures']} {found['kind']}"
    text += f", {found['without_box']} without a box" if found["without_box"] else ""
    text += f", {failed} not predicted" if failed else ""
    text += f", in {found['folder']}, {found['images_per_s']:.1f} images/s"
    if names:
        text += f"; {len(names)} files are no pictures: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
    return harmless(text)
