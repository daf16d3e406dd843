"""The sweeps that are to survive: small networks on rendered heads, a second or two an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bel.data.synthetic import synthesise

BASE: dict[str, Any] = {
    "protocol": "biwi", "crop": "frame", "image_size": 32, "backbone": "resnet10", "weights": "none",
    "code_bits": 38, "batch_size": 8, "device": "cpu",
}  # fmt: skip
GRID: dict[str, Any] = {
    "name": "chaos grid",
    "space": {
        "code": {"grid": ["u", "j", "hex16", "had"]}, "lr": {"grid": [5e-4, 1e-3]}, "seed": {"grid": [0, 1, 2]},
    },
}  # fmt: skip
TPE: dict[str, Any] = {
    "name": "chaos tpe",
    "space": {"code": {"choice": ["u", "j", "hex16", "had"]}, "lr": {"loguniform": [1e-4, 1e-2]}},
    "search": {"method": "tpe", "trials": 24, "seed": 0},
}
SMALL: dict[str, Any] = {
    "name": "chaos small",
    "space": {"code": {"grid": ["u", "j"]}, "lr": {"grid": [5e-4, 1e-3]}},
}


def write_sweep(folder: Path, sweep: dict[str, Any], data: Path, frames: int, epochs: int) -> Path:
    """Render its data below `data`, unless it is there, and write the YAML file into the folder."""
    synthesise("biwi", data, subjects=8, frames=frames, size=48, seed=0)
    base = BASE | {"data_root": str(data), "cache_dir": str(data / "prepared"), "epochs": epochs}
    folder.mkdir(parents=True)
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({**sweep, "base": base, "resources": {"cpu": 1}}, sort_keys=False))
    return path
