"""The tables of a study, as Markdown: by task, across tasks, claims, regularisers, numbers of images, by target."""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bel.errors import UserError
from bel.text import axis_cells, axis_titles, markdown_table
from results.analysis.across import average_ranks, best_by_target, difference, methods_of_all, ratio, that_hold
from results.analysis.statistics import LEVEL, Difference
from results.analysis.study import StudyContender, Task, without_regulariser

INTERVAL = f"{LEVEL:.0%} interval"
CLAIMS = (  # ours, theirs, the source, and by how many per cent it says that ours has more error; None: no difference
    ("rlel", "direct l1", "RLEL (ICLR 2023)", -10.9),
    ("rlel", "classification", "RLEL (ICLR 2023)", -12.4),
    ("classification", "direct l1", "Paplham (CVPR 2024)", None),
    ("classification", "soft_label", "Paplham (CVPR 2024)", None),
    ("classification", "dldl_v2", "Paplham (CVPR 2024)", None),
    ("classification", "mean_variance", "Paplham (CVPR 2024)", None),
    ("classification", "sord", "Paplham (CVPR 2024)", None),
    ("classification", "or_cnn", "Paplham (CVPR 2024)", None),
)
END = "<!-- end -->"
REGULARISERS, SIZES = "/regularisers", "/size/"  # in the path of a task that is part of another one


def main_tasks(tasks: Mapping[str, Task]) -> list[Task]:
    """Return the tasks that are no part of another one."""
    return [task for path, task in tasks.items() if "/" not in path]


def tables(tasks: Mapping[str, Task]) -> dict[str, str]:
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


def whole_task(tasks: Mapping[str, Task], name: str, part: Task) -> Task:
    """Return the task of which another one is a part. Raises `UserError` where it is not there, or is of other images."""
    if name not in tasks:
        raise UserError(
            f"task {part.name} is compared with task {name}, which is not there: add a sweep with --add {name}=SWEEP"
        )
    if list(tasks[name].images.names) != list(part.images.names):
        raise UserError(f"tasks {part.name} and {name} are not of the same images: sweep both on the same ones")
    return tasks[name]


def span(found: Difference, form: str = "+.3f") -> str:
    """Format an interval; empty where there is none."""
    return "" if found.interval is None else f"{found.interval[0]:{form}} to {found.interval[1]:{form}}"


def task_table(task: Task) -> str:
    """Return the contenders of a task, the best first; `=` marks a tie with the first, `*` a best value at an end."""
    first, ranks = task.contenders[0], average_ranks(task)
    rank_of = dict(zip(ranks.names, ranks.ranks, strict=True))
    axes = first.errors.by_axis
    shown = axis_titles(list(axes)) if len(axes) > 1 else []
    pose = task.images.meaning["pose"]
    titles = ["", "contender", first.tuned, "decoder", f"MAE ({task.unit})", INTERVAL, "not tuned on", *shown]
    titles += ["geodesic"] if pose else []
    lines = [[*titles, "minus first", INTERVAL, "rank", "test MAE"]]
    for place, one in enumerate(task.contenders, 1):
        gap = difference(task, one, first)
        tie = "=" if place > 1 and gap.verdict == "no difference shown" else ""
        interval = one.errors.interval
        value = one.value + ("*" if one.at_end else "")
        cells = [f"{tie}{place}", one.name, value, one.decoder, f"{one.errors.mae:.3f}"]
        cells += ["" if interval is None else "{:.3f} to {:.3f}".format(*interval)]
        cells += [f"{one.errors.mae_without(one.hold_out):.3f}" if one.hold_out else ""]
        cells += axis_cells(one.errors.by_axis, one.errors.scale) if shown else []
        cells += [f"{geodesic(one):.3f}"] if pose else []
        cells += ["", ""] if place == 1 else [f"{gap.mean:+.3f}", span(gap)]
        lines.append([*cells, f"{rank_of[one.name]:.1f}", f"{one.test_mae:.3f}"])
    return "\n".join(markdown_table(lines, left=(1, 3)))


def decoder_table(task: Task) -> str:
    """Return the error of each contender with several decoders by each of them, the one that the hold-out chose in bold."""
    several = [one for one in task.contenders if len(one.decoders) > 1]
    decoders = list(dict.fromkeys(decoder for one in several for decoder in one.decoders))
    lines = [["contender", *decoders]]
    for one in several:
        cells = {decoder: f"{error:.3f}" for decoder, error in one.decoders.items()}
        cells[one.decoder] = f"**{cells[one.decoder]}**"
        lines.append([one.name, *(cells.get(decoder, "") for decoder in decoders)])
    return "\n".join(markdown_table(lines)) if several else "No contender has more than one."


def geodesic(one: StudyContender) -> float:
    """Return the mean angle in degrees between predicted and true rotations, over groups and seeds."""
    return float(np.mean([seed.by_group(seed.geodesic(seed.decoders[0])).mean() for seed in one.seeds]))


def target_table(task: Task) -> str:
    """Return, by bin of the target, the three best contenders and the error of the one that is first overall."""
    first = task.contenders[0].name
    lines = [["target", "from", "to", "images", "best", "second", "third", first]]
    for axis, low, high, count, found in best_by_target(task):
        best = [f"{name} {error:.3f}" for name, error in found[:3]]
        lines.append(
            [axis, f"{low:g}", f"{high:g}", str(count), *best, *[""] * (3 - len(best)), f"{dict(found)[first]:.3f}"]
        )
    return "\n".join(markdown_table(lines, left=(0, 4, 5, 6)))


def rank_table(tasks: Sequence[Task]) -> str:
    """Return the place of each method on every task and the mean of its places, `=` for a tie with the first of a task."""
    methods = methods_of_all(tasks)
    places = {task.name: places_among(methods, task) for task in tasks}
    lines = [["method", *places, "mean"]]
    for method in sorted(methods, key=lambda name: sum(place[name] for place in places.values())):
        cells = [f"{tie_mark(task, method)}{places[task.name][method]}" for task in tasks]
        lines.append([method, *cells, f"{np.mean([places[task.name][method] for task in tasks]):.1f}"])
    return "\n".join(markdown_table(lines))


def places_among(methods: Sequence[str], task: Task) -> dict[str, int]:
    """Return the place of each of some methods among them on a task."""
    found = [one.method for one in task.contenders if one.method in methods]
    return {method: place for place, method in enumerate(found, 1)}


def tie_mark(task: Task, method: str) -> str:
    """Return `=` where no difference of a method from the first contender of a task is shown."""
    one, first = task.find(method), task.contenders[0]
    return "=" if one and one is not first and difference(task, one, first).verdict == "no difference shown" else ""


def hold_table(tasks: Sequence[Task]) -> str:
    """Return the differences whose intervals exclude 0 on every task, with the same sign."""
    lines = [["less error", "more error", *(f"{task.name} ({task.unit})" for task in tasks)]]
    for better, worse, found in that_hold(tasks):
        lines.append([better, worse, *(f"{one.mean:+.3f} ({span(one)})" for one in found)])
    return "\n".join(markdown_table(lines, left=(0, 1))) if len(lines) > 1 else "None."


def claim_table(tasks: Sequence[Task]) -> str:
    """Return what others claim, and the ratio of errors with its interval on every task, confirmed, refuted or open.

    Claims of which no task has both methods are left out.
    """
    lines = [["source", "claim", *(task.name for task in tasks)]]
    for ours, theirs, source, claimed in CLAIMS:
        text = f"{ours} {claimed:+.1f} % against {theirs}" if claimed else f"{ours} no worse than {theirs}"
        cells = []
        for task in tasks:
            a, b = task.find(ours_in(task, ours)), task.find(ours_in(task, theirs))
            cells.append(claim_cell(ratio(a, b), claimed) if a and b else "")
        if any(cells):
            lines.append([source, text, *cells])
    return "\n".join(markdown_table(lines, left=(0, 1))) if len(lines) > 1 else "None of them was measured."


def ours_in(task: Task, method: str) -> str:
    """Return the full name of a method of a claim, which may leave out the only loss of its head."""
    return next((one.method for one in task.contenders if one.method in (method, *with_loss(one, method))), method)


def with_loss(one: StudyContender, method: str) -> tuple[str, ...]:
    """Return the name of a method with the loss that a contender has."""
    return (f"{method} {one.params.get('loss', '')}",)


def claim_cell(found: Difference, claimed: float | None) -> str:
    """Return a ratio, its interval, and what follows for a claim: of less error, or of no more."""
    if found.interval is None:
        return f"{found.mean:+.1f} %: open"
    low, high = found.interval
    if claimed is None:
        verdict = "refuted" if low > 0 else "confirmed: it is better" if high < 0 else "open: no difference shown"
    else:
        size = "" if low <= claimed else ", smaller than claimed"
        verdict = "refuted" if low > 0 else f"confirmed{size}" if high < 0 else f"open: no difference shown{size}"
    return f"{found.mean:+.1f} % ({low:+.1f} to {high:+.1f}): {verdict}"


def regulariser_table(task: Task, regularised: Task) -> str:
    """Return each head with each regulariser minus the same head without one, paired over groups."""
    lines = [["head", "regulariser", "weight", "decoder", "without", "MAE", "minus without", INTERVAL, ""]]
    pairs = [(without_regulariser(task, one), one) for one in regularised.contenders]
    for plain, one in sorted(pairs, key=lambda pair: task.contenders.index(pair[0])):
        gap = difference(regularised, one, plain)
        value = one.value + ("*" if one.at_end else "")
        cells = [f"{one.errors.mae:.3f}", f"{gap.mean:+.3f}", span(gap), gap.verdict]
        lines.append([plain.name, one.params["regulariser"], value, one.decoder, plain.decoder, *cells])
    return "\n".join(markdown_table(lines, left=(0, 1, 3, 4, 8)))


def size_table(tasks: Sequence[Task]) -> str:
    """Return the error of each contender by number of training images, and classification against each other one."""
    ordered = sorted(tasks, key=lambda task: len(task.images.names))
    methods = methods_of_all(ordered)
    lines = [["method", *(f"{len(task.images.names)} images" for task in ordered)]]
    base = next((method for method in methods if method.startswith("classification")), None)
    for method in methods:
        cells = []
        for task in ordered:
            one, other = task.find(method), task.find(base or "")
            assert one is not None
            against = "" if other in (one, None) else f"; {base} {percent(ratio(other, one))}"
            cells.append(f"{one.errors.mae:.3f}{against}")
        lines.append([method, *cells])
    return "\n".join(markdown_table(lines))


def percent(found: Difference) -> str:
    """Format a ratio in per cent with its interval."""
    return f"{found.mean:+.1f} % ({span(found, '+.1f')})"


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
