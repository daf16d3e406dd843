"""The files of a study, from which every table is made again.

A task is a folder: `contenders.json` (settings, tuning, runs), `predictions.parquet` (each image, by contender and seed) and
`groups.csv` (errors by group, for other programs).
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import parquet

from bel.errors import UserError, sentence
from results.analysis.study import PREDICTED, StudyContender, Task, in_order, vars_of
from results.store.predictions import Predictions

CONTENDERS, PREDICTIONS, GROUPS = "contenders.json", "predictions.parquet", "groups.csv"


def write_task(task: Task, folder: Path) -> None:
    """Write the files of a task, and then put them in the place of earlier ones."""
    folder.mkdir(parents=True, exist_ok=True)
    part = {name: folder / f".{name}.part" for name in (PREDICTIONS, GROUPS, CONTENDERS)}
    hold_out = list(task.contenders[0].hold_out)
    entries = [vars_of(one) | {"seeds": len(one.seeds), "params": own_params(task, one)} for one in task.contenders]
    for entry in entries:
        del entry["hold_out"]  # the same for all
    content = {"meaning": task.images.meaning, "params": task.common, "hold_out": hold_out, "contenders": entries}
    part[CONTENDERS].write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    images, axes = task.images, task.images.axes
    columns: dict[str, Any] = {"name": images.names, "group": images.groups}
    columns |= {f"target {axis}": images.values["target"][:, i] for i, axis in enumerate(axes)}
    for one in task.contenders:
        for number, seed in enumerate(one.seeds):
            values = seed.values[PREDICTED].astype(np.float32)
            columns |= {f"{one.name} s{number} {axis}": values[:, i] for i, axis in enumerate(axes)}
    texts = ["name", "group"]
    floats = [name for name in columns if name not in texts]
    encoding = {"compression_level": 19, "use_dictionary": texts, "use_byte_stream_split": floats}
    parquet.write_table(pyarrow.table(columns), part[PREDICTIONS], compression="zstd", **encoding)
    errors = pd.DataFrame({one.name: one.errors.group_errors for one in task.contenders})
    errors.insert(0, "group", images.group_names)
    errors.to_csv(part[GROUPS], index=False, float_format="%.5f")
    for name, path in part.items():
        os.replace(path, folder / name)


def own_params(task: Task, one: StudyContender) -> dict[str, str]:
    """Return the parameters of a contender that not all others share."""
    return {key: value for key, value in one.params.items() if key not in task.common}


def read_task(folder: Path, name: str) -> Task:
    """Read the files of a task. Raises `UserError` where they are damaged or not those of one task."""
    try:
        content = json.loads((folder / CONTENDERS).read_text(encoding="utf-8"))
        table = parquet.read_table(folder / PREDICTIONS)
        meaning, common = content["meaning"], content["params"]
        axes = [axis["name"] for axis in meaning["axes"]]

        def values(prefix: str) -> Any:
            return np.stack([table[f"{prefix} {axis}"].to_numpy() for axis in axes], -1).astype(np.float64)

        names, groups = (table[key].to_numpy(zero_copy_only=False).astype(str) for key in ("name", "group"))
        target, levels = values("target"), np.zeros((len(names), len(axes)), np.int64)

        def predictions(prefix: str) -> Predictions:
            return Predictions(names, groups, {"target": target, PREDICTED: values(prefix)}, levels, {}, meaning)

        contenders = []
        for entry in content["contenders"]:
            seeds = tuple(predictions(f"{entry['name']} s{n}") for n in range(entry["seeds"]))
            shared = {"seeds": seeds, "params": common | entry["params"], "hold_out": content["hold_out"]}
            contenders.append(StudyContender(**entry | shared))
    except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
        raise UserError(f"{folder} holds no task of a study: {sentence(error)}") from error
    return Task(name, in_order(contenders))


def read_study(folder: Path) -> dict[str, Task]:
    """Read all tasks below a folder, by the path of their folders. Raises `UserError` where there is none."""
    found = sorted(path.parent for path in folder.rglob(CONTENDERS))
    if not found:
        raise UserError(f"{folder} holds no task of a study: add a sweep with --add TASK=SWEEP")
    return {path.relative_to(folder).as_posix(): read_task(path, path.relative_to(folder).as_posix()) for path in found}
