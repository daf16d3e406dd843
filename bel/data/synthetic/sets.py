"""Write a rendered set to disk, or reuse a complete one; refuse a folder that holds other files."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from PIL import Image

from bel.data.synthetic.identity import draw_traits
from bel.data.synthetic.layouts import COLUMNS, ENDINGS, LAYOUTS, PLANS, TABLE, Request, Sitter, label
from bel.data.synthetic.mesh import build_head
from bel.data.synthetic.render import FOCAL
from bel.data.synthetic.scene import Scene, draw_scene, relight, shoot
from bel.errors import UserError, one_of, within
from bel.files import replacing

RENDERER = 1  # raise it whenever the same arguments would give other files
SMALLEST_HEAD, LARGEST_HEAD = 0.4, 0.8  # of the picture's height; drawn for each frame where the distance is a target
LEAST = {"subjects": 2, "frames": 1, "size": 32, "seed": 0}


def synthesise(
    layout: str,
    out: Path,
    subjects: int,
    frames: int,
    size: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
    roll: float | None = None,
) -> Path:
    """Render `frames` pictures of `size` pixels for each of `subjects` identities below `out`; return the manifest.

    `layout` is `biwi` (30 % of the subjects are the test list), `300w_lp` (AFLW2000 is added with 30 % as many
    pictures) or `csv` (one table, with the distance in cm and a box; with a `roll` turned up to so many degrees either way,
    180 for a whole turn, the body too). A whole set of the same arguments is left as it is. `progress(done, total)` is
    called after each picture. Raises `UserError` for wrong arguments, for a set of other arguments and for files that are
    not of this set.
    """
    request = Request(layout, subjects, frames, size, seed, roll)
    check(request, out)
    sitters, lists = PLANS[layout](request)
    stems = [stem for sitter in sitters for stem in sitter.stems]
    files = {out / f"{stem}{ending}" for stem in stems for ending in ENDINGS[layout]} | {out / name for name in lists}
    manifest, wanted = out / f"{layout}-manifest.json", {"renderer": RENDERER, **asdict(request)}
    if is_complete(manifest, wanted, files):
        return manifest
    refuse_other_files(out, layout, files)
    manifest.unlink(missing_ok=True)
    rows = write_pictures(out, request, sitters, lambda done: progress(done, len(stems)) if progress else None)
    for name, lines in lists.items():
        (out / name).write_text("\n".join(rows if name == TABLE else lines) + "\n")
    given = {name: value for name, value in wanted.items() if value is not None}  # as before there was `roll`
    described = {**given, "images": {name: len(lines) for name, lines in lists.items()}, "focal_over_size": FOCAL}
    with replacing(manifest) as unfinished:  # last: where there is a manifest, the set is complete
        unfinished.write_text(json.dumps(described, indent=2) + "\n")
    return manifest


def write_pictures(
    out: Path, request: Request, sitters: Sequence[Sitter], progress: Callable[[int], None]
) -> list[str]:
    """Write the pictures of all sitters and their labels; return the rows of the table, of layout csv."""
    rows = [",".join(COLUMNS)]
    pictures = (picture for sitter in sitters for picture in photograph(sitter, request))
    for done, (stem, picture, content) in enumerate(pictures, 1):
        write(out, request.layout, stem, picture, content)
        if request.layout == "csv":
            rows.append(content.decode())
        progress(done)
    return rows


def check(request: Request, out: Path) -> None:
    """Raise `UserError` on arguments that cannot be rendered or a folder that cannot be written."""
    one_of("layout", request.layout, LAYOUTS)
    for name, least in LEAST.items():
        value = getattr(request, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UserError(f"{name} must be a whole number of at least {least}, got {value!r}")
    if request.roll is not None and request.layout != "csv":
        raise UserError(f"roll is of layout csv, got layout {request.layout}: leave roll out, or set layout to csv")
    if request.roll is not None:
        within("roll", request.roll, 0, 180)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out must be a folder that can be written, got {str(out)!r}: {error.strerror}") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise UserError(f"out must be a folder that can be written, got {str(out)!r}: permission denied")


def is_complete(manifest: Path, wanted: dict[str, object], files: set[Path]) -> bool:
    """Return whether `manifest` and all `files` are there. Raises `UserError` if it is of other arguments."""
    if not manifest.exists():
        return False
    try:
        there = json.loads(manifest.read_text())
    except (OSError, ValueError):
        there = {}
    held = {name: there.get(name) if isinstance(there, dict) else None for name in wanted}
    if held != wanted:
        raise UserError(
            f"{manifest} holds a set rendered with {held}, asked for was {wanted}: "
            "ask for the same, choose another --out, or delete that file and the folders beside it"
        )
    return all(file.exists() for file in files)


def refuse_other_files(out: Path, layout: str, files: set[Path]) -> None:
    """Raise `UserError` if a folder of the layout holds files that this set would not write, such as the real data."""
    folders = [out / name for name in LAYOUTS[layout]]
    others = sorted(p for folder in folders for p in folder.rglob("*") if p.is_file() and p not in files)
    if others:
        raise UserError(
            f"{others[0]} (and {len(others) - 1} more files) is not part of this set: "
            f"choose another --out, or delete {' and '.join(map(str, folders))} first"
        )


def photograph(sitter: Sitter, request: Request) -> Iterator[tuple[str, np.ndarray, bytes]]:
    """Yield stem, picture (size, size, 3) uint8 and label of each picture of one identity."""
    rng = request.generator(sitter.stream, 0)
    traits = draw_traits(rng)
    head, scene = build_head(traits, rng), draw_scene(rng, request.size, wild=request.layout != "biwi")
    for frame, (stem, pose) in enumerate(zip(sitter.stems, sitter.poses, strict=True)):
        rng = request.generator(sitter.stream, 2, frame)
        shot = shoot(head, restage(scene, request, rng), pose, rng)
        yield stem, shot.picture, label(request.layout, stem, head, shot)


def restage(scene: Scene, request: Request, rng: np.random.Generator) -> Scene:
    """Return the scene of one picture: the same for views of a photograph, else with other light, for csv and distance."""
    if request.layout == "300w_lp":
        return scene
    lit = replace(scene, light=relight(scene, rng))
    if request.layout == "biwi":
        return lit
    roll = scene.body_roll if request.roll is None else 1.0  # whole, so that a turn ends where it began
    return replace(
        lit, body_roll=roll, fill=rng.uniform(SMALLEST_HEAD, LARGEST_HEAD), fills=(SMALLEST_HEAD, LARGEST_HEAD)
    )


def write(out: Path, layout: str, stem: str, picture: np.ndarray, label: bytes) -> None:
    """Write a picture below `out`, and its label where the layout has a file for it."""
    image, *texts = (out / f"{stem}{ending}" for ending in ENDINGS[layout])
    image.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(image, quality=95, compress_level=2)
    for text in texts:
        text.write_bytes(label)
