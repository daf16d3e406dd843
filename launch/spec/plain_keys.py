"""Checks of single keys of a sweep file: each returns the value as the sweep takes it, or raises `UserError`."""

from typing import Any

from bel.errors import UserError, convert_to, within

LOG_TARGETS = ("tensorboard",)  # where a run may be logged besides MLflow


def gpu_share(what: str, value: Any) -> float | str:
    """Return a share of a GPU, or auto. Raises `UserError`."""
    if value == "auto":
        return "auto"
    try:
        share: float = convert_to(float, what, value)
        within(what, share, 0, 10_000)
    except UserError as error:
        raise UserError(f"{error}; or auto, to let the trial's size decide") from None
    return share


def command_line(what: str, value: Any) -> str:
    """Return a command that is not blank. Raises `UserError`."""
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{what} must be a command as text, got {value!r}: write one, or leave it out")
    return value


def log_targets(what: str, value: Any) -> tuple[str, ...]:
    """Return where runs are logged besides MLflow, each target once. Raises `UserError` with the choices."""
    if not isinstance(value, list) or not all(target in LOG_TARGETS for target in value):
        raise UserError(f"{what} must be a list of any of {list(LOG_TARGETS)}, besides MLflow, got {value!r}")
    return tuple(dict.fromkeys(value))


def sweep_names(what: str, value: Any) -> tuple[str, ...]:
    """Return names or run ids of sweeps, each once. Raises `UserError`."""
    if not isinstance(value, list) or not all(isinstance(name, str) and name.strip() for name in value):
        raise UserError(f"{what} must be a list of names or run ids of sweeps in the same store, got {value!r}")
    if len(set(value)) < len(value):
        raise UserError(f"{what} names a sweep twice: {value}")
    return tuple(value)
