"""Optuna's studies: the journal that keeps them, and samplers by search method."""

import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial
from sqlalchemy import URL

from launch.spec.sweep_file import Sweep

SAMPLERS: dict[str, Callable[..., BaseSampler]] = {  # by search method, from a seed
    "tpe": partial(TPESampler, constant_liar=True, multivariate=True, group=True),
    "gp": GPSampler,
    "cmaes": CmaEsSampler,
}


FROM_SOURCES = ("cmaes",)  # its sampler itself begins where the best trials of other sweeps are


def sampler(sweep: Sweep, seed: int, source_trials: Sequence[FrozenTrial] = ()) -> BaseSampler:
    """Return Optuna's sampler of the search method, which begins from trials of other sweeps where there are some."""
    more = {"source_trials": list(source_trials)} if source_trials else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return SAMPLERS[sweep.search.method](seed=seed, **more)


class Journal(JournalFileBackend):
    """Optuna's file of studies, which takes a trial in a sixth of a database's time.

    A line that a full disk or a power cut left half written, behind which Optuna could read nothing, is cut off before another
    one is written.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write lines."""
        self.mend()
        super().append_logs(logs)

    def mend(self) -> None:
        """Cut off a half line at the end; while another driver writes there is one, too, until it lets go of the lock."""
        with open(self._file_path, "ab+") as file:
            if whole(file):
                return
            self._lock.acquire()
            try:
                if not whole(file):
                    file.seek(0)
                    file.truncate(sum(len(line) for line in file if line.endswith(b"\n")))
            finally:
                self._lock.release()


def whole(file: BinaryIO) -> bool:
    """Return whether a file ends with the end of a line, or is empty."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 1, 0))
    return file.read(1) in (b"", b"\n")


def journal(path: Path) -> JournalStorage:
    """Return the storage of studies in a file, created where there is none."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = Journal(str(path), JournalFileOpenLock(str(path)))
    found.mend()
    return JournalStorage(found)


def take_over(name: str, database: Path, storage: BaseStorage) -> None:
    """Copy a study that an earlier version kept in a SQLite file, unless all of it was copied before."""
    if not database.exists():
        return
    url = URL.create("sqlite", database=os.path.relpath(database)).render_as_string()
    old = RDBStorage(url.replace("{", "{{").replace("}", "}}"))  # Optuna formats it as a template
    if name not in optuna.get_all_study_names(old):
        return
    if name in optuna.get_all_study_names(storage):
        there, here = (optuna.load_study(study_name=name, storage=one).trials for one in (old, storage))
        if len(here) >= len(there):
            return
        optuna.delete_study(study_name=name, storage=storage)  # a kill has cut the copy short
    optuna.copy_study(from_study_name=name, from_storage=old, to_storage=storage)


def open_study(sweep: Sweep, name: str, storage: BaseStorage) -> optuna.Study:
    """Return the study of a sweep, created where there is none."""
    return optuna.create_study(
        study_name=name,
        storage=storage,
        load_if_exists=True,
        directions=[objective.direction for objective in sweep.search.objectives],
    )
