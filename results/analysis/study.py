"""A study: contenders of several tasks out of fold, and what may stand in one task."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np

from bel.config import TrainConfig
from bel.errors import UserError
from bel.regularisers import NONE
from bel.run_layout import CODE_VERSION, VAL_IMAGES
from bel.text import is_number
from results.analysis.configurations import Configuration
from results.analysis.folds import IDENTITY, Contender, is_at_end, logged_error
from results.analysis.ranking import configuration_name, grouped, mean_by_decoder, rank_key
from results.store.predictions import Predictions

PREDICTED = "predicted"  # the value of the chosen decoder, in the predictions of a study
SETTINGS = (
    "protocol", "crop", "folds", "split_seed", "backbone", "weights_digest", "image_size", "frame_stride", "epochs",
    "batch_size",
)  # fmt: skip
HOW_COMPUTED = {"device", "precision", "memory_format", "cuda_graph", "eval_batch_size"}  # of one contender run twice
DEFAULTS = {f.name: str(f.default) for f in fields(TrainConfig)}  # of parameters that an earlier version did not have
Run = dict[str, Any]  # plain values of a run


@dataclass(frozen=True)
class StudyContender:
    """A contender of a study: what distinguishes it, how it was tuned, its runs, and its predictions out of fold by seed.

    `tuning` is the error on the hold-out by value of the tuned field, of the best decoder there; `value` and `decoder` are the
    best. `decoders` is the error out of fold by decoder, `hold_out` the groups that decided.
    """

    name: str
    params: Mapping[str, str]
    tuned: str
    value: str
    tuning: Mapping[str, float]
    decoder: str
    decoders: Mapping[str, float]
    runs: Sequence[Run]
    hold_out: Sequence[str]
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
        return is_at_end(self.value, self.tuning)

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
    found = sorted(found, key=lambda one: int(one.out_of_fold.params["seed"]))
    first, tuned = found[0], found[0].tuned
    params = first.out_of_fold.params
    name = re.sub(rf" {re.escape(tuned.field)}=\S+", "", configuration_name(first.name))
    if (regulariser := params.get("regulariser", NONE)) != NONE and " regulariser=" not in name:
        name += f" regulariser={regulariser}"  # the name of a run says only what varied in its sweep
    runs = [
        {
            "seed": run.data.params["seed"],
            "fold": run.data.params["fold"],
            "images": int(run.data.params[VAL_IMAGES]),
            "val_mae": logged_error(run, tuned.decoder),
            "test_mae": mae,
            "code_version": run.data.tags[CODE_VERSION],
            "run_id": run.info.run_id,
        }
        for one in found
        for run, mae in zip(one.out_of_fold.runs, one.test_maes, strict=True)
    ]
    return StudyContender(
        name=name,
        params={key: params[key] for key in sorted(IDENTITY - {tuned.field, "seed"} | {"folds"}) if key in params},
        tuned=tuned.field,
        value=tuned.value,
        tuning=dict(tuned.tuning),
        decoder=tuned.decoder,
        decoders=mean_by_decoder([one.out_of_fold.seeds[0].errors_by_decoder() for one in found]),
        runs=runs,
        hold_out=first.hold_out,
        seeds=tuple(kept(one.out_of_fold.seeds[0], tuned.decoder) for one in found),
    )


def kept(predictions: Predictions, decoder: str) -> Predictions:
    """Return predictions in the order of their names, with one decoder's values alone, in single precision."""
    rows = predictions.take(np.argsort(predictions.names, kind="stable"))
    values = rows.values[decoder].astype(np.float32).astype(np.float64)
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
        if old := all_ones.get(one.name):
            refuse_namesake(old, one, name)
        all_ones[one.name] = united(old, one) if old and old.tuned == one.tuned else one
    return Task(name, in_order(all_ones.values()))


def united(old: StudyContender, new: StudyContender) -> StudyContender:
    """Return the contender whose value is the best of what both tuned. Raises `UserError` where neither has folds at it."""
    tuning = {**old.tuning, **new.tuning}
    best = min(tuning, key=lambda value: tuning[value])
    chosen = next((one for one in (new, old) if one.value == best), None)
    if chosen is None:
        raise UserError(f"{new.name} has no folds at its best {new.tuned}, {best}: sweep it with this value")
    ordered = sorted(tuning, key=lambda value: (float(value) if is_number(value) else np.inf, value))
    return StudyContender(**{**vars_of(chosen), "tuning": {value: tuning[value] for value in ordered}})


def vars_of(one: StudyContender) -> dict[str, Any]:
    """Return the fields of a contender by name."""
    return {name: getattr(one, name) for name in StudyContender.__dataclass_fields__}


def refuse_other(first: StudyContender, one: StudyContender, name: str) -> None:
    """Raise `UserError` where a contender had other settings than the first, or was measured on other images."""
    for key in SETTINGS:
        ours, theirs = one.params.get(key), first.params.get(key)
        if ours != theirs:
            raise UserError(f"{one.name} has {key} {ours}, task {name} has {theirs}: add it to a folder of its own")
    if list(one.hold_out) != list(first.hold_out):
        raise UserError(
            f"{one.name} was tuned on other groups than task {name}: give it the same val_fraction and folds, or a folder "
            "of its own"
        )
    for seed in one.seeds:
        pairs = zip(identity(seed), identity(first.seeds[0]), strict=True)
        if not all(np.array_equal(ours, theirs) for ours, theirs in pairs):
            raise UserError(f"{one.name} was not measured on the images of task {name}: add it to a folder of its own")


def refuse_namesake(old: StudyContender, new: StudyContender, name: str) -> None:
    """Raise `UserError` where a contender is another one of the same name, as a name says only what varied in its sweep."""
    for key, (before, now) in differing(old, new).items():
        raise UserError(
            f"{new.name} has {key} {now}, the contender of that name in task {name} has {before}: add it to a folder of "
            "its own"
        )


def differing(one: StudyContender, other: StudyContender) -> dict[str, tuple[str, str]]:
    """Return the parameters, by name, in which two contenders differ, but for those that either tuned."""
    keys = sorted((one.params.keys() | other.params.keys()) - HOW_COMPUTED - {one.tuned, other.tuned})
    pairs = {key: tuple(each.params.get(key, DEFAULTS.get(key, "")) for each in (one, other)) for key in keys}
    return {key: (ours, theirs) for key, (ours, theirs) in pairs.items() if ours != theirs}


def without_regulariser(task: Task, one: StudyContender) -> StudyContender:
    """Return the contender of a task that differs from one in the regulariser alone. Raises `UserError` for none."""
    free = {"regulariser", "regulariser_weight"}
    for plain in task.contenders:
        if plain.params.get("regulariser", NONE) == NONE and differing(plain, one).keys() <= free:
            return plain
    raise UserError(f"task {task.name} has no contender that differs from {one.name} in the regulariser alone: add it")


def identity(images: Predictions) -> tuple[Any, Any, Any]:
    """Return what says which images these are: names, groups, targets."""
    return images.names, images.groups, images.values["target"]


def in_order(contenders: Iterable[StudyContender]) -> list[StudyContender]:
    """Sort contenders as a leaderboard does."""
    return sorted(contenders, key=lambda one: rank_key(one.errors.mae, one.name))
