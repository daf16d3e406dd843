"""The command `bel-data`: render, check, prepare and describe image data."""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bel.config import TrainConfig
from bel.data.checking.folder import check
from bel.data.checking.report import Report
from bel.data.images import EXIF
from bel.data.labels import label_rows, sketch
from bel.data.loading import request
from bel.data.prepare.build import Progress
from bel.data.prepare.prepared import Prepared, prepare, verify
from bel.data.protocols import PARTS, normal_form, protocol_of
from bel.data.readers.base import Source
from bel.data.synthetic import LAYOUTS, synthesise
from bel.errors import UserError
from bel.files import refuse_folder
from bel.output import Answer, add_format, answering, command, command_parser

CHOSEN = (
    "protocol",
    "data_root",
    "cache_dir",
    "crop",
    "margin",
    "boxes",
    "on_missing",
    "exif",
    "image_size",
    "frame_stride",
    "plugins",
)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Render, check, prepare and describe image data; 1 where a check finds what would corrupt a result."""
    parser = command_parser("bel-data", "Make, check and prepare image data.")
    commands = parser.add_subparsers(required=True)
    add_synth(commands.add_parser("synth", help="render heads with known yaw, pitch and roll"))
    add_check(commands.add_parser("check", help="report what in a data folder would corrupt a result"))
    add_prepare(commands.add_parser("prepare", help="decode, crop and resize all images of a protocol once"))
    add_labels(commands.add_parser("labels", help="how the labels of a protocol fall on its levels"))
    for sub in commands.choices.values():
        add_format(sub)
    arguments = parser.parse_args(argv)
    with answering(arguments.format) as answer:
        code: int = arguments.run(arguments, answer)
    return code


def add_synth(parser: argparse.ArgumentParser) -> None:
    """Options of `bel-data synth`."""
    parser.add_argument("--layout", required=True, help=f"on-disk layout: {' or '.join(LAYOUTS)}")
    parser.add_argument("--out", type=Path, required=True, help="folder for the data; it becomes a data_root")
    parser.add_argument("--subjects", type=int, default=20, help="people (%(default)s)")
    parser.add_argument("--frames", type=int, default=100, help="images of each (%(default)s)")
    parser.add_argument("--size", type=int, default=128, help="side of an image in pixels (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="everything random (%(default)s)")
    parser.add_argument(
        "--roll", type=float, help="turn heads up to so many degrees either way, 180: a whole turn (layout csv)"
    )
    parser.set_defaults(run=synth)


def synth(a: argparse.Namespace, answer: Answer) -> int:
    """Render a data set of heads with known pose, in the layout of a real one."""
    with tqdm(desc=f"rendering {a.layout}", unit=" images", delay=0.5) as progress:

        def show(done: int, total: int) -> None:
            progress.total = total
            progress.update(done - progress.n)

        synthesise(a.layout, a.out, a.subjects, a.frames, a.size, a.seed, progress=show, roll=a.roll)
    answer.values = {"layout": a.layout, "subjects": a.subjects, "data_root": a.out}
    answer.say(f"{a.layout} data of {a.subjects} subjects: data_root {a.out}")
    return 0


def add_data(parser: argparse.ArgumentParser) -> None:
    """Options for data and pixels, named as in a config."""
    for f in [f for f in fields(TrainConfig) if f.name in CHOSEN]:
        text = f"{f.metadata['help']} ({f.default})" + (" in a JSON file" if f.name == "protocol" else "")
        parser.add_argument(f"--{f.name.replace('_', '-')}", default=argparse.SUPPRESS, metavar="", help=text)
    parser.add_argument("--part", choices=PARTS, help="only this half of the protocol (both)")


def config_of(a: argparse.Namespace, **more: Any) -> TrainConfig:
    """Return a config with the data fields of the options."""
    given = {name: value for name, value in vars(a).items() if name in CHOSEN}
    if "protocol" in given:
        given["protocol"] = read_protocol(given["protocol"])
    return TrainConfig.make({"head": "direct"} | given | more)


def read_protocol(value: str) -> Any:
    """Return a protocol's name, or the mapping in a JSON file. Raises `UserError` for an invalid file."""
    if not value.endswith(".json"):
        return value
    try:
        return json.loads(Path(value).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"cannot read the protocol {value}: {error}; write a mapping as in a sweep, as JSON") from error


def bar(what: str) -> Progress:
    """Return a progress bar with the remaining time."""

    def show(items: Iterable[Any], total: int) -> Iterable[Any]:
        return tqdm(items, total=total, desc=what, unit=" images", delay=0.5)

    return show


def add_prepare(parser: argparse.ArgumentParser) -> None:
    """Options of `bel-data prepare`."""
    add_data(parser)
    parser.add_argument("--workers", type=int, default=None, help="processes (one for each core)")
    parser.add_argument("--verify", action="store_true", help="read everything back and compare its digest")
    parser.set_defaults(run=prepare_parts)


def prepare_parts(a: argparse.Namespace, answer: Answer) -> int:
    """Prepare what is not prepared yet, and print a summary."""
    config = config_of(a)
    if a.workers is not None and a.workers < 1:
        raise UserError(f"workers must be at least 1, got {a.workers}")
    answer.values = {"protocol": config.protocol_name, "parts": []}
    for part in [a.part] if a.part else PARTS:
        data = prepare(request(config, part), bar(f"preparing {part}"), a.workers)
        if a.verify and not verify(data):
            raise UserError(f"the prepared array {data.folder} is not what was written: delete it, it is made again")
        found = described(part, data) | {"verified": a.verify}
        answer.values["parts"].append(found)
        answer.say(
            f"{part}: {found['images']} images of {found['groups']} groups, {found['width']} x {found['height']} px, "
            f"{data.left_out} beyond the limit, {data.skipped} skipped, content {data.digest}"
            f"{' verified' if a.verify else ''}\n  {data.folder}"
        )
    return 0


def described(part: str, data: Prepared) -> dict[str, Any]:
    """Return the summary of a prepared part in plain values."""
    height, width = data.images.shape[1:3]
    counts = {"images": len(data), "groups": len(set(data.groups)), "width": int(width), "height": int(height)}
    left = {"beyond_limit": data.left_out, "skipped": data.skipped}
    return {"part": part} | counts | left | {"data_digest": data.digest, "folder": data.folder}


def add_labels(parser: argparse.ArgumentParser) -> None:
    """Options of `bel-data labels`."""
    add_data(parser)
    parser.add_argument("--code-bits", type=int, default=None, help="levels on the widest axis (one per degree)")
    parser.set_defaults(run=show_labels)


def show_labels(a: argparse.Namespace, answer: Answer) -> int:
    """Print the range, the share clamped and a histogram of the levels of each axis."""
    config = config_of(a, head="bel", code="u", code_bits=a.code_bits)
    answer.values = {"protocol": config.protocol_name, "parts": []}
    for part in [a.part] if a.part else PARTS:
        data: Prepared = prepare(request(config, part), bar(f"preparing {part}"))
        groups = len(set(data.groups))
        rows = label_rows(data.targets, config.axes)
        answer.values["parts"].append({"part": part, "images": len(data), "groups": groups, "labels": rows})
        answer.say(f"{config.protocol_name} {part}: {len(data)} images of {groups} groups\n{sketch(rows)}")
    return 0


def add_check(parser: argparse.ArgumentParser) -> None:
    """Options of `bel-data check`."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="a data_root, or the folder of one data set")
    parser.add_argument("--protocol", help="a protocol's name, or own data's mapping in a JSON file (what is found)")
    parser.add_argument(
        "--exif", choices=EXIF, help="turn images as their EXIF says (as training on the usual crop does)"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/check"), help="folder of report and sheet (%(default)s)")
    parser.add_argument("--fix-list", type=Path, help="write the usable list: a file, or a folder where there are two")
    parser.set_defaults(run=check_folder)


def check_folder(a: argparse.Namespace, answer: Answer) -> int:
    """Print the findings, write them with a picture sheet, and with --fix-list the lists of usable images."""
    value = None if a.protocol is None else normal_form(read_protocol(a.protocol))
    name = value["name"] if isinstance(value, dict) else value or ""
    if a.fix_list and isinstance(value, dict):
        raise UserError("--fix-list is for published data; for a table of your own set on_missing to skip")
    refuse_folder("--out", a.out)
    if a.fix_list:
        refuse_folder("the folder of --fix-list", a.fix_list.parent)
    report = check(a.folder, protocol_of(value) if value else None, name, bar("checking"), exif=a.exif)
    values, files = report.as_dict(), {"report": a.out / "report.json", "sheet": a.out / "sheet.png"}
    answer.values = values | files | {"lists": []}
    answer.say(report.table())
    a.out.mkdir(parents=True, exist_ok=True)
    files["report"].write_text(json.dumps(values, indent=1), encoding="utf-8")
    report.write_sheet(files["sheet"])
    answer.say(f"\nall of it: {files['report']}, images with their labels: {files['sheet']}")
    if a.fix_list:
        write_lists(report, a.fix_list, answer)
    return int(report.corrupt)


def write_lists(report: Report, out: Path, answer: Answer) -> None:
    """Write the usable stems of each source into the file `out`, or into a folder under the names of the lists."""
    sources = [half.source for half in report.halves]
    for source in sources:
        path = out if len(sources) == 1 and not out.is_dir() else out / list_name(source, sources)
        path.parent.mkdir(parents=True, exist_ok=True)
        stems = report.usable_list(source)
        path.write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")
        answer.values["lists"].append({"source": source.name, "file": path, "images": len(stems)})
        answer.say(
            f"{path}: {len(stems)} usable images of {source.name}; used where it is {source.filelist} in the data folder"
        )


def list_name(source: Source, sources: Sequence[Source]) -> str:
    """Return the published name of a source's list, below a folder of the source where two lists have the same name."""
    twice = [other.filelist for other in sources].count(source.filelist) > 1
    return f"{source.name}/{source.filelist}" if twice else source.filelist
