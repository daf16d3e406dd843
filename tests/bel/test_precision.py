import math

import pytest
import torch

from bel.data.loading import load
from bel.precision import autocasts, bf16_from, plain_fp32
from bel.training.loop import fit


def test_plain_fp32_sets_exact_products_and_puts_everything_back():
    products = [torch.backends.cuda.matmul, torch.backends.cudnn.conv]
    before = [p.fp32_precision for p in products]
    products[0].fp32_precision = "tf32"
    with plain_fp32():
        assert [p.fp32_precision for p in products] == ["ieee", "ieee"] and torch.backends.cudnn.deterministic
    assert products[0].fp32_precision == "tf32"
    products[0].fp32_precision = before[0]
    assert [p.fp32_precision for p in products] == before


@pytest.mark.parametrize(
    ("backbone", "amx", "avx512", "size"),
    [
        ("mobilenet_v2", True, True, 96),
        ("mobilenet_v2", False, True, 192),
        ("efficientnet_b0", True, False, 96),
        ("efficientnet_b0", False, True, math.inf),
        ("resnet10", True, True, 0),
        ("resnet10", False, True, 0),
        ("resnet10", False, False, math.inf),
    ],
)
def test_auto_takes_bf16_where_this_kind_of_cpu_gains_by_it(monkeypatch, make, backbone, amx, avx512, size):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    assert bf16_from(backbone) == size
    cpu = torch.device("cpu")
    for side in (64, 88, 96, 112, 192, 224):
        assert autocasts(make(backbone=backbone, image_size=side), cpu) == (side >= size)
        assert autocasts(make(backbone=backbone, image_size=side, precision="bf16"), cpu)
        assert not autocasts(make(backbone=backbone, image_size=side, precision="fp32"), cpu)


def test_what_was_chosen_is_logged_and_a_run_goes_on_in_it(make):
    """As on another kind of machine, where auto would choose another arithmetic."""
    config = make(frame_stride=4)
    data = load(config, "train")
    first = next(fit(config, data))
    chosen = first.state()["bf16"]
    assert first.metrics["bf16"] == chosen == autocasts(config, torch.device("cpu"))
    elsewhere = first.state() | {"bf16": not chosen}
    assert next(fit(config, data, resume=elsewhere)).metrics["bf16"] == (not chosen)
