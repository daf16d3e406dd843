"""`bel-results report`: a sweep as one HTML page that needs nothing else, for screen and paper."""

import argparse
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mlflow.entities import Run

from bel.errors import UserError
from bel.files import refuse_file
from bel.output import Answer, add_format
from bel.run_layout import NOTE
from bel.text import ALL_AXES
from results.analysis.leaderboard import boards, left_out
from results.report import best_configurations, overview
from results.report.page import plural, render
from results.report.report_data import ReportData
from results.retest.evaluate import add_settings, settings
from results.store.description import BLOCK
from results.store.runs import find_sweeps, outcome, trials

FREE = ("data_root", "cache_dir")
KNOWN_AS = {"code": "code version", "images": "validated on images", "groups": "of groups", "beyond": "note"}
SECTIONS = {
    "Leaderboard": overview.leaderboard,
    "Learning curves": overview.learning_curves,
    "What was varied": overview.space,
    "What matters": overview.importance,
    "Error by target": best_configurations.error_by_target,
    "Codes and wrong bits": best_configurations.wrong_bits,
    "Calibration": best_configurations.calibration,
    "Spread of errors": best_configurations.error_distribution,
    "Worst and median images": best_configurations.images,
}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("sweep", help="name of a sweep (its MLflow experiment), or a run id of it")
    parser.add_argument("-o", "--out", type=Path, default=Path("report.html"), help="the page (%(default)s)")
    parser.add_argument("--all-axes", action="store_true", help=ALL_AXES)
    parser.add_argument("--filter", default="", help="an MLflow filter of trials, e.g. \"params.head = 'bel'\"")
    add_settings(parser, f"where images are here: {' or '.join(FREE)}")
    add_format(parser)


def report(a: argparse.Namespace, answer: Answer) -> int:
    """Write the page of a sweep, and say where."""
    refuse_file("--out", a.out)
    sweep = find_sweeps([a.sweep])[0]
    write(sweep, trials([sweep], a.filter), a.out, settings(a.set, FREE), a.all_axes)
    answer.values = {"sweep_id": sweep.info.run_id, "file": a.out, "bytes": a.out.stat().st_size}
    answer.say(f"{a.out}: {answer.values['bytes'] / 1e6:.1f} MB")
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
    data = ReportData(found, changes or {})
    started = datetime.fromtimestamp(sweep.info.start_time / 1000)
    html = render(
        title=f"Sweep {sweep.info.run_name}",
        dates=f"Swept {started:%d %B %Y}, reported {datetime.now():%d %B %Y, %H:%M}",
        description=BLOCK.sub("", sweep.data.tags.get(NOTE, "")).strip(),  # the table is below
        facts=facts(runs, data),
        sections={title: content(data) for title, content in SECTIONS.items()},
        footer=f"Made from the MLflow run {sweep.info.run_id}. Figures show the first table only.",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(html, encoding="utf-8")


def facts(runs: list[Run], data: ReportData) -> dict[str, str]:
    """Return how the runs ended, and what the numbers travel with."""
    missing = sum(left_out(runs).values())
    how = f"{plural(len(runs), 'run')}: {ended(runs)}" + (f"; {missing} in no table" if missing else "")
    values = data.board.facts | {"configurations": str(len(data.configurations)), "runs": how}
    return {KNOWN_AS.get(name, name): value for name, value in values.items()} | {"unit": data.unit}


def ended(runs: list[Run]) -> str:
    """How many runs ended in which way."""
    counts = Counter(outcome(run) for run in runs)
    return ", ".join(f"{count} {how}" for how, count in counts.most_common()) or "no trial at all"
