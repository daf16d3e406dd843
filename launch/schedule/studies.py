"""Optuna's studies: the journal that keeps one, and samplers by search method."""

import os
import warnings
from collections.abc import Callable, Sequence
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

    A line that a full disk or a kill left half written, behind which Optuna could read nothing, is cut off before another one
    is written.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines."""
        self.mend()
        super().append_logs(logs)

    def mend(self) -> None:
        """Cut off a half line at the end."""
        with open(self._file_path, "rb+") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 1, 0))
            if file.read(1) not in (b"", b"\n"):
                file.seek(0)
                file.truncate(sum(len(line) for line in file if line.endswith(b"\n")))


def journal(path: Path) -> JournalStorage:
    """Return the storage of a study in a file, created where there is none. Raises `UserError` for a damaged one."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = Journal(str(path), Alone(str(path)))
    found.mend()
    try:
        return JournalStorage(found)
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
    """Return the study of a sweep, created where there is none; a suggestion that a kill cut short is made again."""
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        load_if_exists=True,
        directions=[objective.direction for objective in sweep.search.objectives],
    )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if VALUES not in trial.user_attrs:  # in a new trial, without parts of it that would shift what its seed draws
            same = (
                "fixed_params" in trial.system_attrs or sweep.search.method == "cmaes"
            )  # it draws by a trial's number
            storage.set_trial_state_values(trial._trial_id, TrialState.WAITING if same else TrialState.FAIL)
    return study
