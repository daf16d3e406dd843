"""What a sweep is doing, as its driver notes it in the store, and as text for a terminal and for MLflow's UI."""

import json
from collections import Counter
from typing import Any

from mlflow.entities import Run

from bel.output import Report
from bel.run_layout import STATUS, Outcome
from bel.text import columns, duration, listed
from launch.tracking.lease import is_alive, latest_driver
from results.store.runs import outcome, trials

Values = dict[str, Any]
NAMED = 5  # trials of the queue that are named, and stops that are remembered
MOST = 20  # running trials that are listed


def status(parent: Run) -> Report:
    """Return what a sweep is doing, from the store alone, whether or not a driver is alive."""
    noted = from_tag(parent.data.tags.get(STATUS, "")) or counted(parent)
    host, pid = [*latest_driver(parent)[1].split(), "", ""][:2]
    alive = is_alive(parent)
    found = {"sweep_id": parent.info.run_id, "name": parent.info.run_name, "driver_alive": alive}
    found |= {"driver": {"host": host or None, "process": int(pid) if pid.isdigit() else None}, **noted}
    found["eta_s"] = found["eta_s"] if alive else None
    return Report(found, f"{driver_line(found)}\n{as_text(found)}")


def driver_line(found: Values) -> str:
    """Return whether a driver is alive, and where."""
    sweep, (host, process) = f"sweep {found['name']}", found["driver"].values()
    if found["driver_alive"]:
        return f"{sweep}: its driver is process {process} on {host}"
    since = f" it was noted at {found['at']}" if found["at"] else " the trials in the store are"
    return f"{sweep}: no driver runs; what follows is as{since}"


def from_tag(text: str) -> Values | None:
    """Return the values of the tag `STATUS`; None where there is none, or one of another version."""
    try:
        values = json.loads(text)
        as_text(values)
        return dict(values)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def counted(parent: Run) -> Values:
    """Return the same for a sweep whose driver noted nothing: how its trials in the store ended."""
    counts = Counter(outcome(run) for run in trials([parent]))
    return empty() | {"trials": {str(one): counts[one] for one in Outcome} | {"total": sum(counts.values())}}


def empty() -> Values:
    """Return the values before anything is known."""
    values: Values = {"at": None, "paused": False, "at_once": None, "trials": {}, "best": None, "hours": None}
    values |= {"queue": {"trials": 0, "next": []}, "running": [], "waiting_for_resume": [], "decisions": []}
    return values | {"eta_s": None, "trial_hours": 0.0, "gpu_hours": 0.0}


def as_text(values: Values) -> str:
    """Return the values as lines."""
    counts, lines = values["trials"], []
    ended = sum(
        counts.get(str(one), 0) for one in (Outcome.FINISHED, Outcome.STOPPED, Outcome.DIVERGED, Outcome.FAILED)
    )
    known = [f"{counts[str(one)]} {one}" for one in Outcome if counts.get(str(one)) and one not in NOT_ENDED]
    lines.append(f"{ended} of {counts.get('total', 0)} trials ended" + (f" ({', '.join(known)})" if known else ""))
    if values["best"]:
        lines[-1] += f", best {values['best']['mae_groups']:.3f} ({values['best']['name']})"
    if values["paused"]:
        lines.append("the sweep is paused: no trial begins until `bel-sweep resume`")
    if values["at_once"]:
        lines.append(f"at most {values['at_once']} at once")
    queue = values["queue"]
    lines.append(f"{queue['trials']} in the queue" + (f", next {listed(queue['next'])}" if queue["next"] else ""))
    if values["waiting_for_resume"]:
        lines.append(f"paused: {listed(values['waiting_for_resume'])}")
    lines += [f"{len(values['running'])} running", *table(values["running"])]
    cost = f"{values['trial_hours']:.2f} trial hours" + (
        f", {values['gpu_hours']:.2f} GPU hours" if values["gpu_hours"] else ""
    )
    left = f", about {duration(values['eta_s'])} left" if values["eta_s"] is not None else ""
    lines.append(f"so far {cost}{left}")
    lines += ["last stops:", *(f"  {stop_text(stop)}" for stop in values["decisions"])] if values["decisions"] else []
    return "\n".join(lines)


NOT_ENDED = (Outcome.WAITING, Outcome.RUNNING, Outcome.PAUSED, Outcome.CUT)


def table(running: list[Values]) -> list[str]:
    """Return the running trials in columns."""
    rows = [
        (
            one["name"],
            f"{one['epoch']}/{one['epochs']}",
            "" if one["mae_groups"] is None else f"{one['mae_groups']:.3f}",
        )
        for one in running
    ]
    return [f"  {line}" for line in columns([("trial", "epoch", "best"), *rows])] if rows else []


def stop_text(stop: Values) -> str:
    """Return who stopped a trial after which epoch, or a configuration after how many repeats, and against what it lost."""
    when = f"{stop['repeats']} of {stop['of']} repeats" if "repeats" in stop else f"epoch {stop['epoch']}"
    text = f"{stop['name']} by {stop['by']} after {when}"
    if None in (stop.get("value"), stop.get("against")):
        return text
    return f"{text}: {stop['value']:.3f} against {stop['against']:.3f}"
