"""Rows of the rendered table: image, subject, pose, distance, and the box of the head."""

import numpy as np

from bel.data.synthetic.mesh import Head
from bel.data.synthetic.render import project
from bel.data.synthetic.scene import Shot

COLUMNS = ("image", "subject", "yaw", "pitch", "roll", "distance", "x0", "y0", "x1", "y1")


def row(image: str, subject: str, head: Head, shot: Shot) -> str:
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
