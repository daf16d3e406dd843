"""A registered network: as a function of images, and as MLflow serves it, of a table of pictures. Imports no MLflow.

`_load_pyfunc` is what MLflow looks for in a model's `loader_module`; this package is stored with the model.
"""

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bel.config import TrainConfig
from bel.data.images import decoded
from bel.deploy.calibration import Calibration
from bel.deploy.calibration_file import calibration_of, read
from bel.deploy.crop import network_input
from bel.deploy.module import Deployed
from bel.errors import UserError
from bel.plugins.module import receive
from bel.precision import plain_fp32
from bel.run_layout import CALIBRATION, CHECKPOINT, CODE_FILE, PLUGINS
from bel.training import checkpoint

IMAGE = "image"  # the one column of a table that is sent: bytes of a picture's file
ENDS = ("lower", "upper")  # before an axis's name: columns of a calibrated network


class RegisteredModel(Deployed):
    """A registered network in evaluation mode, on the CPU until it is moved, with the config of its training."""

    def __init__(self, state: dict[str, object], config: TrainConfig, calibration: Calibration | None = None) -> None:
        super().__init__(checkpoint.restore(state, config), calibration)
        self.config = config
        self.to(memory_format=config.layout)  # as where it was measured, to the last bit


class PictureModel:
    """A network as MLflow serves it: bytes of pictures in, predictions in units out, on the CPU."""

    def __init__(self, network: RegisteredModel) -> None:
        self.network, self.config = network, network.config

    def predict(self, table: Any, params: dict[str, Any] | None = None) -> Any:
        """Predict a pandas table with the column `image` -> one with the columns of `columns`, of the same index.

        Raises `UserError` for a picture that cannot be read.
        """
        rows = self.predict_bytes(list(table[IMAGE]))
        return table[[]].assign(**dict(zip(columns(self.network), rows.T, strict=True)))

    def predict_bytes(self, files: Sequence[bytes]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """Predict pictures as bytes of their files -> numbers (pictures, columns), in the order of `columns`."""
        config, found = self.config, [np.empty((0, len(columns(self.network))))]
        for start in range(0, len(files), config.eval_batch_size):
            pixels = [self.pixels(place, files[place]) for place in range(len(files))[start:][: config.eval_batch_size]]
            images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
            with torch.inference_mode(), plain_fp32():
                parts = self.network.intervals(images) if self.network.calibration else (self.network(images),)
            found.append(torch.cat(parts, 1).numpy())
        return np.concatenate(found)

    def pixels(self, place: int, content: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Return what the network sees of the picture in a row (S, S, 3), uint8. Raises `UserError`."""
        if not isinstance(content, bytes):
            raise UserError(
                f"{IMAGE} must be the bytes of a picture's file, in JSON in base64, got {type(content).__name__} in row {place}"
            )
        picture = decoded(Sent(content, place), self.config.exif or "apply")
        return network_input(picture, None, self.config, self.config.image_size)


class Sent(BytesIO):
    """The bytes of a picture's file, named in messages by its row."""

    def __init__(self, content: bytes, place: int) -> None:
        super().__init__(content)
        self.place = place

    def __str__(self) -> str:
        return f"in row {self.place}"


def columns(network: RegisteredModel) -> list[str]:
    """Return the names of what a network predicts: its axes, of a calibrated one also the ends of their intervals."""
    names = [axis.name for axis in network.config.axes]
    return [*names, *(f"{end}_{name}" for end in ENDS if network.calibration for name in names)]


def read_network(folder: Path) -> RegisteredModel:
    """Read a network from a folder with a run's checkpoint, and if any its calibration, the files of its code and plug-ins.

    Raises `UserError` where they do not fit together.
    """
    state = checkpoint.load(folder / CHECKPOINT)
    if (folder / PLUGINS).is_file():
        receive(json.loads((folder / PLUGINS).read_text()))
    changes: dict[str, Any] = {"weights": "none", "device": "cpu"}
    if files := sorted(folder.glob(CODE_FILE.format(levels="*", suffix=".*"))):
        changes["code"] = f"file:{folder / CODE_FILE.format(levels='{levels}', suffix=files[0].suffix)}"
    config = checkpoint.config_of(state, changes)
    path = folder / CALIBRATION
    calibration = calibration_of(read(path), state["epoch"], config.axes) if path.is_file() else None
    return RegisteredModel(state, config, calibration)


def _load_pyfunc(data_path: str) -> PictureModel:
    """Return a network from the folder of its files, as MLflow asks for it."""
    return PictureModel(read_network(Path(data_path)))
