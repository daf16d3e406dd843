"""What is said of labels beyond the range of their axis."""

from bel.text import beyond_of, beyond_range


def test_labels_within_their_ranges_are_not_spoken_of():
    assert beyond_range({"test": {"yaw": 0.0, "pitch": 0.0}}) == ""
    assert beyond_of([{"protocol": "biwi"}, {"clamped_yaw": "0", "val_clamped_yaw": "0.0000"}]) == ""


def test_shares_are_said_by_axis_the_largest_first():
    said = beyond_range({"training": {"a": 0.0, "b": 1 / 3, "c": 1e-6}, "selection": {"a": 0.05, "b": 0.25, "c": 0.0}})
    assert "(% of training, selection images): b 33.3, 25; a 0, 5; c 0.0001, 0; a head of levels" in said
    assert "errors are measured against the labels as they are" in said


def test_of_many_axes_the_worst_are_named():
    said = beyond_range({"test": {f"x{i}": i / 100 for i in range(10)}})
    assert ": x9 9; x8 8; x7 7; and 6 more axes;" in said


def test_of_several_runs_the_largest_share_of_an_axis_is_said():
    facts = [{"clamped_a": "0.1", "val_clamped_a": "0.3"}, {"clamped_a": "0.2", "val_clamped_a": "0", "seed": "0"}]
    assert ": a 20, 30;" in beyond_of(facts)
