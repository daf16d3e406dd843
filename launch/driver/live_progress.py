"""Progress within an epoch, from a trial's worker to the driver: through Ray's key-value store, which all nodes reach."""

import json
from contextlib import suppress
from dataclasses import asdict

import ray
from ray.experimental import internal_kv

from launch.pace import Pace

INTERVAL = 3.0  # seconds between two reports of a worker
NAMESPACE = "bel-pace"


def publish_pace(key: str, pace: Pace) -> None:
    """Store a pace under a key; an error is ignored, so that it stops no training."""
    with suppress(Exception):
        internal_kv._internal_kv_put(key, json.dumps(asdict(pace)), overwrite=True, namespace=NAMESPACE)


def latest_pace(key: str) -> Pace | None:
    """Return the last pace under a key; None where there is none, or Ray does not answer."""
    with suppress(Exception):
        text = internal_kv._internal_kv_get(key, namespace=NAMESPACE) if ray.is_initialized() else None
        return Pace(**json.loads(text)) if text else None
    return None


def remove_pace(key: str) -> None:
    """Remove the pace under a key."""
    with suppress(Exception):
        internal_kv._internal_kv_del(key, namespace=NAMESPACE)
