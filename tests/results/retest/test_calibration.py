"""What calibration groups give: the temperature that was hidden, quantiles of posteriors, and refusals in a line."""

import numpy as np
import pytest
import torch

from bel.deploy.calibration import Calibration, scales
from bel.errors import UserError
from bel.testing.heads import example_config, example_model
from results.retest.calibration import best_temperatures, calibrate, likelihoods, on_left_out, on_others
from results.retest.outputs import Outputs, Part, joined, quantile


def outputs_of(temperature=1.0, groups=20, images=100, head="classification", seed=0):
    """Scores of a softmax from which the targets' levels are drawn, times a temperature."""
    config = example_config(head, axes=1)
    (axis,) = config.axes
    generator = torch.Generator().manual_seed(seed)
    true = 3 * torch.randn(groups * images, axis.levels, generator=generator, dtype=torch.float64)
    level = torch.multinomial(true.softmax(-1), 1, generator=generator)[:, 0]
    names = np.repeat([f"{seed}-{i:02d}" for i in range(groups)], images)
    within = torch.rand(len(level), generator=generator, dtype=torch.float64) - 0.5
    values = axis.to_value(level + 0.99 * within)[:, None]
    guess = axis.to_value(true.argmax(-1).double())[:, None]
    module = example_model(config).head
    return Outputs(config.axes, "argmax", names, values, guess, [Part(module, [temperature * true])])


@pytest.mark.parametrize("hidden", [0.5, 1.0, 4.0])
def test_the_temperature_that_scores_were_multiplied_by_is_found(hidden):
    assert best_temperatures(likelihoods(outputs_of(hidden))) == pytest.approx((hidden,), rel=0.05)


def test_each_group_weighs_the_same():
    sure, unsure = outputs_of(4.0, groups=1, images=900), outputs_of(1.0, groups=1, images=100, seed=1)
    both = joined([sure, unsure])
    assert likelihoods(both).mean(1) == pytest.approx((likelihoods(sure)[:, 0] + likelihoods(unsure)[:, 0]) / 2)


def test_a_quantile_has_its_share_of_a_posterior_below_it():
    posterior = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.0, 1.0, 0.0, 0.0], [0.5, 0.0, 0.0, 0.5]], dtype=torch.float64)
    assert quantile(posterior, 0.2).tolist() == pytest.approx([1.0, 0.7, -0.1])
    assert quantile(posterior, 0.95).tolist() == pytest.approx([3.375, 1.45, 3.4])
    assert (quantile(posterior, 1.0) <= 3.5).all() and (quantile(posterior, 0.0) >= -0.5).all()


def test_what_is_drawn_from_a_posterior_lies_in_its_intervals_as_often_as_they_say():
    calibrated, sharp = outputs_of(), outputs_of(5.0)
    calibration = calibrate(sharp, 0.9, likelihoods(sharp))
    assert on_others([calibrated], calibration).values["coverage", "raw"][0] == pytest.approx(0.9, abs=0.02)
    found = on_others([sharp], calibration).values
    assert found["coverage", "raw"][0] < 0.8 and found["coverage", "tempered"][0] == pytest.approx(0.9, abs=0.02)
    assert found["nll", "tempered"][0] < found["nll", "raw"][0]
    assert 0.88 < found["coverage", "conformal"][0] <= 1


def test_each_group_is_measured_by_the_others():
    outputs = outputs_of(2.0, groups=12, images=10)
    odd = outputs.groups == outputs.group_names[3]
    far = outputs.predictions + 100 * torch.from_numpy(odd)[:, None]  # a person on whom the network fails
    outputs = Outputs(outputs.axes, outputs.decoder, outputs.groups, outputs.targets, far, outputs.parts)
    measured = on_left_out(outputs, 0.9, likelihoods(outputs))
    assert measured.groups == 12 and measured.values["coverage", "conformal"][0] <= 11 / 12


def test_where_a_circle_is_cut_changes_nothing():
    config = example_config("classification", axes=1, circle=True)
    (axis,) = config.axes
    found = []
    for turn in (0, 17, 55):
        plain = outputs_of(2.0, groups=12, images=30)
        (part,), moved = plain.parts, axis.step * turn
        near = plain.targets + (plain.targets - plain.targets.mean()) * 0.01
        part = Part(example_model(config).head, [part.outputs[0].roll(turn, -1)])
        targets, guess = axis.wrap(plain.targets + moved), axis.wrap(near + moved)
        outputs = Outputs(config.axes, "argmax", plain.groups, targets, guess, [part])
        calibration = calibrate(outputs, 0.9, likelihoods(outputs))
        lower, upper = calibration.bounds(guess, calibration.half_widths(part.head, part.outputs))
        assert axis.low <= lower.min() and upper.max() < axis.low + axis.period
        found.append(on_others([outputs], calibration).values)
    assert (lower > upper).any(), "some interval is across the seam"
    for values in found[1:]:
        for key, value in values.items():
            assert value == pytest.approx(found[0][key], abs=1e-6), key
    assert found[0]["coverage", "tempered"][0] == pytest.approx(0.9, abs=0.05)


def test_an_interval_is_no_wider_than_its_circle():
    axes = example_config("direct", axes=1, circle=True).axes
    calibration = Calibration(0.9, axes, (1000.0,))
    half = calibration.half_widths(
        example_model(example_config("direct", axes=1, circle=True)).head, [torch.ones(1, 2)]
    )
    assert half.item() == axes[0].period / 2
    lower, upper = calibration.bounds(torch.zeros(1, 1, dtype=torch.float64), half)
    assert lower == upper, "all of it"


def test_a_posterior_that_is_sure_has_the_width_of_a_level():
    config = example_config("classification", axes=1)
    head, score = example_model(config).head, torch.zeros(1, 60)
    score[0, 3] = 1e4
    assert scales(head, [score], config.axes, [1.0]).item() == pytest.approx(1 / 12**0.5)


def test_a_head_without_a_posterior_has_intervals_of_one_width():
    head, axes = example_model(example_config("direct", axes=1)).head, example_config("direct", axes=1).axes
    outputs = [torch.tensor([[3.0], [5.0]])]
    assert Calibration(0.9, axes, (2.5,)).half_widths(head, outputs).tolist() == [[2.5], [2.5]]


def test_fewer_than_nine_groups_are_refused_with_what_they_allow():
    few = outputs_of(groups=8, images=2)
    with pytest.raises(UserError, match=r"need at least 9 calibration groups, there are 8: take --level 0.88 or below"):
        calibrate(few, 0.9, None)
    assert calibrate(few, 0.88, None).quantiles
    assert on_left_out(outputs_of(groups=1, images=2), 0.5, None) is None
    nine = outputs_of(groups=9, images=20)
    measured = on_left_out(nine, 0.9, None)
    worst = [nine.errors[torch.from_numpy(nine.groups == name)].max() for name in nine.group_names]
    outside = (nine.errors > sorted(worst)[-2]).double().sum().item()  # of the worst group, above all of the others
    assert measured.values["coverage", "conformal"][0] == pytest.approx(1 - outside / 180)


def test_a_group_on_two_folds_is_refused():
    with pytest.raises(UserError, match="hold a group twice"):
        joined([outputs_of(groups=2, images=1), outputs_of(groups=2, images=1)])
