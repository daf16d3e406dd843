"""The columns of your own table and what they mean: the mapping of a sweep file, checked."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from bel.angles import MOST_LEVELS, Axis
from bel.errors import TINY, UserError, convert_to, one_of, refuse_unknown, within

LONGEST_NAME = 100  # bytes of a target's name, which ends the names of metrics: MLflow allows 250 for these
POSE = {"yaw": -1, "pitch": 1, "roll": -1}  # and the sign of each in a mirrored image


@dataclass(frozen=True)
class Target:
    """The column of a target, its range in its unit and the number of levels; the others as in `Axis`."""

    name: str
    low: float
    high: float
    levels: int = 100
    unit: str = ""
    flip: int | None = None
    check_unit: bool | None = None  # None is as True
    period: float | None = None

    @property
    def axis(self) -> Axis:
        """The target as an axis."""
        span = self.period or self.high - self.low
        checked = self.check_unit is None
        return Axis(self.name, self.low, span, self.levels, self.unit, self.flip, checked, self.period)


@dataclass(frozen=True)
class TableSpec:
    """A checked table: its files (below a data_root, or absolute), its columns, and its targets in their order.

    Without a `test` file, `test_fraction` of the groups of `train` are the test part, drawn with `test_seed`. Without a
    `delimiter` it is detected; without a `decimal` mark it is a point.
    """

    train: str
    targets: tuple[Target, ...]
    test: str | None = None
    test_fraction: float | None = None
    test_seed: int | None = None
    image: str = "image"
    group: str | None = None
    box: tuple[str, ...] | None = None
    pose: bool = False
    delimiter: str | None = None
    decimal: str | None = None

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The targets as axes."""
        return tuple(target.axis for target in self.targets)

    @property
    def columns(self) -> list[str]:
        """The columns that the table must have."""
        named = [self.image, *([self.group] if self.group else []), *(self.box or ()), *(t.name for t in self.targets)]
        return list(dict.fromkeys(named))

    def as_dict(self) -> dict[str, Any]:
        """Return plain values that `parse_table` reads as an equal spec, without those that are not set."""
        own = {"name": "csv", **plain(asdict(self))} | ({"box": list(self.box)} if self.box else {})
        return own | {"targets": {values.pop("name"): values for values in map(plain, own["targets"])}}


KEYS = ("name", *(field.name for field in fields(TableSpec)))


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that are not None."""
    return {name: value for name, value in values.items() if value is not None}


def parse_table(mapping: Mapping[str, Any]) -> TableSpec:
    """Return the spec of a mapping with some of `KEYS`; None is as left out. Raises `UserError` where a value is wrong.

    {"train": "labels.csv", "targets": {"age": {"low": 0, "high": 100}}} is the shortest.
    """
    refuse_unknown("protocol key", mapping, KEYS)
    given = plain(mapping)
    one_of("protocol.name of a mapping", given.pop("name", "csv"), ["csv"])
    columns: dict[str, Any] = {key: text(key, given[key]) for key in ("image", "group", "test") if key in given}
    pose = convert_to(bool, "protocol.pose", given.get("pose", False))
    targets = parse_targets(given.get("targets"), pose)
    box = parse_box(given["box"]) if "box" in given else None
    columns |= parse_form(given) | parse_draw(given)
    return TableSpec(text("train", given.get("train")), targets, box=box, pose=pose, **columns)


def parse_form(given: Mapping[str, Any]) -> dict[str, str]:
    """Return `delimiter` and `decimal` where they are given and not the default. Raises `UserError`."""
    form = {}
    if "delimiter" in given:
        mark = {"tab": "\t", "\\t": "\t", "space": " "}.get(str(given["delimiter"]), given["delimiter"])
        if not isinstance(mark, str) or not re.fullmatch(r"[^\w\r\n\"\\.+-]", mark):
            raise UserError(f"protocol.delimiter must be one character such as ';' or ',', or tab, got {mark!r}")
        form["delimiter"] = mark
    if "decimal" in given:
        one_of("protocol.decimal", given["decimal"], [".", ","])
        form |= {"decimal": ","} if given["decimal"] == "," else {}
    return form


def parse_draw(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `test_fraction` and `test_seed` where no test file is given. Raises `UserError`."""
    drawn = [key for key in ("test_fraction", "test_seed") if key in given]
    if "test" in given:
        if drawn:
            raise UserError(
                f"protocol.test names the test file, so that none is drawn: leave out test or {' and '.join(drawn)}, "
                f"got test {given['test']!r} and {drawn[0]} {given[drawn[0]]!r}"
            )
        return {}
    fraction = convert_to(float, "protocol.test_fraction", given.get("test_fraction", 0.2))
    within("protocol.test_fraction", fraction, TINY, 0.9)
    seed = convert_to(int, "protocol.test_seed", given.get("test_seed", 0))
    within("protocol.test_seed", seed, 0, 2**31)
    return {"test_fraction": fraction, "test_seed": seed}


def parse_box(value: Any) -> tuple[str, ...]:
    """Return the columns of a box. Raises `UserError`."""
    columns = [text("box", name) for name in value] if isinstance(value, list | tuple) else []
    if len(columns) != 4 or len(set(columns)) != 4:
        raise UserError(f"protocol.box must be a list of four different columns, [x0, y0, x1, y1], got {value!r}")
    return tuple(columns)


def parse_targets(value: Any, pose: bool) -> tuple[Target, ...]:
    """Return the targets; those of a pose in the order yaw, pitch, roll and in degrees. Raises `UserError`."""
    if not isinstance(value, Mapping) or not value:
        raise UserError(
            f"protocol.targets must map each column to its range, as in age: {{low: 0, high: 100}}, got {value!r}"
        )
    targets = {name: parse_target(name, values) for name, values in value.items()}
    if not pose:
        return tuple(targets.values())
    if set(targets) != set(POSE):
        raise UserError(f"protocol.targets of a pose must be {list(POSE)}, got {list(targets)}: or leave pose out")
    for name, target in targets.items():
        one_of(f"protocol.targets.{name}.unit of a pose", target.unit or "deg", ["deg"])
        one_of(f"protocol.targets.{name}.flip of a pose", target.flip or POSE[name], [POSE[name]])
        if target.period:
            raise UserError(
                f"protocol.targets.{name}.period is not for a pose, whose angles are of one rotation: give low and high, or "
                "leave pose out"
            )
    return tuple(replace(targets[name], unit="deg", flip=flip) for name, flip in POSE.items())


def parse_target(name: Any, value: Any, place: str = "protocol.targets") -> Target:
    """Return one target; messages say that it is in `place`. Raises `UserError`."""
    if not isinstance(name, str) or not re.fullmatch(r"\w+", name):
        raise UserError(
            f"a target's name must be letters, digits and _, got {name!r}: rename the column, or quote a name like 'on'"
        )
    if len(name.encode()) > LONGEST_NAME:
        raise UserError(
            f"a target's name must be of {LONGEST_NAME} bytes at most, got {len(name.encode())}: rename {name}"
        )
    if re.match(r"groups(_|$)", name):  # val/mae_groups and val/mae_groups_AXIS are means over groups
        raise UserError(
            f"a target's name must not be or begin with 'groups', as metrics do, got {name!r}: rename the column"
        )
    where = f"{place}.{name}"
    if not isinstance(value, Mapping):
        raise UserError(f"{where} must be a mapping such as {{low: 0, high: 100}}, got {value!r}")
    refuse_unknown(f"key of {where}", value, ("low", "high", "levels", "unit", "flip", "check_unit", "period"))
    given = plain(value)
    low, high, period = parse_range(where, given)
    flip = given.get("flip")
    if flip is not None and (isinstance(flip, bool) or str(flip) not in ("1", "-1")):
        raise UserError(f"{where}.flip must be 1 or -1, got {flip!r}: leave it out where mirroring changes the meaning")
    unit = given.get("unit", "")
    if not isinstance(unit, str):
        raise UserError(f"{where}.unit must be text, got {unit!r}: put it in quotes")
    if len(unit) > LONGEST_NAME:
        raise UserError(f"{where}.unit must have {LONGEST_NAME} characters at most, got {len(unit)}: shorten it")
    levels = convert_to(int, f"{where}.levels", given.get("levels", 100))
    within(f"{where}.levels", levels, 2, MOST_LEVELS)
    checked = convert_to(bool, f"{where}.check_unit", given.get("check_unit", True))
    flip = None if flip is None else int(flip)
    return Target(name, low, high, levels, unit, flip, None if checked else False, period)


def parse_range(where: str, given: Mapping[str, Any]) -> tuple[float, float, float | None]:
    """Return low, high and period of a target; with a period it spans one, so that `high` may be left out.

    Raises `UserError`.
    """
    low = convert_to(float, f"{where}.low", given.get("low"))
    if "period" not in given:
        high = convert_to(float, f"{where}.high", given.get("high"))
        if not (low < high and math.isfinite(high - low)):
            raise UserError(f"{where}.low must be below its high, got low {low:g} and high {high:g}")
        return low, high, None
    period = convert_to(float, f"{where}.period", given["period"])
    if not (period > 0 and low < low + period < math.inf):
        raise UserError(f"{where}.period must be above 0, the length of one turn such as 360, got {period:g}")
    high = convert_to(float, f"{where}.high", given.get("high", low + period))
    if not math.isclose(high - low, period, rel_tol=1e-9):
        raise UserError(
            f"{where} must span one period, from low {low:.12g} to {low + period:.12g}, got high {high:.12g} and period "
            f"{period:.12g}: leave high out, or leave period out where the target does not wrap"
        )
    return low, low + period, period


def text(key: str, value: Any) -> str:
    """Return text without blanks around it. Raises `UserError` where there is none."""
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"protocol.{key} must be a name (in quotes where YAML would read another type), got {value!r}")
    return value.strip()
