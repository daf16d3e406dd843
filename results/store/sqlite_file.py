"""An MLflow store in a SQLite file: its URL in a folder of any name, and its relocation where it was copied or moved."""

import os
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from bel.errors import UserError
from bel.run_layout import HEARTBEAT, STORE

EXPERIMENTS = """
    select e.experiment_id, e.name, e.artifact_location, t.value, e.lifecycle_stage = 'active'
        and exists (select 1 from runs r where r.experiment_id = e.experiment_id and r.lifecycle_stage = 'active')
    from experiments e left join experiment_tags t on t.experiment_id = e.experiment_id and t.key = ?
    where e.artifact_location like 'file:%'
"""
HEARTBEAT_SECONDS = 5.0  # between two heartbeats of a driver at work
HEARTBEATS = """
    select t.run_uuid, t.value from tags t join runs r on r.run_uuid = t.run_uuid where t.key = ? and r.status = 'RUNNING'
"""
URI_COLUMNS = (  # tables and columns of MLflow's that say where files are
    ("experiments", "artifact_location"), ("runs", "artifact_uri"), ("model_versions", "source"),
    ("model_versions", "storage_location"), ("logged_models", "artifact_location"),
)  # fmt: skip


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file for SQLAlchemy, which decodes it, and MLflow, which does not: relative if need be."""
    names = (str(path.absolute()), os.path.relpath(path))
    plain = (name for name in names if unquote(name) == name and "?" not in name)
    return f"sqlite:///{next(plain, quote(names[0]))}"


@dataclass(frozen=True)
class Moved:
    """An experiment of a copied or moved store: its id and name, and where its files were and are now."""

    identity: int
    name: str
    uri: str
    old: Path
    new: Path
    missing: bool  # it has runs, and their files are not in `new`


def relocate(database: Path) -> None:
    """Make a copied or moved store use the files beside it, and say so; the original is left alone.

    A copy would otherwise read the files of the original, write among them and delete some. Raises `UserError` where the
    files have not come along, or where a sweep is at work there, as on another host or in a container.
    """
    database = database.resolve()
    if not database.is_file():
        return
    try:
        found = moved(database)
    except sqlite3.Error:  # it is locked or no store: MLflow waits longer, and says so
        return
    if missing := [one for one in found if one.missing]:
        raise UserError(
            f"the store {database} was copied or moved without the files of {', '.join(one.name for one in missing)}: they "
            f"are looked for in {missing[0].new.parent}, and were in {missing[0].old.parent}: bring that folder too, or name "
            "the store that is there by MLFLOW_TRACKING_URI"
        )
    if found:
        if in_use(database):
            raise UserError(
                f"a sweep is at work in the store {database} under another path, its files are in {found[0].old.parent}: use "
                "the store by that path, or wait until the sweep has ended"
            )
        try:
            rewrite(database, found)
        except sqlite3.Error as error:
            raise UserError(
                f"the store {database} was copied or moved, and cannot note where its files are now ({error}): make it writable"
            ) from error
        print(
            f"note: the store was copied or moved here: its files are now those in {found[0].new.parent}",
            file=sys.stderr,
        )


def in_use(database: Path) -> bool:
    """Return whether the driver of a sweep is writing into a store: its heartbeat changes within seconds."""
    before = heartbeats(database)
    if before:
        time.sleep(HEARTBEAT_SECONDS * 1.5)
    return bool(before) and heartbeats(database) != before


def heartbeats(database: Path) -> list[tuple[str, str]]:
    """Read the heartbeats of all sweeps that have not ended, by run."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", timeout=60, uri=True)) as store:
        return sorted(store.execute(HEARTBEATS, (HEARTBEAT,)))


def moved(database: Path) -> list[Moved]:
    """Find the experiments of a store that were made in another file."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", timeout=60, uri=True)) as store:
        rows = store.execute(EXPERIMENTS, (STORE,)).fetchall()
    found = []
    for identity, name, uri, tag, used in rows:
        old = Path(unquote(urlsplit(uri).path)).resolve()
        made = Path(tag) if tag else old.parents[1] / database.name  # of a version that kept no tag
        new = database.parent / (
            old.relative_to(made.parent) if old.is_relative_to(made.parent) else Path("mlruns", name)
        )
        if made == database or (made.exists() and made.samefile(database)) or not (tag or new.is_dir()):
            continue
        found.append(Moved(identity, name, uri, old, new, bool(used) and not new.is_dir()))
    return found


def rewrite(database: Path, found: list[Moved]) -> None:
    """Write the new folders wherever the store says where files are, and tag the experiments with this file."""
    with closing(sqlite3.connect(database, timeout=60)) as store, store:
        known = {(table, row[1]) for table, _ in URI_COLUMNS for row in store.execute(f"pragma table_info({table})")}
        for one in found:
            old, new = one.uri.rstrip("/"), one.new.as_uri()
            for table, column in known & set(URI_COLUMNS):
                store.execute(
                    f"update {table} set {column} = ? || substr({column}, ?) where {column} = ? or substr({column}, 1, ?) = ?",
                    (new, len(old) + 1, old, len(old) + 1, f"{old}/"),
                )
            values = (STORE, str(database), one.identity)
            store.execute("insert or replace into experiment_tags (key, value, experiment_id) values (?, ?, ?)", values)
