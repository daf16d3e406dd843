"""`bel-results study`: the tables and pictures of a study over several tasks, from the files that it keeps of each."""

import argparse
import re
from functools import partial
from pathlib import Path

from bel.errors import UserError
from bel.output import Answer, add_format
from bel.text import harmless
from results.analysis.across import average_ranks
from results.analysis.folds import contenders
from results.analysis.study import with_contenders
from results.analysis.study_files import CONTENDERS, read_study, read_task, write_task
from results.commands.folds import test_predictions
from results.report.critical_difference import draw_ranks
from results.retest.evaluate import FREE, add_settings, settings
from results.store.runs import find_run
from results.tables.study import REGULARISERS, filled, records, tables

README, PICTURE = "README.md", "ranks.png"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("folder", type=Path, help="folder of the study, with a folder for each task")
    parser.add_argument(
        "--add",
        metavar="TASK=SWEEP",
        action="append",
        default=[],
        help="put the whole contenders of a tuned sweep, given by the MLflow id of its parent run, into a task",
    )
    add_settings(parser, "for the re-test of a run without test predictions, e.g. data_root=/data, device=cpu")
    add_format(parser)


def study(a: argparse.Namespace, answer: Answer) -> int:
    """Add contenders, write pictures and the tables of README.md, and print the tables."""
    for given in a.add:
        add_sweep(a.folder, given, settings(a.set, FREE))
    tasks = read_study(a.folder)
    found = tables(tasks)
    for path, task in tasks.items():
        if not path.endswith(REGULARISERS) and len(task.contenders) > 1:
            draw_ranks(average_ranks(task), path, a.folder / path / PICTURE)
    readme = a.folder / README
    answer.values = {"folder": a.folder, "tables": records(found), "readme": readme if readme.is_file() else None}
    for name, table in found.items():
        answer.say("\n".join(["", harmless(name), "", *map(harmless, table.text.splitlines())]))
    if readme.is_file():
        text = readme.read_text(encoding="utf-8")
        texts = {name: table.text for name, table in found.items()}
        readme.write_text(filled(text, texts, partial(refuse_name, readme, list(found))), encoding="utf-8")
        answer.say(f"\nwritten to {readme}")
    return 0


def add_sweep(folder: Path, given: str, changes: dict[str, object]) -> None:
    """Add the whole contenders of a sweep to a task. Raises `UserError` where they are not of its images or settings."""
    name, _, run_id = given.partition("=")
    if not re.fullmatch(r"\w[\w-]*(/\w[\w-]*)*", name) or not run_id:
        raise UserError(
            f"--add must be TASK=SWEEP, a folder in the study and the parent run's id, got {given!r}: e.g. --add pose=1a2b..."
        )
    there = folder / name
    before = read_task(there, name) if (there / CONTENDERS).exists() else None
    found = contenders(find_run(run_id), partial(test_predictions, changes=changes), partial(print, flush=True))
    write_task(with_contenders(before, name, found), there)


def refuse_name(readme: Path, names: list[str], name: str) -> None:
    """Raise `UserError` for a table that does not exist."""
    raise UserError(f"{readme} asks for table {name!r}: the study has {', '.join(names)}")
