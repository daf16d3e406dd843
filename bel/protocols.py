"""The published evaluation protocols as data: axes, where their images lie, and how they are cropped."""

from __future__ import annotations

from dataclasses import dataclass

from bel.angles import Axis


@dataclass(frozen=True)
class Protocol:
    """Axes of the target, a train and a test source (names in `bel.data.SOURCES`)."""

    axes: tuple[Axis, ...]
    train: str
    test: str


PROTOCOLS: dict[str, Protocol] = {
    # BEL protocol 1: the whole of 300W_LP trains, AFLW2000-3D tests, angles within +-99 degrees.
    "aflw2000": Protocol(
        axes=(
            Axis("yaw", -99, 200, 200, flip=-1),
            Axis("pitch", -99, 200, 200, flip=1),
            Axis("roll", -99, 200, 200, flip=-1),
        ),
        train="300w_lp",
        test="aflw2000",
    ),
    # BEL protocol 2: 16 or 17 BIWI sequences train, 7 test.
    "biwi": Protocol(
        axes=(
            Axis("yaw", -74, 150, 150, flip=-1),
            Axis("pitch", -65, 150, 150, flip=1),
            Axis("roll", -55, 100, 100, flip=-1),
        ),
        train="biwi_train",
        test="biwi_test",
    ),
}
