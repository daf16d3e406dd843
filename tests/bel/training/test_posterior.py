"""What is kept of a posterior on a circle: nothing depends on where its levels begin."""

from dataclasses import replace

import pytest
import torch

from bel.angles import Axis
from bel.training.posterior import summary

CIRCLE = Axis("roll", 0, 360, 24, "deg", period=360)
LINE = replace(CIRCLE, period=None)


def posteriors(n=200, width=2.5):
    """Bumps (n, 24) about places all round the circle, and targets in degrees (n, 1) drawn from them."""
    generator = torch.Generator().manual_seed(0)
    middle = 24 * torch.rand(n, 1, generator=generator, dtype=torch.float64)
    apart = (torch.arange(24) - middle + 12) % 24 - 12
    p = (-0.5 * (apart / width) ** 2).softmax(-1)
    level = (
        torch.multinomial(p, 1, generator=generator) + torch.rand(n, 1, generator=generator, dtype=torch.float64) - 0.5
    )
    return p, CIRCLE.wrap(15 * level)


def test_a_posterior_that_is_turned_keeps_its_spread_and_what_is_below_the_target():
    p, targets = posteriors()
    first = summary([p], targets, [CIRCLE])
    for levels in (1, 7, 12, 23):
        other = summary([p.roll(levels, 1)], CIRCLE.wrap(targets + 15 * levels), [CIRCLE])
        torch.testing.assert_close(other, first, rtol=0, atol=1e-9)


def test_where_nothing_is_near_the_seam_a_circle_is_as_a_line():
    p, _ = posteriors(width=1.0)
    inside = p[(p[:, :3].sum(1) + p[:, -3:].sum(1)) < 1e-9]
    assert len(inside) > 5
    targets = 15 * (inside @ torch.arange(24, dtype=torch.float64))[:, None] + 7
    circle, line = (summary([inside], targets, [axis]) for axis in (CIRCLE, LINE))
    torch.testing.assert_close(circle, line, rtol=0, atol=1e-3)


def test_targets_drawn_from_the_posterior_are_spread_evenly_below_it():
    p, targets = posteriors(4000)
    below = summary([p], targets, [CIRCLE])["pit"][:, 0]
    shares = torch.histc(below, 10, 0, 1) / len(below)
    assert shares.sum() == pytest.approx(1) and (shares - 0.1).abs().max() < 0.02
    on_a_circle, on_a_line = (summary([p], targets, [axis])["std"].mean().item() for axis in (CIRCLE, LINE))
    assert on_a_circle == pytest.approx(37, abs=2) and on_a_line > 1.3 * on_a_circle


def test_the_level_that_the_cut_divides_has_a_part_at_each_end():
    p = torch.zeros(1, 24, dtype=torch.float64)
    p[0, 6], p[0, 18] = 0.75, 0.25  # the second is opposite to the mean
    degrees = torch.tensor([[15.0 * level] for level in (18.25, 0, 6, 12, 17.75)])
    below = [summary([p], degrees[i : i + 1], [CIRCLE])["pit"].item() for i in range(5)]
    assert below == pytest.approx([0.0625, 0.125, 0.5, 0.875, 0.9375])
