"""Rendered heads of exactly known pose, written in the folder layouts of BIWI and of 300W_LP + AFLW2000."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy.io import savemat

from bel.angles import euler_to_matrix
from bel.data.heads3d import FOCAL, Head, Light, build_head, draw_traits, project, render
from bel.errors import UserError, one_of

RENDERER = 1  # raise it whenever the same arguments would give other files
LAYOUTS = {"biwi": ("BIWI",), "300w_lp": ("300W_LP", "AFLW2000")}  # layout: its folders
ENDINGS = {"biwi": ("_rgb.png", "_pose.txt"), "300w_lp": (".jpg", ".mat")}
SUBSETS = ("AFW", "HELEN", "IBUG", "LFPW")
LEAST = {"subjects": 2, "frames": 1, "size": 32, "seed": 0}
FIRST_FRAME, TEST_SHARE = 3, 0.3
# AFLW's 21 points among `Head.landmarks`: brows, eyes, ear, nose, ear, mouth, chin; two rows are averaged.
AFLW = ((17, 17), (19, 19), (21, 21), (22, 22), (24, 24), (26, 26), (36, 36), (70, 70), (39, 39), (42, 42), (71, 71),
        (45, 45), (68, 68), (31, 31), (30, 30), (35, 35), (69, 69), (48, 48), (62, 66), (54, 54), (8, 8))  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What to render: `frames` square pictures of `size` pixels for each of `subjects` identities."""

    layout: str
    subjects: int
    frames: int
    size: int
    seed: int


@dataclass(frozen=True)
class Sitter:
    """One identity: its random stream, the stems of its pictures below `out`, their yaw, pitch, roll (n, 3) degrees."""

    stream: int
    stems: list[str]
    poses: np.ndarray
    one_light: bool


@dataclass(frozen=True)
class Scene:
    """What surrounds a sitter: lamp angles (rad), light, backdrop (size, size, 3), head height over picture height."""

    azimuth: float
    elevation: float
    light: Light
    backdrop: np.ndarray
    fill: float
    body_turn: float


@dataclass(frozen=True)
class Shot:
    """A picture (size, size, 3) uint8 with its rotation (3, 3), the head's origin (3,) mm, depths (2 size, 2 size)."""

    picture: np.ndarray
    rotation: np.ndarray
    shift: np.ndarray
    depth: np.ndarray


def generator(seed: int, *place: int) -> np.random.Generator:
    """The random stream of one place in the set."""
    return np.random.default_rng([seed, *place])


def trajectory(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Smooth walk of yaw, pitch, roll (frames, 3) degrees, mostly near 0 and within 75, 60, 50."""
    waves = 2 * np.pi * np.arange(frames)[:, None, None] / rng.uniform(50, 200, (3, 3))
    walk = np.sin(waves + rng.uniform(0, 2 * np.pi, (3, 3))).sum(-1) * 0.8
    return np.array([75, 60, 50]) * np.tanh(walk * (0.55, 0.42, 0.3))


def wild_pose(rng: np.random.Generator) -> np.ndarray:
    """Yaw, pitch, roll (3,) degrees of a snapshot: within 89, 60, 60, the latter two mostly within 40."""
    return np.array([89, 60, 60]) * np.tanh(rng.normal(0, (0.45, 0.3, 0.28)))


def yaw_views(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Views of one photograph (frames, 3) degrees: yaw in even strata over +-89, pitch and roll nearly its own."""
    spread = 2 * (np.arange(frames) + rng.random(frames)) / frames - 1
    views = wild_pose(rng) + rng.normal(0, 1.5, (frames, 3))
    views[:, 0] = 89 * np.sign(spread) * abs(spread) ** 1.2
    return np.clip(views, (-89, -60, -60), (89, 60, 60))


def plan(request: Request) -> tuple[list[Sitter], dict[str, list[str]]]:
    """Sitters, and for each list file below `out` its stems."""
    if request.layout == "biwi":
        return plan_biwi(request)
    train, test = [], []
    for number in range(request.subjects):
        subset = SUBSETS[number % len(SUBSETS)]
        stems = [f"300W_LP/{subset}/{subset}_{number + 1:06d}_{view}" for view in range(request.frames)]
        stream = 1_000_000 + number
        train.append(Sitter(stream, stems, yaw_views(generator(request.seed, stream, 1), request.frames), True))
    for number in range(max(1, round(TEST_SHARE * request.subjects * request.frames))):
        stream = 100_000_000 + number
        pose = wild_pose(generator(request.seed, stream, 1))
        test.append(Sitter(stream, [f"AFLW2000/image{number + 1:05d}"], pose[None], True))
    name = "overall_filelist_clean.txt"
    return train + test, {f"300W_LP/{name}": listed(train, "300W_LP/"), f"AFLW2000/{name}": listed(test, "AFLW2000/")}


def plan_biwi(request: Request) -> tuple[list[Sitter], dict[str, list[str]]]:
    """As `plan`, whole subjects to the train or to the test list."""
    sitters = []
    for number in range(request.subjects):
        stems = [f"BIWI/hpdb/{number + 1:02d}/frame_{FIRST_FRAME + frame:05d}" for frame in range(request.frames)]
        poses = trajectory(generator(request.seed, number, 1), request.frames)
        sitters.append(Sitter(number, stems, poses, False))
    count = min(max(1, round(TEST_SHARE * request.subjects)), request.subjects - 1)
    held_out = set(generator(request.seed, 2).permutation(request.subjects)[:count].tolist())
    test = listed([sitter for sitter in sitters if sitter.stream in held_out], "BIWI/hpdb/")
    train = listed([sitter for sitter in sitters if sitter.stream not in held_out], "BIWI/hpdb/")
    return sitters, {"BIWI/70_train.txt": train, "BIWI/30_test.txt": test}


def listed(sitters: list[Sitter], folder: str) -> list[str]:
    """Stems below `folder`."""
    return [stem.removeprefix(folder) for sitter in sitters for stem in sitter.stems]


def towards(azimuth: float, elevation: float) -> np.ndarray:
    """Unit vector (3,) in camera axes to a lamp at angles (rad) to the right of the camera and above it."""
    level = np.cos(elevation)
    return np.array([np.sin(azimuth) * level, -np.sin(elevation), -np.cos(azimuth) * level])


def draw_backdrop(rng: np.random.Generator, size: int) -> np.ndarray:
    """Calm background (size, size, 3) in 0..1: a soft gradient with a few blurred shapes."""
    ends = np.clip(rng.uniform(0.15, 0.8) + rng.uniform(-0.1, 0.1, (2, 1)) + rng.uniform(-0.07, 0.07, (2, 3)), 0, 1)
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    angle = rng.uniform(0, 2 * np.pi)
    ramp = (0.5 + 0.35 * (x * np.cos(angle) + y * np.sin(angle)))[..., None]
    scene = Image.fromarray((255 * np.clip(ends[0] + ramp * (ends[1] - ends[0]), 0, 1)).astype(np.uint8))
    draw = ImageDraw.Draw(scene)
    for _ in range(rng.integers(2, 7)):
        left, top, width, height = rng.integers((-10, -10, 6, 6), (44, 44, 26, 40)).tolist()
        colour = ends[0] + rng.uniform(-0.16, 0.16) + rng.uniform(-0.05, 0.05, 3)
        red, green, blue = (255 * np.clip(colour, 0, 1)).astype(int).tolist()
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((left, top, left + width, top + height), fill=(red, green, blue))
    scene = scene.filter(ImageFilter.GaussianBlur(rng.uniform(1, 4))).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(scene, np.float32) / 255


def draw_scene(rng: np.random.Generator, size: int, wild: bool) -> Scene:
    """Light, backdrop and framing of a sitter; `wild` turns the body with the head as in snapshots."""
    azimuth, elevation = np.clip(rng.normal(0, 0.8), -1.4, 1.4), rng.uniform(-0.1, 1.0)
    lamp = rng.uniform(0.5, 1.1) * (1 + rng.uniform(-0.1, 0.1) * np.array([1, 0, -1]))
    ambient = rng.uniform(0.18, 0.5) * (1 + rng.uniform(-0.1, 0.1) * np.array([-1, 0, 1]))
    light = Light(towards(azimuth, elevation), lamp, ambient)
    turn = rng.uniform(0.35, 0.9) if wild else rng.uniform(0.05, 0.4)
    return Scene(azimuth, elevation, light, draw_backdrop(rng, size), rng.uniform(0.59, 0.81), turn)


def relight(scene: Scene, rng: np.random.Generator) -> Light:
    """The scene's light, moved and dimmed a little as from one frame of a recording to another."""
    aim = towards(scene.azimuth + rng.normal(0, 0.25), scene.elevation + rng.normal(0, 0.12))
    gain, fill = rng.uniform(0.8, 1.2), rng.uniform(0.85, 1.15)
    return Light(aim, gain * scene.light.lamp, fill * scene.light.ambient)


def shoot(head: Head, scene: Scene, pose: np.ndarray, rng: np.random.Generator) -> Shot:
    """Picture of a head at yaw, pitch, roll (3,) degrees, with jitter of place and distance, blur and sensor noise."""
    size = len(scene.backdrop)
    distance = head.height * FOCAL / np.clip(scene.fill + rng.normal(0, 0.015), 0.56, 0.84)
    shift = distance * np.append(np.clip(rng.normal(0, 0.02, 2), -0.05, 0.05) / FOCAL, 1)
    rotation = euler_to_matrix(pose)
    body = euler_to_matrix(pose * (scene.body_turn, 0, 0.15) + rng.normal(0, 3, 3))
    cut_out, depth = render(head, rotation, shift, body, size, scene.light)
    picture = cut_out[..., :3] + (1 - cut_out[..., 3:]) * scene.backdrop
    picture += rng.uniform(0.003, 0.014) * rng.standard_normal(picture.shape, np.float32)
    image = Image.fromarray((255 * np.clip(picture, 0, 1)).astype(np.uint8))
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 0.7) * size / 128))
    return Shot(np.asarray(image), rotation, shift, depth)


def landmarks_2d(head: Head, shot: Shot) -> tuple[np.ndarray, np.ndarray]:
    """All landmarks in pixels (n, 2), and which of them (n,) are in the picture and not hidden."""
    points = head.landmarks @ shot.rotation.T + shot.shift
    pixels, fine = project(points, len(shot.picture)), len(shot.depth)
    column, row = np.rint(project(points, fine)).astype(int).T
    inside = (np.minimum(column, row) >= 0) & (np.maximum(column, row) < fine)
    return pixels, inside & (points[:, 2] < shot.depth[row.clip(0, fine - 1), column.clip(0, fine - 1)] + 8)


def biwi_label(shot: Shot) -> bytes:
    """`_pose.txt`: the rotation matrix, a blank line, the head's origin in mm."""
    rows = [" ".join(f"{number:.10f}" for number in row) for row in (*shot.rotation, shot.shift)]
    return "\n".join([*rows[:3], "", rows[3], ""]).encode()


def mat_label(head: Head, shot: Shot, pose: np.ndarray, snapshot: bool) -> bytes:
    """.mat file of a view, or of an AFLW2000 `snapshot`: 21 points with -1 where hidden, and 68 in three dimensions."""
    pixels, seen = landmarks_2d(head, shot)
    scale = FOCAL * len(shot.picture) / shot.shift[2]
    origin = project(shot.shift[None], len(shot.picture))[0]
    yaw, pitch, roll = np.radians(pose)
    content = {"Pose_Para": np.array([[pitch, yaw, roll, *origin, 0, scale]], np.float32), "pt2d": pixels[:68].T}
    if snapshot:
        first, second = np.array(AFLW).T
        shown = (seen[first] & seen[second])[:, None]
        content["pt2d"] = np.where(shown, (pixels[first] + pixels[second]) / 2, -1).T
        nearer = -scale * (head.landmarks[:68] @ shot.rotation[2])
        content["pt3d_68"] = np.vstack([pixels[:68].T, nearer]).astype(np.float32)
    file = io.BytesIO()
    savemat(file, content)  # type: ignore[arg-type]  # the stubs leave open files out
    # scipy puts the date into the first 116 bytes; the same arguments must give the same bytes.
    return b"MATLAB 5.0 MAT-file, bel-data synth".ljust(116) + file.getvalue()[116:]


def write_sitter(sitter: Sitter, request: Request, out: Path, done: Callable[[], None]) -> None:
    """Render and write one identity's pictures and labels below `out`, calling `done` after each picture."""
    rng = generator(request.seed, sitter.stream, 0)
    traits = draw_traits(rng)
    head, scene = build_head(traits, rng), draw_scene(rng, request.size, sitter.one_light)
    image_ending, label_ending = ENDINGS[request.layout]
    for frame, (stem, pose) in enumerate(zip(sitter.stems, sitter.poses, strict=True)):
        rng = generator(request.seed, sitter.stream, 2, frame)
        shot = shoot(head, scene if sitter.one_light else replace(scene, light=relight(scene, rng)), pose, rng)
        image = out / f"{stem}{image_ending}"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shot.picture).save(image, quality=95, compress_level=2)
        snapshot = stem.startswith("AFLW2000")
        label = biwi_label(shot) if request.layout == "biwi" else mat_label(head, shot, pose, snapshot)
        (out / f"{stem}{label_ending}").write_bytes(label)
        done()


def check(request: Request, out: Path) -> None:
    """Raise `UserError` on arguments that cannot be rendered or a folder that cannot be written."""
    one_of("layout", request.layout, LAYOUTS)
    for name, least in LEAST.items():
        value = getattr(request, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UserError(f"{name} must be a whole number of at least {least}, got {value!r}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"out must be a folder that can be written, got {str(out)!r}: {error.strerror}") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise UserError(f"out must be a folder that can be written, got {str(out)!r}: permission denied")


def found_again(manifest: Path, wanted: dict[str, object], files: set[Path]) -> bool:
    """Whether `manifest` and all `files` are there; raises `UserError` if it is of other arguments."""
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


def refuse_strangers(out: Path, layout: str, files: set[Path]) -> None:
    """Raise `UserError` if a folder of the layout holds files that this set would not write, such as the real data."""
    strangers = sorted(p for name in LAYOUTS[layout] for p in (out / name).rglob("*") if p.is_file() and p not in files)
    if strangers:
        raise UserError(
            f"{strangers[0]} (and {len(strangers) - 1} more files) is not part of this set: "
            f"choose another --out, or delete {' and '.join(str(out / name) for name in LAYOUTS[layout])} first"
        )


def synthesise(
    layout: str,
    out: Path,
    subjects: int,
    frames: int,
    size: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render `frames` pictures of `size` pixels for each of `subjects` identities below `out`; return the manifest.

    `layout` is `biwi` (30 % of the subjects are the test list) or `300w_lp` (AFLW2000 is added with 30 % as many
    pictures). A whole set of the same arguments is left as it is. `progress(done, total)` follows each picture. Raises
    `UserError` on wrong arguments, on a set of other arguments and on files that are not of this set.
    """
    request = Request(layout, subjects, frames, size, seed)
    check(request, out)
    sitters, lists = plan(request)
    stems = [stem for sitter in sitters for stem in sitter.stems]
    files = {out / f"{stem}{ending}" for stem in stems for ending in ENDINGS[layout]} | {out / name for name in lists}
    manifest, wanted = out / f"{layout}-manifest.json", {"renderer": RENDERER, **asdict(request)}
    if found_again(manifest, wanted, files):
        return manifest
    refuse_strangers(out, layout, files)
    manifest.unlink(missing_ok=True)
    count = 0

    def done() -> None:
        nonlocal count
        count += 1
        if progress:
            progress(count, len(stems))

    for sitter in sitters:
        write_sitter(sitter, request, out, done)
    for name, lines in lists.items():
        (out / name).write_text("\n".join(lines) + "\n")
    unfinished = manifest.with_suffix(".partial")
    counts = {"images": {name: len(lines) for name, lines in lists.items()}, "focal_over_size": FOCAL}
    unfinished.write_text(json.dumps({**wanted, **counts}, indent=2) + "\n")
    unfinished.replace(manifest)
    return manifest
