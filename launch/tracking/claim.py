"""Whose states a sweep's folder holds: those of its parent run, or of one in a store that is gone, which it takes up."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import mlflow

from bel.errors import UserError, shown
from bel.run_layout import DRIVER
from launch.tracking.lease import alive, driver
from launch.tracking.store import Store, knows
from launch.tracking.trial_folder import Folder

NOTED = ("parent", "store", "driver")


def claim(folder: Folder, store: Store, say: Callable[[str], Any]) -> None:
    """Note a folder as that of a parent run; states of one that a newer one has replaced are removed.

    Raises `UserError` where a driver of this machine is at work there for another store.
    """
    me = driver(os.getpid())
    before = folder.read_json(DRIVER)
    if not (isinstance(before, dict) and all(isinstance(before.get(name), str) for name in NOTED)):
        before = None  # none, or damaged
    if before and before["parent"] != store.parent_id:
        if before["driver"] != me and alive(before["driver"]):
            raise UserError(
                f"process {before['driver'].split()[1]} is running this very sweep in {shown(folder.url)}, for the MLflow "
                f"store {before['store']}: wait for it, or give --storage another folder"
            )
        if store.fresh or knows(before["parent"]):
            folder.remove()
        else:
            say(f"taking up what was trained for a store that is gone, from {shown(folder.url)}")
    folder.write_json(DRIVER, {"parent": store.parent_id, "store": shown(mlflow.get_tracking_uri()), "driver": me})
