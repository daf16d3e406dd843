"""A study: contenders of several tasks out of fold, kept as plain files from which every table is made again.

A task is a folder: `contenders.json` (settings, tuning, runs), `predictions.parquet` (each image, by contender and seed) and
`groups.csv` (errors by group, for other programs).
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import parquet

from bel.errors import UserError, sentence
from bel.run_layout import BY_IMAGE, CODE_VERSION, VAL_IMAGES
from results.analysis.configurations import Configuration, error_of
from results.analysis.folds import IDENTITY, Contender
from results.analysis.ranking import configuration_name, grouped, rank_key
from results.store.predictions import Predictions

CONTENDERS, PREDICTIONS, GROUPS = "contenders.json", "predictions.parquet", "groups.csv"
PREDICTED = "predicted"  # the headline decoder's value, in the predictions of a study
SETTINGS = (
    "protocol", "crop", "folds", "split_seed", "backbone", "weights_digest", "image_size", "frame_stride", "epochs",
    "batch_size",
)  # fmt: skip
Run = dict[str, Any]  # plain values of a run


@dataclass(frozen=True)
class StudyContender:
    """A contender of a study: what distinguishes it, how it was tuned, its runs, and its predictions out of fold by seed.

    `tuning` is the error on the hold-out by value of the tuned field, `value` the best of them.
    """

    name: str
    params: Mapping[str, str]
    tuned: str
    value: str
    tuning: Mapping[str, float]
    decoder: str
    runs: Sequence[Run]
    seeds: tuple[Predictions, ...] = field(repr=False)

    @cached_property
    def errors(self) -> Configuration:
        """Its errors, as of a configuration."""
        return Configuration(self.name, (), self.seeds, PREDICTED)

    @property
    def method(self) -> str:
        """What it is on any task: its name without the number of levels."""
        return re.sub(r"^(\S+)-\d+(?= |$)", r"\1", self.name)

    @property
    def at_end(self) -> bool:
        """Whether the best value is the first or the last of the values that were tried."""
        values = sorted(map(float, self.tuning))
        return len(values) > 1 and float(self.value) in (values[0], values[-1])

    @property
    def test_mae(self) -> float:
        """MAE on the test split, mean over the networks of all folds."""
        return float(np.mean([run["test_mae"] for run in self.runs]))


@dataclass(frozen=True)
class Task:
    """The contenders of a task, the best first, all measured on the same images."""

    name: str
    contenders: Sequence[StudyContender]

    @property
    def images(self) -> Predictions:
        """The predictions of the first contender, of whose images all others are."""
        return self.contenders[0].seeds[0]

    @property
    def unit(self) -> str:
        """The unit of its errors."""
        return str(self.images.meaning["unit"]) or "own unit"

    @property
    def common(self) -> dict[str, str]:
        """The parameters that all contenders share."""
        first, *others = [one.params for one in self.contenders]
        return {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}

    def find(self, method: str) -> StudyContender | None:
        """Return the contender of a method, or None."""
        return next((one for one in self.contenders if one.method == method), None)


def study_contender(found: Sequence[Contender]) -> StudyContender:
    """Return what a study keeps of a contender, given once for each of its seeds."""
    first, tuned = found[0], found[0].tuned
    name = re.sub(rf" {re.escape(tuned.field)}=\S+", "", configuration_name(first.name))
    by_value = grouped((run for one in found for run in one.tuned.runs), lambda run: run.data.params[tuned.field])
    runs = [
        {
            "seed": run.data.params["seed"],
            "fold": run.data.params["fold"],
            "images": int(run.data.params[VAL_IMAGES]),
            "val_mae": run.data.metrics[BY_IMAGE],
            "val_mae_groups": error_of(run),
            "test_mae": mae,
            "code_version": run.data.tags[CODE_VERSION],
            "run_id": run.info.run_id,
        }
        for one in found
        for run, mae in zip(one.out_of_fold.runs, one.test_maes, strict=True)
    ]
    params = first.out_of_fold.params
    return StudyContender(
        name=name,
        params={key: params[key] for key in sorted(IDENTITY - {tuned.field, "seed"} | {"folds"}) if key in params},
        tuned=tuned.field,
        value=tuned.value,
        tuning={value: float(np.mean([error_of(run) for run in same])) for value, same in by_value.items()},
        decoder=first.out_of_fold.decoder,
        runs=runs,
        seeds=tuple(
            kept(one.out_of_fold.seeds[0]) for one in sorted(found, key=lambda one: one.out_of_fold.params["seed"])
        ),
    )


def kept(predictions: Predictions) -> Predictions:
    """Return predictions in the order of their names, with the headline decoder's values alone, in single precision."""
    rows = predictions.take(np.argsort(predictions.names, kind="stable"))
    values = rows.values[rows.decoders[0]].astype(np.float32).astype(np.float64)
    return Predictions(
        names=rows.names,
        groups=rows.groups,
        values={"target": rows.values["target"], PREDICTED: values},
        levels=rows.levels,
        wrong_bits={},
        meaning={**rows.meaning, "decoders": [PREDICTED], "bits": {}},
    )


def with_contenders(task: Task | None, name: str, found: Sequence[Contender]) -> Task:
    """Return a task with more contenders, or those of the same name replaced; `task` is None for a new one.

    The values that were tuned in another sweep stay. Raises `UserError` where images or settings are not those of the task.
    """
    fresh = [study_contender(same) for same in grouped(found, lambda one: configuration_name(one.name)).values()]
    all_ones = {one.name: one for one in task.contenders} if task else {}
    first = next(iter(all_ones.values()), fresh[0])
    for one in fresh:
        refuse_other(first, one, name)
        old = all_ones.get(one.name)
        all_ones[one.name] = united(old, one) if old and old.tuned == one.tuned else one
    return Task(name, in_order(all_ones.values()))


def united(old: StudyContender, new: StudyContender) -> StudyContender:
    """Return the contender whose value is the best of what both tuned. Raises `UserError` where their errors contradict."""
    tuning = {**old.tuning, **new.tuning}
    best = min(tuning, key=lambda value: tuning[value])
    chosen = next((one for one in (new, old) if one.value == best), None)
    if chosen is None:
        raise UserError(f"{new.name} has no folds at its best {new.tuned}, {best}: sweep it with this value")
    return StudyContender(
        **{**vars_of(chosen), "tuning": dict(sorted(tuning.items(), key=lambda pair: float(pair[0])))}
    )


def vars_of(one: StudyContender) -> dict[str, Any]:
    """Return the fields of a contender by name."""
    return {name: getattr(one, name) for name in StudyContender.__dataclass_fields__}


def refuse_other(first: StudyContender, one: StudyContender, name: str) -> None:
    """Raise `UserError` where a contender had other settings than the first, or was measured on other images."""
    for key in SETTINGS:
        ours, theirs = one.params.get(key), first.params.get(key)
        if ours != theirs:
            raise UserError(f"{one.name} has {key} {ours}, task {name} has {theirs}: add it to a folder of its own")
    for seed in one.seeds:
        pairs = zip(identity(seed), identity(first.seeds[0]), strict=True)
        if not all(np.array_equal(ours, theirs) for ours, theirs in pairs):
            raise UserError(f"{one.name} was not measured on the images of task {name}: add it to a folder of its own")


def identity(images: Predictions) -> tuple[Any, Any, Any]:
    """Return what says which images these are: names, groups, targets."""
    return images.names, images.groups, images.values["target"]


def in_order(contenders: Iterable[StudyContender]) -> list[StudyContender]:
    """Sort contenders as a leaderboard does."""
    return sorted(contenders, key=lambda one: rank_key(one.errors.mae, one.name))


def write_task(task: Task, folder: Path) -> None:
    """Write the files of a task."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = [vars_of(one) | {"seeds": len(one.seeds), "params": own_params(task, one)} for one in task.contenders]
    content = {"meaning": task.images.meaning, "params": task.common, "contenders": entries}
    (folder / CONTENDERS).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    images, axes = task.images, task.images.axes
    columns: dict[str, Any] = {"name": images.names, "group": images.groups}
    columns |= {f"target {axis}": images.values["target"][:, i] for i, axis in enumerate(axes)}
    for one in task.contenders:
        for number, seed in enumerate(one.seeds):
            values = seed.values[PREDICTED].astype(np.float32)
            columns |= {f"{one.name} s{number} {axis}": values[:, i] for i, axis in enumerate(axes)}
    parquet.write_table(pyarrow.table(columns), folder / PREDICTIONS, compression="zstd")
    errors = pd.DataFrame({one.name: one.errors.group_errors for one in task.contenders})
    errors.insert(0, "group", images.group_names)
    errors.to_csv(folder / GROUPS, index=False, float_format="%.5f")


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
            contenders.append(StudyContender(**entry | {"seeds": seeds, "params": common | entry["params"]}))
    except (OSError, ValueError, KeyError, TypeError, pyarrow.ArrowException) as error:
        raise UserError(f"{folder} holds no task of a study: {sentence(error)}") from error
    return Task(name, in_order(contenders))


def read_study(folder: Path) -> dict[str, Task]:
    """Read all tasks below a folder, by the path of their folders. Raises `UserError` where there is none."""
    found = sorted(path.parent for path in folder.rglob(CONTENDERS))
    if not found:
        raise UserError(f"{folder} holds no task of a study: add a sweep with --add TASK=SWEEP")
    return {path.relative_to(folder).as_posix(): read_task(path, path.relative_to(folder).as_posix()) for path in found}
