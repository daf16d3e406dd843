import numpy as np
import pytest
import torch

from bel.angles import Axis
from bel.data.labels import bars, clamped, histogram, label_rows, odd_units, refuse_off_range, refuse_units, sketch
from bel.errors import UserError

AXIS = Axis("yaw", -10, 20, 20)  # levels at -10, -9, ... 9


def test_a_histogram_counts_every_label_on_its_level():
    counts = histogram(torch.tensor([-10.0, -9.6, 0.4, 9, 30]), AXIS)
    assert len(counts) == 20 and counts.sum() == 5
    assert counts[0] == 2 and counts[10] == 1 and counts[19] == 2


@pytest.mark.parametrize(("value", "beyond"), [(-10.0, 0), (-10.1, 1), (9.6, 0), (10.0, 0), (10.1, 1), (0, 0)])
def test_a_label_is_beyond_the_range_where_it_says_so(value, beyond):
    assert clamped(torch.tensor([value, 0.0]), AXIS) == beyond / 2


def test_a_sketch_has_a_line_an_axis_with_range_and_share():
    text = sketch(
        label_rows(torch.tensor([[-10.0, 1], [0, 2], [50, 3]], dtype=torch.float64), [AXIS, Axis("age", 0, 10, 10)])
    )
    heading, yaw, age = text.splitlines()
    assert "clamped" in heading and "33.33%" in yaw and "-10..10 deg" in yaw and " 50 " in yaw and "0.00%" in age
    assert yaw.endswith("|" + bars(histogram(torch.tensor([-10.0, 0, 50]), AXIS)) + "|")


def test_bars_show_every_level_that_has_an_image():
    assert bars(torch.tensor([0, 1, 1000])) == " ▁█"
    assert len(bars(torch.arange(700))) == 50


def test_a_range_that_most_labels_miss_is_refused():
    targets = torch.tensor([[0.0], [40], [50]], dtype=torch.float64)
    with pytest.raises(
        UserError, match=r"67% of the labels yaw in a.csv are outside its range -10..10 deg: they are 0..50"
    ):
        refuse_off_range(targets, [AXIS], "a.csv")
    refuse_off_range(targets[:2], [AXIS], "a.csv")


SMALL = np.linspace(-1.5, 1.2, 12)
TURN = np.linspace(-180, 180, 12)


@pytest.mark.parametrize(
    ("unit", "span", "values", "kind"),
    [
        ("deg", 180, SMALL, "radians for degrees"),
        ("Degrees", 60, SMALL, "radians for degrees"),
        ("°", 360, SMALL + np.pi / 2, "radians for degrees"),
        ("rad", 6.3, TURN, "degrees for radians"),
        ("radians", 180, TURN, "degrees for radians"),
        ("deg", 180, SMALL[:5], "radians for degrees"),
        ("deg", 180, SMALL[:4], None),
        ("deg", 59, SMALL, None),
        ("deg", 180, np.append(SMALL, 3.2), None),
        ("deg", 180, np.ones(12), None),
        ("Deg. ", 180, SMALL, "radians for degrees"),
        ("º", 180, SMALL, "radians for degrees"),
        ("deg", 180, np.append(SMALL, np.float32(np.pi)), "radians for degrees"),
        ("deg", 180, np.append(SMALL, -3.142), "radians for degrees"),
        ("deg", 360, np.linspace(0, 6.2832, 12), "radians for degrees"),
        ("deg", 119, np.linspace(0, 6.2832, 12), None),
        ("deg", 360, np.linspace(-6, 6, 12), None),
        ("rad", 6.3, np.linspace(0, 6.2832, 12), None),
        ("Rad.", 6.3, TURN, "degrees for radians"),
        ("deg", 180, TURN, None),
        ("rad", 6.3, SMALL, None),
        ("", 180, SMALL, None),
        ("cm", 180, SMALL, None),
    ],
)
def test_labels_that_contradict_their_unit_are_told(unit, span, values, kind):
    axis = Axis("yaw", -span / 2, span, 20, unit)
    assert [found for found, _ in odd_units(values[:, None], [axis], False, "x")] == ([kind] if kind else [])
    if kind:
        with pytest.raises(UserError, match=r"x .*radians.*set targets.yaw.check_unit of a csv protocol to false"):
            refuse_units(values[:, None], [axis], False, "x")
    unchecked = Axis("yaw", -span / 2, span, 20, unit, check_unit=False)
    refuse_units(values[:, None], [unchecked], False, "x")


def test_one_axis_of_a_pose_may_be_within_a_few_degrees():
    axes = [Axis(name, -90, 180, 20) for name in ("yaw", "pitch", "roll")]
    refuse_units(np.stack([TURN, SMALL, SMALL], 1), axes, True, "x")
    with pytest.raises(UserError, match="labels yaw, pitch, roll of x are within"):
        refuse_units(np.stack([SMALL] * 3, 1), axes, True, "x")


CIRCLE = Axis("roll", -180, 360, 72, "deg", period=360)


def test_labels_of_a_circle_are_wrapped_and_never_beyond_it():
    labels = torch.tensor([[170.0], [190], [-175], [900], [175]], dtype=torch.float64)
    assert clamped(labels[:, 0], CIRCLE) == 0
    refuse_off_range(labels + 3600, [CIRCLE], "a.csv")
    counts = histogram(labels[:, 0], CIRCLE)
    assert counts.sum() == 5 and [counts[level].item() for level in (70, 2, 1, 0, 71)] == [1, 1, 1, 1, 1]
    _, line = sketch(label_rows(labels, [CIRCLE])).splitlines()
    assert line.split()[:8] == ["roll", "72", "-180..180", "deg", "-180", "-180", "175", "0.00%"]


def test_the_unit_of_a_circle_is_checked_by_the_labels_as_they_are():
    degrees = np.array([[350.5], [10.5], [360], [35], [90]])
    assert not list(odd_units(degrees, [CIRCLE], False, "a.csv"))
    assert [kind for kind, _ in odd_units(np.radians(degrees % 360), [CIRCLE_FROM_0], False, "")] == [
        "radians for degrees"
    ]
    turn = Axis("roll", 0, 2 * np.pi, 100, "rad", period=2 * np.pi)
    assert [kind for kind, _ in odd_units(degrees, [turn], False, "")] == ["degrees for radians"]
    assert not list(odd_units(np.radians(degrees % 360), [turn], False, ""))


CIRCLE_FROM_0 = Axis("roll", 0, 360, 360, "deg", period=360)


@pytest.mark.parametrize(
    ("period", "most", "told"), [(360, 359.0, False), (360, 360, False), (360, 361, True), (180, 350, True)]
)
def test_labels_of_more_than_one_turn_are_told(period, most, told):
    labels = np.linspace(0, most, 6)[:, None]
    refuse_units(labels, [Axis("roll", 0, 360, 72, "deg")], False, "a.csv")
    refuse_units(labels, [Axis("roll", 0, period, 72, "deg", period=period, check_unit=False)], False, "a.csv")
    axis = Axis("roll", -10, period, 72, "deg", period=period)
    assert [kind for kind, _ in odd_units(labels, [axis], False, "a.csv")] == ["beyond one turn"] * told
