"""A trained network for scripts and notebooks: pictures in, degrees (or other units) with intervals out.

    >>> from results import Model
    >>> model = Model("demo@champion")  # or a run id, or a checkpoint file
    >>> model.predict("photos/anna.jpg")
    >>> model.predict([image, other_image], boxes=[[(10, 20, 110, 120)], [(0, 0, 64, 64), (80, 0, 144, 64)]])

Nothing is printed. `results.store.registry.load_model` gives the bare network, for tensors.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.entities import Run

from bel.config import TrainConfig
from bel.data.readers.base import Box
from bel.errors import UserError
from bel.training import checkpoint
from results.predict.inference import Counts, Network
from results.predict.inputs import Images, boxes_of, pictures_of
from results.predict.output import BOX, columns, numbers_of
from results.retest.loaded_checkpoint import fetch_state, one_run
from results.store.registry import REFERENCE, find_version
from results.store.runs import RUN_ID, find_run


class Model:
    """A trained network with what its training says of its input: crop, size, axes, units, intervals."""

    def __init__(
        self, reference: str | os.PathLike[str], *, device: str | None = None, batch_size: int | None = None
    ) -> None:
        """Load the network of a run id (of a sweep: its best trial), NAME@ALIAS or NAME/VERSION, or a checkpoint file.

        `device` is by default of the kind that trained it, where there is one. Raises `UserError` where there is no such
        network, or its checkpoint is gone.
        """
        if not isinstance(reference, str | os.PathLike):
            raise UserError(f"a model is a run id, NAME@ALIAS, NAME/VERSION or a file, got {reference!r}")
        changes = {"device": device, "eval_batch_size": batch_size}
        state, self.run = find_state(reference)
        given = {name: value for name, value in changes.items() if value is not None}
        self.reference, self.network = os.fspath(reference), Network.of(state, self.run, given)

    def __repr__(self) -> str:
        return f"Model({self.reference!r})"

    @property
    def config(self) -> TrainConfig:
        """The config of its training, on this machine's device."""
        return self.network.loaded.config

    @property
    def run_id(self) -> str | None:
        """Id of its run in MLflow; None of a checkpoint file."""
        return None if self.run is None else str(self.run.info.run_id)

    @property
    def units(self) -> dict[str, str]:
        """The unit of each axis, in the order of the predictions."""
        return {axis.name: axis.unit for axis in self.config.axes}

    @property
    def level(self) -> float | None:
        """Share of the targets that its intervals hold; None without a calibration (`bel-results calibrate`)."""
        return self.network.calibration.level if self.network.calibration else None

    def predict(
        self, images: Images, *, boxes: Sequence[Sequence[Box]] | None = None, detect: bool = False, grow: float = 0.0
    ) -> pd.DataFrame:
        """Predict one image or several: paths (of a folder: all in it), PIL images, uint8 arrays ((N,) H, W, 3) or (H, W).

        A row for each box, without `boxes` and `detect` for each image, as the table of `bel-predict`: image, x0, y0, x1,
        y1 in pixels, the axes in their units, `std_` of the posterior, and `lower_` and `upper_` where there is a
        calibration. `boxes` has a list of boxes for each image, `grow` adds a share of their sides. Raises `UserError` for
        what is no image, with its name.
        """
        pictures = list(pictures_of(images, self.config.exif or "apply"))
        find = boxes_of(boxes, detect, grow, pictures)
        counts, rows = Counts(), []
        for crops, found in self.network.predicted(pictures, find, counts):
            refuse_failed(counts)
            rows += [[crops.picture.name, *box, *row] for box, row in zip(crops.boxes, numbers_of(found), strict=True)]
        refuse_failed(counts)
        names = columns(self.config.axes, self.level is not None)
        frame = pd.DataFrame(rows, columns=["image", *names])
        frame = frame.astype(dict.fromkeys(names[len(BOX) :], float))  # without a posterior NaN, not None
        frame.attrs = {"units": self.units, "level": self.level}
        return frame


def find_state(reference: str | os.PathLike[str]) -> tuple[dict[str, Any], Run | None]:
    """Return the state of a checkpoint and its run, of a file None. Raises `UserError` where nothing is named so."""
    text = os.fspath(reference)
    if isinstance(reference, os.PathLike) or Path(text).is_file():
        return checkpoint.load(Path(text)), None
    if RUN_ID.fullmatch(text):
        run = one_run(text)
    elif REFERENCE.fullmatch(text):
        run = find_run(find_version(text).run_id)
    else:
        raise UserError(
            f"a model is a run id of 32 hex digits, NAME@ALIAS or NAME/VERSION of the registry, or a checkpoint file, got "
            f"{text!r}: Results(SWEEP).best is the id of a sweep's best run"
        )
    return fetch_state(run), run


def refuse_failed(counts: Counts) -> None:
    """Raise `UserError` for the first image that could not be used."""
    if counts.failed:
        raise UserError(counts.failed[0])
