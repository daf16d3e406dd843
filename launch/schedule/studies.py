"""Optuna's studies: the journal that keeps one, and samplers by search method."""

import json
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from bel.errors import UserError, sentence
from launch.spec.sweep_file import Sweep

SAMPLERS: dict[str, Callable[..., BaseSampler]] = {  # by search method, from a seed
    "tpe": partial(TPESampler, constant_liar=True, multivariate=True, group=True),
    "gp": GPSampler,
    "cmaes": CmaEsSampler,
}
VALUES = "values"  # attribute of a trial: the config that was made of its suggestion

FROM_SOURCES = ("cmaes",)  # its sampler itself begins where the best trials of other sweeps are


def sampler(sweep: Sweep, seed: int, source_trials: Sequence[FrozenTrial] = ()) -> BaseSampler:
    """Return Optuna's sampler of the search method, which begins from trials of other sweeps where there are some."""
    more = {"source_trials": list(source_trials)} if source_trials else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return SAMPLERS[sweep.search.method](seed=seed, **more)


class Alone(JournalFileOpenLock):
    """No lock: the lease on a sweep lets one driver write, and a kill leaves nothing that the next one waits for."""

    def acquire(self) -> bool:
        """Do nothing."""
        return True

    def release(self) -> None:
        """Do nothing."""


class Journal(JournalFileBackend):
    """Optuna's file of a study, which takes a trial in a sixth of a database's time.

    What is written `at_once` is there as a whole or not at all. A line that a power cut left half written, behind which Optuna
    could read nothing, is cut off. Raises `ValueError` for a file with other lines.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Alone(str(path)))
        self.path, self.unwritten, self.waits = path, deque[dict[str, Any]](), False
        with path.open("rb+") as file:
            lines = [line for line in file if line.endswith(b"\n")]
            file.truncate(sum(map(len, lines)))
        self.written = len([json.loads(line) for line in lines])

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Write what is appended meanwhile at the end."""
        self.waits = True
        try:
            yield
        finally:
            self.waits = False
            self.append_logs([])

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines; what a full disk refuses is written with the next ones."""
        self.unwritten.extend(json.loads(json.dumps(logs)))
        if self.waits or not self.unwritten:
            return
        size = self.path.stat().st_size
        try:
            super().append_logs(list(self.unwritten))
        except OSError:
            os.truncate(self.path, size)
            raise
        self.written += len(self.unwritten)
        self.unwritten.clear()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Read lines, from one on, those that wait included."""
        if log_number_from < self.written:
            yield from super().read_logs(log_number_from)
        yield from list(self.unwritten)[max(log_number_from - self.written, 0) :]


class Kept(JournalStorage):
    """The storage of a study in a journal."""

    def __init__(self, kept: Journal) -> None:
        super().__init__(kept)
        self.at_once = kept.at_once


def journal(path: Path) -> Kept:
    """Return the storage of a study in a file, created where there is none. Raises `UserError` for a damaged one."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return Kept(Journal(path))
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:  # Optuna checks no line
        raise UserError(
            f"{path} is no journal of Optuna, or is damaged ({sentence(error)}): move it away, and the search begins anew, "
            "with the results of the trials that it suggests again"
        ) from error


def take_over(name: str, database: Path, path: Path) -> None:
    """Copy a study that an earlier version kept in a SQLite file into a journal, unless there is one: all of it or nothing.

    Raises `UserError` where the file cannot be read.
    """
    if path.exists() or not database.exists():
        return
    url = URL.create("sqlite", database=os.path.relpath(database)).render_as_string()
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    try:
        old = RDBStorage(url.replace("{", "{{").replace("}", "}}"))  # Optuna formats it as a template
        if name in optuna.get_all_study_names(old):
            optuna.copy_study(from_study_name=name, from_storage=old, to_storage=journal(part))
            part.replace(path)
    except (SQLAlchemyError, RuntimeError) as error:
        raise UserError(
            f"{database}, in which an earlier version kept its searches, cannot be read ({sentence(error)}): move it away, "
            "and a search of then begins anew"
        ) from error


def open_study(sweep: Sweep, name: str, storage: BaseStorage) -> optuna.Study:
    """Return the study of a sweep, created where there is none; a suggestion that is cut short is made again."""
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        load_if_exists=True,
        directions=[objective.direction for objective in sweep.search.objectives],
    )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if VALUES not in trial.user_attrs:
            fixed = "fixed_params" in trial.system_attrs  # it is a point; another one is drawn again
            storage.set_trial_state_values(trial._trial_id, TrialState.WAITING if fixed else TrialState.FAIL)
    return study
