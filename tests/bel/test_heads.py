import pytest
import torch

from bel.codes import CODES
from bel.config import TrainConfig
from bel.heads import HEADS, Head

KINDS = [("bel", code) for code in CODES] + [("direct", None), ("classification", None)]
CASES = [(head, code, loss) for head, code in KINDS for loss in HEADS[head].losses]


@pytest.fixture
def config(small):
    def build(head, code, loss=None):
        torch.manual_seed(0)
        return TrainConfig.make(small | {"head": head, "code": code, "loss": loss})

    return build


@pytest.mark.parametrize(("head", "code", "loss"), CASES)
def test_two_batches_overfit_to_under_a_degree(config, head, code, loss):
    cfg = config(head, code, loss)
    module = Head(16, cfg)
    features = torch.randn(8, 16)
    targets = (torch.rand(8, 3, dtype=torch.float64) - 0.5) * 80
    optimiser = torch.optim.Adam(module.parameters(), 0.003)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 1500)
    for _ in range(1500):
        optimiser.zero_grad()
        module.loss(module(features), targets).backward()
        optimiser.step()
        rate.step()
    decoded = next(iter(module.decode(module(features)).values()))
    assert (decoded - targets).abs().mean() < 1


@pytest.mark.parametrize(("head", "code", "loss"), CASES)
def test_gradients_reach_every_parameter(config, head, code, loss):
    module = Head(16, config(head, code, loss))
    module.loss(module(torch.randn(5, 16)), torch.rand(5, 3, dtype=torch.float64) * 40).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("head", "code"), KINDS)
def test_predictions_stay_finite_and_in_range_for_wild_outputs(config, head, code):
    cfg = config(head, code)
    module = Head(16, cfg)
    for decoded in module.decode([output.sign() * 1e4 for output in module(torch.randn(4, 16))]).values():
        assert decoded.shape == (4, 3) and decoded.dtype == torch.float64 and decoded.isfinite().all()
        if head != "direct":
            for i, axis in enumerate(cfg.axes):
                assert decoded[:, i].min() >= axis.low and decoded[:, i].max() < axis.low + axis.span


def test_head_widths_follow_the_code_and_the_axis(config):
    widths = {
        code: [o.shape[1] for o in Head(16, config("bel", code))(torch.randn(2, 16))] for code in ("u", "j", "hex16")
    }
    assert widths == {"u": [150, 150, 100], "j": [75, 75, 50], "hex16": [16, 16, 16]}


def test_an_untrained_direct_head_starts_in_the_middle_of_its_axis(config):
    cfg = config("direct", None)
    module = Head(16, cfg)
    decoded = module.decode(module(torch.zeros(1, 16)))["direct"][0]
    for value, axis in zip(decoded, cfg.axes, strict=True):
        assert abs(value - (axis.low + axis.span / 2)) < axis.span / 4


def test_the_loss_is_the_sum_over_axes(config):
    module = Head(16, config("bel", "u", "bce"))
    outputs, targets = module(torch.randn(4, 16)), torch.rand(4, 3, dtype=torch.float64) * 40
    by_hand = sum(
        torch.nn.functional.binary_cross_entropy_with_logits(o, h.matrix[h.axis.to_index(t)], reduction="sum")
        for h, o, t in zip(module.axis_heads(), outputs, targets.unbind(1), strict=True)
    )
    torch.testing.assert_close(module.loss(outputs, targets), by_hand)
