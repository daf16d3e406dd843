"""`bel-results report`: a sweep as one HTML page that needs nothing else, for screen and paper."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from mlflow.entities import Run

from bel.errors import UserError
from bel.files import refuse_file
from bel.run_layout import NOTE
from bel.text import ALL_AXES
from results.analysis.leaderboard import boards, left_out
from results.commands.publish import BLOCK
from results.report import best, parts
from results.report.findings import Findings
from results.report.page import counted, facts, page, paragraph
from results.retest.evaluate import settings
from results.store.runs import find_sweeps, outcome, trials

FREE = ("data_root", "cache_dir")
KNOWN_AS = {"code": "code version", "images": "validated on images", "groups": "of groups", "beyond": "note"}
PARTS = (
    parts.leaderboard,
    parts.learning_curves,
    parts.space,
    parts.what_matters,
    best.angles,
    best.codes,
    best.calibration,
    best.spread,
    best.images,
)


def add(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("sweep", help="name of a sweep (its MLflow experiment), or a run id of it")
    parser.add_argument("-o", "--out", type=Path, default=Path("report.html"), help="the page (%(default)s)")
    parser.add_argument("--all-axes", action="store_true", help=ALL_AXES)
    parser.add_argument("--filter", default="", help="an MLflow filter of trials, e.g. \"params.head = 'bel'\"")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help=f"where images are here: {' or '.join(FREE)}"
    )
    parser.set_defaults(run=report)


def report(a: argparse.Namespace) -> int:
    """Write the page of a sweep, and say where."""
    refuse_file("--out", a.out)
    sweep = find_sweeps([a.sweep])[0]
    write(sweep, trials([sweep], a.filter), a.out, settings(a.set, FREE), a.all_axes)
    print(f"{a.out}: {a.out.stat().st_size / 1e6:.1f} MB")
    return 0


def write(
    sweep: Run, runs: list[Run], path: Path, changes: Mapping[str, Any] | None = None, all_axes: bool = False
) -> None:
    """Write the page of a sweep's trials; `changes` says where images are here.

    Raises `UserError` where no trial has an error.
    """
    found = boards(runs, all_axes=all_axes)
    if not found:
        raise UserError(f"no trial of {sweep.info.run_name} has an error to show ({ended(runs)}): run the sweep")
    all_of_it = Findings(found, changes or {})
    filled = [part(all_of_it) for part in PARTS]
    foot = f"Made from the MLflow run {sweep.info.run_id}. Figures show the first table only."
    html = page(title(sweep), head(sweep, runs, all_of_it), filled, paragraph(foot))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html, encoding="utf-8")


def title(sweep: Run) -> str:
    """The title of the page."""
    return f"Sweep {sweep.info.run_name}"


def head(sweep: Run, runs: list[Run], all_of_it: Findings) -> str:
    """Date, description, how the runs ended, and what the numbers travel with."""
    started = datetime.fromtimestamp(sweep.info.start_time / 1000)
    dates = f"Swept {started:%d %B %Y}, reported {datetime.now():%d %B %Y, %H:%M}"
    text = BLOCK.sub("", sweep.data.tags.get(NOTE, "")).strip()  # the table is below
    missing = sum(left_out(runs).values())
    how = f"{counted(len(runs), 'run')}: {ended(runs)}" + (f"; {missing} in no table" if missing else "")
    values = all_of_it.first.facts | {"configurations": str(len(all_of_it.found)), "runs": how}
    values = {KNOWN_AS.get(name, name): value for name, value in values.items()} | {"unit": all_of_it.unit}
    lead = f'<p class="lead">{escape(text)}</p>' if text else ""
    return f'<p class="date">{dates}</p>{lead}{facts(values)}'


def ended(runs: list[Run]) -> str:
    """How many runs ended in which way."""
    counts = Counter(outcome(run) for run in runs)
    return ", ".join(f"{count} {how}" for how, count in counts.most_common()) or "no trial at all"
