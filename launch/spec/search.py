"""The section `search` of a sweep file: how trials are chosen, compared and repeated."""

from dataclasses import dataclass
from typing import Any

from bel.errors import UserError, one_of
from launch.spec.sections import key


@dataclass(frozen=True)
class Objective:
    """A metric by which trials are compared, and whether to minimise or to maximise it."""

    metric: str
    direction: str


OBJECTIVES = {
    "val/mae_groups": Objective("val/best_mae_groups", "minimize"),  # the metric of a trial's best epoch
    "val/mae": Objective("val/best_mae", "minimize"),
    "bits": Objective("bits", "minimize"),
    "images_per_s": Objective("images_per_s", "maximize"),
}


def objective_names(what: str, value: Any) -> tuple[str, ...]:
    """Return one or several names of `OBJECTIVES`, the validation error first. Raises `UserError`."""
    names = value if isinstance(value, list) else [value]
    for name in names:
        one_of(what, name, OBJECTIVES)
    if isinstance(value, list) and not 2 <= len(set(names)) == len(names):
        raise UserError(f"{what} must be one name, or a list of two or three of {list(OBJECTIVES)}, got {value}")
    errors = [name for name in OBJECTIVES if name.startswith("val/")]
    if names[0] not in errors or set(errors) <= set(names):
        raise UserError(
            f"{what} must begin with one of {errors}, got {value!r}: add others behind it, as [{errors[0]}, ..]"
        )
    return tuple(names)


@dataclass(frozen=True)
class Search:
    """How trials are chosen, repeated and stopped early; `trials` is None for a grid, which runs whole.

    With `tune`, each combination of the other dimensions goes on to all `folds` with its best value of that dimension.
    """

    method: str = key("grid")
    trials: int | None = key(None, 1, 1_000_000)
    scheduler: str = key("none")
    objective: tuple[str, ...] = key(("val/mae_groups",), check=objective_names)
    seed: int | None = key(None, 0, 2**31)
    seeds: int | None = key(None, 1, 1000)
    tune: str | None = key(None)
    folds: int | None = key(None, 2, 1000)

    @property
    def objectives(self) -> list[Objective]:
        """Return what trials are compared by, the validation error first."""
        return [OBJECTIVES[name] for name in self.objective]
