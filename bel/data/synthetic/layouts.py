"""The content of a rendered set: pictures by identity and pose, their names, and their label files."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.io import savemat

from bel.data.synthetic.mesh import Head
from bel.data.synthetic.render import FOCAL, project
from bel.data.synthetic.scene import Shot

LAYOUTS = {"biwi": ("BIWI",), "300w_lp": ("300W_LP", "AFLW2000"), "csv": ("CSV",)}  # layout: its folders
ENDINGS = {"biwi": ("_rgb.png", "_pose.txt"), "300w_lp": (".jpg", ".mat"), "csv": (".jpg",)}  # of a picture, its label
TABLE = "CSV/labels.csv"  # holds the labels of the layout whose pictures have no label files
SUBSETS = ("AFW", "HELEN", "IBUG", "LFPW")
FIRST_FRAME, TEST_SHARE = 3, 0.3
# AFLW's 21 points among `Head.landmarks`: brows, eyes, ear, nose, ear, mouth, chin; two rows are averaged.
AFLW = ((17, 17), (19, 19), (21, 21), (22, 22), (24, 24), (26, 26), (36, 36), (70, 70), (39, 39), (42, 42), (71, 71),
        (45, 45), (68, 68), (31, 31), (30, 30), (35, 35), (69, 69), (48, 48), (62, 66), (54, 54), (8, 8))  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What to render: `frames` square pictures of `size` pixels for each of `subjects` identities.

    With a `roll` the pictures of layout csv are of heads and bodies turned evenly up to so many degrees either way.
    """

    layout: str
    subjects: int
    frames: int
    size: int
    seed: int
    roll: float | None = None

    def generator(self, *place: int) -> np.random.Generator:
        """Return the random generator of one part of the set."""
        return np.random.default_rng([self.seed, *place])


@dataclass(frozen=True)
class Sitter:
    """One identity: its random stream, the stems of its pictures below `out`, their yaw, pitch, roll (n, 3) degrees."""

    stream: int
    stems: list[str]
    poses: np.ndarray


def plan_biwi(request: Request) -> tuple[list[Sitter], dict[str, list[str]]]:
    """Plan recordings, each subject in the train or in the test list."""
    sitters = []
    for number in range(request.subjects):
        stems = [f"BIWI/hpdb/{number + 1:02d}/frame_{FIRST_FRAME + frame:05d}" for frame in range(request.frames)]
        sitters.append(Sitter(number, stems, trajectory(request.generator(number, 1), request.frames)))
    count = min(max(1, round(TEST_SHARE * request.subjects)), request.subjects - 1)
    held_out = set(request.generator(2).permutation(request.subjects)[:count].tolist())
    test = listed([sitter for sitter in sitters if sitter.stream in held_out], "BIWI/hpdb/")
    train = listed([sitter for sitter in sitters if sitter.stream not in held_out], "BIWI/hpdb/")
    return sitters, {"BIWI/70_train.txt": train, "BIWI/30_test.txt": test}


def plan_300w_lp(request: Request) -> tuple[list[Sitter], dict[str, list[str]]]:
    """Plan views of one photograph of each subject for training, snapshots of other people for testing."""
    train, test = [], []
    for number in range(request.subjects):
        subset = SUBSETS[number % len(SUBSETS)]
        stems = [f"300W_LP/{subset}/{subset}_{number + 1:06d}_{view}" for view in range(request.frames)]
        stream = 1_000_000 + number
        train.append(Sitter(stream, stems, yaw_views(request.generator(stream, 1), request.frames)))
    for number in range(max(1, round(TEST_SHARE * request.subjects * request.frames))):
        stream = 100_000_000 + number
        pose = wild_pose(request.generator(stream, 1))
        test.append(Sitter(stream, [f"AFLW2000/image{number + 1:05d}"], pose[None]))
    name = "overall_filelist_clean.txt"
    return train + test, {f"300W_LP/{name}": listed(train, "300W_LP/"), f"AFLW2000/{name}": listed(test, "AFLW2000/")}


def plan_csv(request: Request) -> tuple[list[Sitter], dict[str, list[str]]]:
    """Plan snapshots of each subject, all in one table."""
    sitters = []
    for number in range(request.subjects):
        stems = [f"CSV/images/{number + 1:02d}/{frame + 1:03d}" for frame in range(request.frames)]
        stream = 200_000_000 + number
        rng = request.generator(stream, 1)
        poses = np.array([wild_pose(rng) for _ in stems])
        if request.roll is not None:
            poses[:, 2] = request.generator(stream, 3).uniform(-request.roll, request.roll, len(stems))
        sitters.append(Sitter(stream, stems, poses))
    return sitters, {TABLE: listed(sitters, "")}


# By layout: the sitters of a request, and the stems of each list file or table below `out`.
PLANS: dict[str, Callable[[Request], tuple[list[Sitter], dict[str, list[str]]]]] = {
    "biwi": plan_biwi,
    "300w_lp": plan_300w_lp,
    "csv": plan_csv,
}


def listed(sitters: list[Sitter], folder: str) -> list[str]:
    """Return the stems relative to `folder`."""
    return [stem.removeprefix(folder) for sitter in sitters for stem in sitter.stems]


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


def label(layout: str, stem: str, head: Head, shot: Shot) -> bytes:
    """Content of the label file of a picture, or its row of the table."""
    if layout == "csv":
        return table_row(f"{stem.removeprefix('CSV/')}{ENDINGS[layout][0]}", stem.split("/")[2], head, shot).encode()
    return biwi_label(shot) if layout == "biwi" else mat_label(head, shot, snapshot=stem.startswith("AFLW2000"))


def biwi_label(shot: Shot) -> bytes:
    """`_pose.txt`: the rotation matrix, a blank line, the head's origin in mm."""
    rows = [" ".join(f"{number:.10f}" for number in row) for row in (*shot.rotation, shot.shift)]
    return "\n".join([*rows[:3], "", rows[3], ""]).encode()


def mat_label(head: Head, shot: Shot, snapshot: bool) -> bytes:
    """.mat file of a view, or of an AFLW2000 `snapshot`: 21 points with -1 where hidden, and 68 in three dimensions."""
    pixels, seen = landmarks_2d(head, shot)
    scale = FOCAL * len(shot.picture) / shot.shift[2]
    origin = project(shot.shift[None], len(shot.picture))[0]
    yaw, pitch, roll = np.radians(shot.pose)
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


def landmarks_2d(head: Head, shot: Shot) -> tuple[np.ndarray, np.ndarray]:
    """All landmarks in pixels (n, 2), and which of them (n,) are in the picture and not hidden."""
    points = head.landmarks @ shot.rotation.T + shot.shift
    pixels, fine = project(points, len(shot.picture)), len(shot.depth)
    column, row = np.rint(project(points, fine)).astype(int).T
    inside = (np.minimum(column, row) >= 0) & (np.maximum(column, row) < fine)
    return pixels, inside & (points[:, 2] < shot.depth[row.clip(0, fine - 1), column.clip(0, fine - 1)] + 8)


COLUMNS = ("image", "subject", "yaw", "pitch", "roll", "distance", "x0", "y0", "x1", "y1")


def table_row(image: str, subject: str, head: Head, shot: Shot) -> str:
    """Return cells in the order of `COLUMNS`: angles in degrees, the distance of the head's origin in cm, the box in pixels."""
    numbers = [f"{number:.4f}" for number in (*shot.pose, shot.shift[2] / 10)]
    return ",".join([image, subject, *numbers, *map(str, head_box(head, shot))])


def head_box(head: Head, shot: Shot) -> tuple[int, int, int, int]:
    """Return the box x0, y0, x1, y1 (pixels, upper end exclusive) of all that turns with the head, inside the picture."""
    size = len(shot.picture)
    points = head.points[head.follow[:, 0] == 1] @ shot.rotation.T + shot.shift
    pixels = project(points, size) + 0.5  # edges of pixels, not their centres
    x0, y0 = np.floor(pixels.min(0)).astype(int).clip(0, size).tolist()
    x1, y1 = np.ceil(pixels.max(0)).astype(int).clip(0, size).tolist()
    return x0, y0, x1, y1
