import pytest
import torch

from bel.angles import Axis
from bel.data.labels import bars, clamped, histogram, refuse_off_range, sketch
from bel.errors import UserError

AXIS = Axis("yaw", -10, 20, 20)  # levels at -10, -9, ... 9


def test_a_histogram_counts_every_label_on_its_level():
    counts = histogram(torch.tensor([-10.0, -9.6, 0.4, 9, 30]), AXIS)
    assert len(counts) == 20 and counts.sum() == 5
    assert counts[0] == 2 and counts[10] == 1 and counts[19] == 2


@pytest.mark.parametrize(("value", "beyond"), [(-10.4, 0), (-10.6, 1), (9.4, 0), (9.6, 1), (0, 0)])
def test_a_label_is_clamped_where_its_level_does_not_exist(value, beyond):
    assert clamped(torch.tensor([value, 0.0]), AXIS) == beyond / 2


def test_a_sketch_has_a_line_an_axis_with_range_and_share():
    text = sketch(torch.tensor([[-10.0, 1], [0, 2], [50, 3]], dtype=torch.float64), [AXIS, Axis("age", 0, 10, 10)])
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
