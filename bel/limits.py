"""What the fields of a config may be: one of some names, or a number within bounds (both ends are legal)."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bel.angles import MOST_LEVELS
from bel.data.prepare.crops import CENTERS
from bel.data.prepare.prepared import ON_MISSING
from bel.heads import HEADS
from bel.model import BACKBONES
from bel.values import TINY

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "bf16", "fp32")
MEMORY_FORMATS = ("channels_last", "contiguous")
SCHEDULES = ("cosine", "constant", "drop")
RECIPES = ("clean", "published")
SELECTIONS = ("val", "last", "test")
CACHES = ("auto", "host", "device")

CHOICES: dict[str, Iterable[str]] = {
    "head": HEADS,
    "recipe": RECIPES,
    "selection": SELECTIONS,
    "backbone": BACKBONES,
    "schedule": SCHEDULES,
    "device": DEVICES,
    "precision": PRECISIONS,
    "memory_format": MEMORY_FORMATS,
    "on_missing": ON_MISSING,
    "cache": CACHES,
    "center_crop": CENTERS,
}

BOUNDS: dict[str, tuple[float, float]] = {
    "image_size": (32, 4096),
    "frame_stride": (1, math.inf),
    "margin": (0, 10),
    "val_fraction": (TINY, 0.9),
    "folds": (2, math.inf),
    "split_seed": (0, 2**31),
    "theta": (1, MOST_LEVELS),
    "bits": (1, MOST_LEVELS),
    "distance_weight": (0, 1e6),
    "difference_weight": (0, 1e6),
    "alpha": (0, 1e6),
    "sigma": (0.1, 1e4),
    "drop_epoch": (1, math.inf),
    "lr": (TINY, 10),
    "head_lr_factor": (TINY, 1000),
    "epochs": (1, math.inf),
    "batch_size": (2, math.inf),
    "eval_batch_size": (1, math.inf),
    "flip": (0, 1),
    "blur": (0, 1),
    "rotate": (0, 45),
    "zoom": (0, 1),
    "shift": (0, 0.5),
    "jitter": (0, 0.9),
    "erase": (0, 1),
    "seed": (0, 2**31),
}
