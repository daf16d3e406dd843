"""The tables of a study: rows of plain values, and the Markdown that is made of them."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from bel.errors import UserError
from bel.text import axis_cells, axis_titles, markdown_table
from results.analysis import study_rows
from results.analysis.statistics import LEVEL
from results.analysis.study import Task
from results.analysis.study_rows import Row

INTERVAL = f"{LEVEL:.0%} interval"
END = "<!-- end -->"
REGULARISERS, SIZES = "/regularisers", "/size/"  # in the path of a task that is part of another one


class StudyTable(NamedTuple):
    """A table: its kind, the unit of its errors ("" where they are of several tasks), its rows, and the same as Markdown."""

    kind: str
    unit: str
    rows: list[Row]
    text: str


def main_tasks(tasks: Mapping[str, Task]) -> list[Task]:
    """Return the tasks that are no part of another one."""
    return [task for path, task in tasks.items() if "/" not in path]


def tables(tasks: Mapping[str, Task]) -> dict[str, StudyTable]:
    """Return all tables of a study by their names in its README."""
    found = {path: task_table(task) for path, task in tasks.items() if REGULARISERS not in path}
    found |= {f"{task.name} by target": target_table(task) for task in main_tasks(tasks)}
    found |= {f"{task.name} by decoder": decoder_table(task) for task in main_tasks(tasks)}
    if len(main_tasks(tasks)) > 1:
        found |= {"ranks": rank_table(main_tasks(tasks)), "differences that hold": hold_table(main_tasks(tasks))}
    found["claims"] = claim_table(main_tasks(tasks))
    for path, task in tasks.items():
        if path.endswith(REGULARISERS):
            found[path] = regulariser_table(whole_task(tasks, path.removesuffix(REGULARISERS), task), task)
    if sized := [task for path, task in tasks.items() if SIZES in path]:
        found["size"] = size_table(sized)
    return found


def records(found: Mapping[str, StudyTable]) -> list[dict[str, Any]]:
    """Return tables in plain values."""
    return [{"name": name, "kind": one.kind, "unit": one.unit, "rows": one.rows} for name, one in found.items()]


def whole_task(tasks: Mapping[str, Task], name: str, part: Task) -> Task:
    """Return the task of which another one is a part. Raises `UserError` where it is not there, or is of other images."""
    if name not in tasks:
        raise UserError(
            f"task {part.name} is compared with task {name}, which is not there: add a sweep with --add {name}=SWEEP"
        )
    if list(tasks[name].images.names) != list(part.images.names):
        raise UserError(f"tasks {part.name} and {name} are not of the same images: sweep both on the same ones")
    return tasks[name]


def span(interval: tuple[float, float] | None, form: str = "+.3f") -> str:
    """Format an interval; empty where there is none."""
    return "" if interval is None else f"{interval[0]:{form}} to {interval[1]:{form}}"


def number(value: float | None, form: str = ".3f") -> str:
    """Format a number; empty for None."""
    return "" if value is None else f"{value:{form}}"


def task_table(task: Task) -> StudyTable:
    """Return the contenders of a task, the best first; `=` marks a tie with the first, `*` a best value at an end."""
    rows, scale = study_rows.task_rows(task), task.contenders[0].errors.scale
    axes = list(rows[0]["by_axis"])
    shown = axis_titles(axes) if len(axes) > 1 else []
    pose = rows[0]["geodesic"] is not None
    titles = ["", "contender", rows[0]["tuned"], "decoder", f"MAE ({task.unit})", INTERVAL, "not tuned on", *shown]
    titles += ["geodesic"] if pose else []
    lines = [[*titles, "minus first", INTERVAL, "rank", "test MAE"]]
    for row in rows:
        tie = "=" if row["verdict"] == "no difference shown" else ""
        value = row["value"] + ("*" if row["at_end"] else "")
        cells = [f"{tie}{row['place']}", row["contender"], value, row["decoder"], number(row["mae"])]
        cells += [span(row["interval"], ".3f"), number(row["mae_not_tuned_on"])]
        cells += axis_cells(row["by_axis"], scale) if shown else []
        cells += [number(row["geodesic"])] if pose else []
        cells += [number(row["minus_first"], "+.3f"), span(row["minus_first_interval"])]
        lines.append([*cells, f"{row['rank']:.1f}", number(row["test_mae"])])
    return StudyTable("task", task.unit, rows, "\n".join(markdown_table(lines, left=(1, 3))))


def decoder_table(task: Task) -> StudyTable:
    """Return the error of each contender with several decoders by each of them, the one that the hold-out chose in bold."""
    rows = study_rows.decoder_rows(task)
    decoders = list(dict.fromkeys(decoder for row in rows for decoder in row["mae_by_decoder"]))
    lines = [["contender", *decoders]]
    for row in rows:
        cells = {decoder: f"{error:.3f}" for decoder, error in row["mae_by_decoder"].items()}
        cells[row["decoder"]] = f"**{cells[row['decoder']]}**"
        lines.append([row["contender"], *(cells.get(decoder, "") for decoder in decoders)])
    text = "\n".join(markdown_table(lines)) if rows else "No contender has more than one."
    return StudyTable("decoders", task.unit, rows, text)


def target_table(task: Task) -> StudyTable:
    """Return, by bin of the target, the three best contenders and the error of the one that is first overall."""
    rows, first = study_rows.target_rows(task), task.contenders[0].name
    lines = [["target", "from", "to", "images", "best", "second", "third", first]]
    for row in rows:
        errors = row["mae_by_contender"]
        best = [f"{name} {error:.3f}" for name, error in list(errors.items())[:3]]
        place = [row["axis"], f"{row['from']:g}", f"{row['to']:g}", str(row["images"])]
        lines.append([*place, *best, *[""] * (3 - len(best)), f"{errors[first]:.3f}"])
    return StudyTable("targets", task.unit, rows, "\n".join(markdown_table(lines, left=(0, 4, 5, 6))))


def rank_table(tasks: Sequence[Task]) -> StudyTable:
    """Return the place of each method on every task and the mean of its places, `=` for a tie with the first of a task."""
    rows = study_rows.rank_rows(tasks)
    lines = [["method", *(task.name for task in tasks), "mean"]]
    for row in rows:
        cells = [f"{'=' if row['tied'][name] else ''}{place}" for name, place in row["places"].items()]
        lines.append([row["method"], *cells, f"{row['mean']:.1f}"])
    return StudyTable("ranks", "", rows, "\n".join(markdown_table(lines)))


def hold_table(tasks: Sequence[Task]) -> StudyTable:
    """Return the differences whose intervals exclude 0 on every task, with the same sign."""
    rows = study_rows.hold_rows(tasks)
    lines = [["less error", "more error", *(f"{task.name} ({task.unit})" for task in tasks)]]
    for row in rows:
        cells = [f"{one['mean']:+.3f} ({span(one['interval'])})" for one in row["differences"].values()]
        lines.append([row["less_error"], row["more_error"], *cells])
    return StudyTable("hold", "", rows, "\n".join(markdown_table(lines, left=(0, 1))) if rows else "None.")


def claim_table(tasks: Sequence[Task]) -> StudyTable:
    """Return what others claim, and the ratio of errors with its interval on every task, confirmed, refuted or open."""
    rows = study_rows.claim_rows(tasks)
    lines = [["source", "claim", *(task.name for task in tasks)]]
    for row in rows:
        ours, theirs, claimed = row["ours"], row["theirs"], row["claimed"]
        text = f"{ours} {claimed:+.1f} % against {theirs}" if claimed else f"{ours} no worse than {theirs}"
        cells = [claim_cell(row["ratios"][task.name]) if task.name in row["ratios"] else "" for task in tasks]
        lines.append([row["source"], text, *cells])
    text = "\n".join(markdown_table(lines, left=(0, 1))) if rows else "None of them was measured."
    return StudyTable("claims", "%", rows, text)


def claim_cell(found: Row) -> str:
    """Return a ratio, its interval, and what follows for a claim."""
    return f"{percent(found)}: {found['verdict']}"


def regulariser_table(task: Task, regularised: Task) -> StudyTable:
    """Return each head with each regulariser minus the same head without one, paired over groups."""
    rows = study_rows.regulariser_rows(task, regularised)
    lines = [["head", "regulariser", "weight", "decoder", "without", "MAE", "minus without", INTERVAL, ""]]
    for row in rows:
        names = [row["head"], row["regulariser"], row["weight"] + ("*" if row["at_end"] else "")]
        cells = [number(row["mae"]), number(row["minus_without"], "+.3f"), span(row["minus_without_interval"])]
        lines.append([*names, row["decoder"], row["decoder_without"], *cells, row["verdict"]])
    return StudyTable("regularisers", task.unit, rows, "\n".join(markdown_table(lines, left=(0, 1, 3, 4, 8))))


def size_table(tasks: Sequence[Task]) -> StudyTable:
    """Return the error of each contender by number of training images, and classification against each other one."""
    rows = study_rows.size_rows(tasks)
    lines = [["method", *(f"{size['images']} images" for size in rows[0]["sizes"])]] if rows else [["method"]]
    for row in rows:
        cells = []
        for size in row["sizes"]:
            against = size["against"]
            cells.append(number(size["mae"]) + (f"; {against['method']} {percent(against)}" if against else ""))
        lines.append([row["method"], *cells])
    return StudyTable("size", tasks[0].unit, rows, "\n".join(markdown_table(lines)))


def percent(found: Row) -> str:
    """Format a ratio in per cent with its interval, where there is one."""
    return f"{found['mean']:+.1f} %" + (f" ({span(found['interval'], '+.1f')})" if found["interval"] else "")


def filled(text: str, found: Mapping[str, str], missing: Callable[[str], None]) -> str:
    """Return a README with every `<!-- table: NAME -->` followed by that table, up to `<!-- end -->`.

    Where that end is missing before the next table, it is written, and no line is replaced. `missing` is told of names
    that are no table.
    """
    first, *parts = re.split(r"^(?=<!-- table: )", text, flags=re.MULTILINE)
    filled_parts = []
    for part in parts:
        marker, _, rest = part.partition("\n")
        name = marker.removeprefix("<!-- table: ").removesuffix(" -->")
        if name not in found:
            missing(name)
        _, end, after = rest.partition(f"{END}\n")
        filled_parts.append(f"{marker}\n{found.get(name, '')}\n{END}\n{after if end else rest}")
    return "".join([first, *filled_parts])
