"""Ask a sweep for something, from any process that reaches its store, and wait for its driver's answer."""

import time
from collections.abc import Mapping
from typing import Any

from bel.errors import UserError
from bel.output import Report
from launch.steering.channel import await_answer, send
from launch.steering.commands import new_command
from launch.steering.targets import Target
from launch.tracking.lease import is_alive, latest_driver
from results.store.connect import connect

WAIT = 60.0  # seconds for an answer; a driver looks for commands every second, and between two steps of Tune
PAUSE, RESUME, STOP, PRIORITISE, ADD, SET = "pause", "resume", "stop", "prioritise", "add", "set"
OF_TRIALS = (PRIORITISE,)  # commands that are of a trial alone
OF_SWEEPS = (ADD, SET)  # and of a sweep alone


def ask(target: Target, what: str, arguments: Mapping[str, Any] | None = None, wait: float = WAIT) -> Report:
    """Send a command to a sweep's driver and return its answer; where no driver runs, what is asked is recorded for the next.

    Raises `UserError` for what cannot be, for what the driver refuses, and where none answers for `wait` seconds.
    """
    refuse_wrong_target(target, what)
    arguments = checked(target, what, arguments or {})
    alive = is_alive(target.parent)
    if not alive and what == STOP and not target.trial:
        raise UserError(f"no driver runs {target.title}: there is nothing to stop")
    client = connect()
    command = new_command(what, latest_driver(target.parent)[0], target.trial, arguments)
    send(client, target.parent.info.run_id, command)
    found = {"command": what, "id": command.id, "sweep_id": target.parent.info.run_id, "by": command.by}
    found |= {"trial": target.trial.get("name"), "driver_alive": alive, "answered": False, "text": ""}
    if not alive:
        return unanswered(found, target, what)
    began = time.monotonic()
    answer = await_answer(client, target.parent, command, wait)
    if answer is None:
        if time.monotonic() - began < wait:
            return unanswered(found, target, what)
        raise UserError(
            f"no driver answers within {wait:g} s: what you ask of {target.title} is recorded, and is done when it runs"
        )
    if not answer.accepted:
        raise UserError(f"{target.title}: {answer.text}")
    return Report(found | {"answered": True, "text": answer.text}, f"{target.title}: {answer.text}")


def unanswered(found: dict[str, Any], target: Target, what: str) -> Report:
    """Return what is said where a sweep has no driver: its next one does what lasts."""
    text = "no driver runs: this is recorded, and done when the same command runs the sweep again"
    if what == STOP and not target.trial:
        text = "its driver has ended"
    return Report(found | {"text": text}, f"{target.title}: {text}")


def refuse_wrong_target(target: Target, what: str) -> None:
    """Raise `UserError` for a command of a trial that is given a sweep, and the reverse."""
    if what in OF_TRIALS and not target.trial:
        raise UserError(f"{what} is of a trial, and {target.title} is a sweep: give the run id or the name of a trial")
    if what in OF_SWEEPS and target.trial:
        raise UserError(f"{what} is of a sweep, and this is {target.title}: give the sweep's name or run id")


def checked(target: Target, what: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments as their fields take them. Raises `UserError` for values that a sweep file may not have."""
    if what not in OF_SWEEPS:
        return dict(arguments)
    from launch.steering.checks import check_configuration, check_setting, widen  # imported here, because torch is slow
    from launch.steering.stored_sweep import stored_sweep

    sweep = stored_sweep(target.parent)
    if what == SET:
        return {name: check_setting(sweep, name, value) for name, value in arguments.items()}
    if "value" in arguments:
        ((name, value),) = arguments["value"].items()
        wider, _ = widen(sweep, name, value)
        return {"value": {name: wider.finite[name][-1]}}
    return {"values": check_configuration(sweep, arguments["values"])[0]}
