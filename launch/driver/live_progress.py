"""What a trial's worker tells the driver within an epoch, through the keys and values of Ray, which any node reaches."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict

import ray
from ray.experimental import internal_kv

from launch.pace import Pace

EVERY = 3.0  # seconds between two words
SPACE = "bel-pace"


def tell_driver(key: str, pace: Pace) -> None:
    """Leave a pace under a key where the driver finds it: a word that is lost does no harm, and stops no training."""
    with suppress(Exception):
        internal_kv._internal_kv_put(key, json.dumps(asdict(pace)), overwrite=True, namespace=SPACE)


def heard(key: str) -> Pace | None:
    """The last pace under a key; None where there is none, or Ray cannot be asked."""
    with suppress(Exception):
        text = internal_kv._internal_kv_get(key, namespace=SPACE) if ray.is_initialized() else None
        return Pace(**json.loads(text)) if text else None
    return None


def forget(key: str) -> None:
    """Remove what is under a key."""
    with suppress(Exception):
        internal_kv._internal_kv_del(key, namespace=SPACE)
