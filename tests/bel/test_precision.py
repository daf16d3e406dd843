import math

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import bel.precision
from bel.data.loading import load
from bel.errors import UserError
from bel.heads import HEADS
from bel.precision import autocasts, bf16_from, copy_to, pick_device, plain_fp32, widest
from bel.testing.heads import example_batch, example_config, example_model
from bel.training.checkpoint import environment
from bel.training.evaluate import decoded
from bel.training.loop import fit
from bel.training.objective import Objective
from bel.training.run_context import RANDOM_STATE


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


def test_a_device_that_is_not_there_is_refused(monkeypatch, make):
    for name in ("cuda", "mps"):
        monkeypatch.setitem(bel.precision.AVAILABLE, name, lambda: False)
        with pytest.raises(UserError, match=rf"device {name}: torch sees no .* here.*; set device to cpu or auto"):
            pick_device(make(device=name).device)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")


def test_auto_is_a_gpu_of_cuda_or_the_cpu_and_never_mps(monkeypatch):
    monkeypatch.setitem(bel.precision.AVAILABLE, "mps", lambda: True)
    monkeypatch.setitem(bel.precision.AVAILABLE, "cuda", lambda: False)
    assert pick_device("auto").type == "cpu" and pick_device("mps").type == "mps"
    monkeypatch.setitem(bel.precision.AVAILABLE, "cuda", lambda: True)
    assert pick_device("auto").type == "cuda"


def test_what_depends_on_the_type_of_a_device_knows_mps(make):
    mps = torch.device("mps")
    assert widest(mps) == torch.float32 and widest(torch.device("cpu")) == torch.float64
    assert not autocasts(make(), mps) and autocasts(make(precision="bf16"), mps)
    assert environment(mps, {})["device"].startswith("mps ") and RANDOM_STATE["mps"] == (
        torch.mps.get_rng_state,
        torch.mps.set_rng_state,
    )


class NoFloat64(TorchDispatchMode):
    """Refuse float64 on fake tensors of a GPU, as mps does."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            wide = isinstance(value, torch.Tensor) and value.dtype == torch.float64 and value.device.type == "cuda"
            assert not wide, f"{function} makes float64"
        return result


def on_fake_device(model, fake):
    """Move a model to the device of fake tensors, whose values are not computed."""
    for module in model.modules():
        for name, value in module.named_parameters(recurse=False):
            module._parameters[name] = nn.Parameter(fake.from_tensor(value.detach()).to("cuda"))
        for name, value in module._buffers.items():
            module._buffers[name] = fake.from_tensor(value).to("cuda")


def computed_without_float64(config):
    """Compute loss, predictions, posterior and wrong bits on a fake device without float64."""
    model, (images, targets) = example_model(config), example_batch(len(config.axes), 2 * 16)
    objective = Objective(config, torch.zeros(32, len(config.axes)), torch.device("cpu"))
    network = objective.network(model)
    with FakeTensorMode(allow_non_fake_inputs=True) as fake, NoFloat64(), torch.no_grad():
        on_fake_device(model, fake)
        device = torch.device("cuda")
        if objective.balance is not None:
            objective.balance.tables = [fake.from_tensor(table) for table in objective.balance.tables]
            objective.balance.to(device)
        images, targets = fake.from_tensor(images).to(device), fake.from_tensor(targets)
        loss, penalty = objective(model.head, network(images), copy_to(targets, device))
        assert {value.device.type for value in (loss, penalty) if value is not None} == {"cuda"}
        found = decoded(model.head, model(images), targets, config.axes)
        assert all(value.device.type == "cpu" for part in found for value in part.values())


@pytest.mark.parametrize("head", HEADS)
def test_no_head_needs_float64_on_its_device(head, monkeypatch):
    """As on mps; the device is fake, and stands for one without float64."""
    for circle in (False, True)[: 1 + HEADS[head].circular]:
        config = example_config(head, "j" if head == "bel" else None, axes=1 if circle else 3, circle=circle)
        if head == "bel":  # the test sees it
            with pytest.raises(AssertionError, match="makes float64"):
                computed_without_float64(config)
        with monkeypatch.context() as patched:
            patched.setattr(bel.precision, "WITHOUT_FLOAT64", ("cuda",))
            computed_without_float64(config)


@pytest.mark.parametrize("regulariser", ["none", "ordinal_entropy", "ranksim", "conr", "rnc"])
def test_no_regulariser_needs_float64_on_its_device(regulariser, monkeypatch):
    monkeypatch.setattr(bel.precision, "WITHOUT_FLOAT64", ("cuda",))
    computed_without_float64(example_config("bel", "j", axes=2, regulariser=regulariser, balance="lds"))
