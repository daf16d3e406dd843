"""Out-of-fold errors of a tuned sweep: each training image is predicted by a network that has not seen its group.

All is read from the store: the validation predictions of each fold's run are of the images that it held out.
"""

import math
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from statistics import fmean

from mlflow.entities import Run

from bel.config import TrainConfig
from bel.errors import UserError
from bel.run_layout import BY_IMAGE
from bel.text import is_number
from results.analysis.configurations import Configuration, error_of, identity, is_ranked
from results.analysis.ranking import configuration_name, grouped, mean_by_decoder, rank_key
from results.store.predictions import Predictions, concatenated
from results.store.runs import existing_predictions, fetch_predictions, on_fold, parent_of, section_of, trials

# Fields in which the runs of one contender may differ: how its groups are divided, and where its files are.
MAY_DIFFER = {
    "fold", "folds", "val_fraction", "selection", "data_root", "cache_dir", "cache", "boxes", "weights", "plugins",
}  # fmt: skip
IDENTITY = {f.name for f in fields(TrainConfig)} - MAY_DIFFER | {
    "weights_digest",
    "plugin_digest",
}  # parameters of a contender
NOT_APPLICABLE = ""  # of a field that a contender does not have, as the weight of no regulariser
Runs = dict[tuple[tuple[str, str], ...], list[Run]]  # by the parameters that they have in common


@dataclass(frozen=True)
class Tuned:
    """What the hold-out decided for a contender: of a field the value, and the decoder, with the least error.

    `tuning` is the error by value, mean over seeds, of its best decoder; `decoder` is "" for the headline.
    """

    field: str
    value: str
    tuning: Mapping[str, float]
    decoder: str
    runs: list[Run]

    @property
    def at_end(self) -> bool:
        """Whether the best value is the first or the last of the values that were tried."""
        return is_at_end(self.value, self.tuning)


@dataclass(frozen=True)
class Contender:
    """A configuration out of fold, of one seed, and each fold's predictions of its held-out images and of the test split."""

    tuned: Tuned
    out_of_fold: Configuration
    held: list[Predictions]
    tests: list[Predictions]

    @property
    def name(self) -> str:
        """The name of its runs without the fold."""
        return self.out_of_fold.name

    @cached_property
    def hold_out(self) -> list[str]:
        """The groups that chose its value and decoder; none where an earlier version stored no predictions of them."""
        held = fetch_predictions(self.tuned.runs[0], "val", bits=False)
        return [str(name) for name in held.group_names] if held else []

    @property
    def geodesic(self) -> float:
        """The out-of-fold angle between rotations in degrees, mean over groups."""
        held = self.out_of_fold.seeds[0]
        return float(held.by_group(held.geodesic(self.tuned.decoder)).mean())

    @property
    def test_maes(self) -> list[float]:
        """The MAE of each fold's network on the test split."""
        return [float(test.mean_errors(self.tuned.decoder).mean()) for test in self.tests]


def contenders(parent: Run, test_of: Callable[[Run], Predictions], say: Callable[[str], None]) -> list[Contender]:
    """Return the contenders of a tuned sweep that have all their folds, the best first; `say` is told of each run.

    `test_of` gives a run's predictions on the test split. Raises `UserError` where no contender has all its folds, or
    where stored predictions are not those of the logged error.
    """
    found = [contender(tuned, runs, test_of, say) for tuned, runs in tuned_runs(parent) if complete(tuned, runs, say)]
    if not found:
        raise UserError(f"run {parent.info.run_id} has no contender with all its folds: run the sweep again to go on")
    return in_order(found)


def in_order(found: list[Contender]) -> list[Contender]:
    """Sort contenders as a leaderboard does: by the mean over the seeds of each, then by their own error."""
    seeds = grouped(found, lambda one: configuration_name(one.name))
    most = max(map(len, seeds.values()))
    maes = {name: fmean(one.out_of_fold.mae for one in seed) for name, seed in seeds.items()}
    keys = {name: rank_key(mae, name, len(seeds[name]) < most) for name, mae in maes.items()}
    return sorted(found, key=lambda one: (keys[configuration_name(one.name)], rank_key(one.out_of_fold.mae, one.name)))


def runs_of_all_folds(run: Run) -> list[Run]:
    """Return the runs of a run's configuration and seed on all folds, in their order; of a run on no fold, itself.

    Raises `UserError` where a fold has no finished run.
    """
    if not on_fold(run):
        return [run]
    who, seed = identity(run), run.data.params["seed"]
    found = [one for one in trials([parent_of(run)]) if is_ranked(one) and on_fold(one) and identity(one) == who]
    by_fold = {int(one.data.params["fold"]): one for one in found if one.data.params["seed"] == seed}
    if sorted(by_fold) != list(range(int(run.data.params["folds"]))):
        raise UserError(
            f"run {run.info.run_id} is on one of {run.data.params['folds']} folds, and its configuration has finished "
            f"{sorted(by_fold)} only: run the sweep again to go on"
        )
    return [by_fold[fold] for fold in sorted(by_fold)]


def tuned_runs(parent: Run) -> list[tuple[Tuned, list[Run]]]:
    """Return each contender of a tuned sweep, one a seed, with its runs on folds in order of the folds.

    The best value has the least mean over seeds of what the sweep minimises, by any decoder; of the values that are on folds,
    where some are, as earlier versions chose by the headline alone. Raises `UserError` for another run.
    """
    search = section_of(parent, "search")
    name, objectives = search.get("tune"), search.get("objective")
    if not isinstance(name, str) or not isinstance(objectives, list):
        raise UserError(
            f"run {parent.info.run_id} is no tuned sweep: give the parent of one whose file says search.tune"
        )
    error = image_error if objectives[:1] == ["val/mae"] else error_of
    hold_out, on_folds = by_contender(parent, name)
    return [
        (tuned, [run for run in on_folds.get(who, []) if chosen(tuned, run)])
        for who, runs in hold_out.items()
        for tuned in decided(name, runs, error, {value_of(run, name) for run in on_folds.get(who, [])})
    ]


def by_contender(parent: Run, tuned: str) -> tuple[Runs, Runs]:
    """Group the ranked trials of a sweep on its hold-out, the best first, and on its folds, in their order."""
    hold_out: Runs = {}
    on_folds: Runs = {}
    for run in sorted(filter(is_ranked, trials([parent])), key=lambda run: rank_key(error_of(run), run.info.run_name)):
        who = tuple(sorted((key, value) for key, value in run.data.params.items() if key in IDENTITY - {tuned, "seed"}))
        (on_folds if on_fold(run) else hold_out).setdefault(who, []).append(run)
    for runs in on_folds.values():
        runs.sort(key=lambda run: int(run.data.params["fold"]))
    return hold_out, on_folds


def image_error(run: Run) -> float:
    """Return the logged error of a run over images."""
    return float(run.data.metrics[BY_IMAGE])


def value_of(run: Run, name: str) -> str:
    """Return a run's value of a field."""
    return run.data.params.get(name, NOT_APPLICABLE)


def decided(name: str, runs: list[Run], error: Callable[[Run], float], on_folds: Container[str] = ()) -> list[Tuned]:
    """Return what the hold-out runs of a contender decided about a field and the decoder, once for each of its seeds."""
    by_value = grouped(runs, lambda run: value_of(run, name))
    errors = {value: mean_by_decoder([by_decoder(run, error) for run in same]) for value, same in by_value.items()}
    most, tuning = max(map(len, by_value.values())), {value: min(found.values()) for value, found in errors.items()}
    among = [value for value in by_value if value in on_folds] or list(by_value)
    best = min(among, key=lambda value: (len(by_value[value]) < most, tuning[value]))
    decoder = min(errors[best], key=lambda decoder: errors[best][decoder])
    seeds = sorted({run.data.params["seed"] for run in runs}, key=int)
    return [
        Tuned(name, best, tuning, decoder, [run for run in runs if run.data.params["seed"] == seed]) for seed in seeds
    ]


def by_decoder(run: Run, error: Callable[[Run], float]) -> dict[str, float]:
    """Return a run's error by decoder, by "" the headline's, which is all that is known where no predictions are stored."""
    held = fetch_predictions(run, "val", bits=False)
    return {"": error(run)} | (held.errors_by_decoder(over_images=error is image_error) if held else {})


def logged_error(run: Run, decoder: str) -> float:
    """Return the error of a decoder over images that a run on a fold logged for its last epoch."""
    return float(run.data.metrics[f"val/{decoder}/mae"])


def is_at_end(best: str, values: Iterable[str]) -> bool:
    """Return whether a value is the least or the largest of several; words among them, as a theta of none, are neither."""
    numbers = {float(value) for value in values if is_number(value)}
    return len(numbers) > 1 and is_number(best) and float(best) in (min(numbers), max(numbers))


def chosen(tuned: Tuned, run: Run) -> bool:
    """Say whether a run on a fold has the value that was decided, and the seed that it was decided for."""
    seed = tuned.runs[0].data.params["seed"]
    return value_of(run, tuned.field) == tuned.value and run.data.params["seed"] == seed


def complete(tuned: Tuned, runs: list[Run], say: Callable[[str], None]) -> bool:
    """Return whether a contender has every fold once, and say where it has not."""
    present = [int(run.data.params["fold"]) for run in runs]
    if runs and present == list(range(int(runs[0].data.params["folds"]))):
        return True
    say(
        f"left out: {tuned.runs[0].info.run_name} is finished on the folds {present} only: run the sweep again to go on"
    )
    return False


def contender(
    tuned: Tuned, runs: list[Run], test_of: Callable[[Run], Predictions], say: Callable[[str], None]
) -> Contender:
    """Put a contender together from its runs, one a fold."""
    held: list[Predictions] = [existing_predictions(run, "val", bits=False) for run in runs]
    tuned, tests = replace(tuned, decoder=tuned.decoder or held[0].decoders[0]), []
    for run, own in zip(runs, held, strict=True):
        tests.append(test_of(run))
        say(checked(run, own, tests[-1], tuned.decoder))
    whole = concatenated(held)
    name = runs[0].info.run_name.partition(" fold=")[0]
    return Contender(tuned, Configuration(name, tuple(runs), (whole,), tuned.decoder), held, tests)


def checked(run: Run, held: Predictions, test: Predictions, decoder: str) -> str:
    """Return a run's errors in a line. Raises `UserError` where its stored predictions are not of its logged error."""
    if decoder not in held.decoders or decoder not in test.decoders or f"val/{decoder}/mae" not in run.data.metrics:
        raise UserError(
            f"run {run.info.run_id} ({run.info.run_name}) is of another version than the hold-out, and was not read by "
            f"decoder {decoder}: run the sweep again with this version"
        )
    error, logged = float(held.mean_errors(decoder).mean()), logged_error(run, decoder)
    if not math.isclose(error, logged, rel_tol=1e-9, abs_tol=1e-9):
        raise UserError(
            f"run {run.info.run_id} does not repeat its logged error: its stored predictions have {error:.6f}, logged is "
            f"{logged:.6f}: they are not of one training"
        )
    return (
        f"{run.info.run_name:<40} out of fold {error:7.3f} repeats ({abs(error - logged):.0e})  test "
        f"{float(test.mean_errors(decoder).mean()):7.3f}  {decoder}"
    )
