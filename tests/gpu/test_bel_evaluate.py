"""Evaluation on the GPU: that of the CPU within 0.01 degrees, the same again to 1e-6, and never in TF32."""

from contextlib import contextmanager, nullcontext

import pytest
import torch

from bel.data.batches import eval_batches
from bel.data.loading import load, split
from bel.heads import HEADS
from bel.heads.decoders import STEPPED
from bel.run_layout import LAST
from bel.training import checkpoint
from bel.training.evaluate import evaluate
from tests.gpu.conftest import re_tested, run, unlike

CLOSE = 0.01  # degrees between devices
FLIPS = 5  # images on which a decoder may jump to another level
READ = [("bel", code) for code in ("u", "j", "b1jdj", "hex16", "had")]
READ += [(head, None) for head in HEADS if head != "bel"]
PRODUCTS = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)


@contextmanager
def products(precision):
    """Products in fp32 (ieee), or rounded to ten bits (tf32), where nothing else is said."""
    before = [product.fp32_precision for product in PRODUCTS]
    for product in PRODUCTS:
        product.fp32_precision = precision
    try:
        yield
    finally:
        for product, precision in zip(PRODUCTS, before, strict=True):
            product.fp32_precision = precision


@pytest.mark.parametrize(("head", "code"), READ)
def test_evaluation_on_the_gpu_is_that_on_the_cpu(make, head, code):
    config = make(head=head, code=code, cuda_graph=False)
    state = run(config)[-1][1]
    here, there = (re_tested(state, make(head=head, code=code, device=device)) for device in ("cuda", "cpu"))
    off = {name: (here.predictions[name] - there.predictions[name]).abs().amax(1) for name in here.predictions}
    beyond = {name: int((values > CLOSE).sum()) for name, values in off.items()}
    spread = {name: values.std(0).max().item() for name, values in there.predictions.items()}
    said = (
        f"of {len(here.names)} images by decoder: beyond {CLOSE} degrees {beyond}, spread {spread}, largest difference "
    )
    said += str({name: f"{values.max():.2e}" for name, values in off.items()})
    assert max(spread.values()) > 0.05, f"one prediction for all images says nothing: {said}"
    assert all(count <= (FLIPS if name in STEPPED else 0) for name, count in beyond.items()), said


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize(("head", "eval_batch_size"), [("bel", 64), ("bel", 5), ("direct", 5)])
def test_a_logged_error_repeats(make, tmp_path, head, eval_batch_size, graph):
    config = make(head=head, eval_batch_size=eval_batch_size, cuda_graph=graph)
    metrics, state = run(config)[-1]
    checkpoint.save(state, tmp_path / LAST)
    data = load(config, "train")
    parts, found = split(config, data), []
    for kept in (state, state, checkpoint.load(tmp_path / LAST)):
        model = checkpoint.restore(kept, config).to(device="cuda", memory_format=config.layout)
        found += [evaluate(model, parts.held, parts.val, config) for _ in range(2)]
    values = [evaluation.metrics("val")["val/mae"] for evaluation in found]
    assert max(abs(value - metrics["val/mae"]) for value in values) <= 1e-6, f"{metrics['val/mae']!r}, then {values}"
    for again in found[1:]:
        assert not (off := unlike(found[0].predictions, again.predictions)), off


def test_evaluation_takes_no_tf32_whatever_was_set(make):
    config = make(code="b1jdj", loss="ce", cuda_graph=False)
    state = run(config)[-1][1]
    plain = re_tested(state, config)
    with products("tf32"):
        again = re_tested(state, config)
        left = [product.fp32_precision for product in PRODUCTS]
    assert not (off := unlike(plain.predictions, again.predictions)), off
    assert left == ["tf32"] * 3, f"after evaluation {left}"


def test_training_takes_no_tf32_whatever_was_set(make):
    config = make(code="b1jdj", loss="ce", precision="fp32", epochs=1, cuda_graph=False)
    plain = run(config)[-1][1]
    with products("tf32"):
        again = run(config)[-1][1]
    assert not (off := unlike(plain["weights"], again["weights"])), off


def test_tf32_would_be_seen_in_a_product(make, gpu):
    config = make()
    data = load(config, "train")
    images = next(eval_batches(data, torch.arange(len(data)), config, gpu)).flatten(1)
    with products("ieee"):
        exact = images @ images.T
    with products("tf32"):
        rounded = images @ images.T
    off = (exact - rounded).abs().max().item()
    assert off > 0, f"TF32 changes nothing of a product {tuple(exact.shape)}"


def test_tf32_would_be_seen_in_an_evaluation(make, monkeypatch):
    config = make(code="b1jdj", loss="ce", cuda_graph=False)
    state, found = run(config)[-1][1], {}
    monkeypatch.setattr("bel.training.evaluate.plain_fp32", nullcontext)
    for precision in ("ieee", "tf32"):
        with products(precision):
            found[precision] = re_tested(state, config).predictions["expected"]
    off = (found["ieee"] - found["tf32"]).abs().max().item()
    assert off > 0, "TF32 changes no prediction"
