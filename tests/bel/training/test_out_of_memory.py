"""Too little memory: batches in chunks with the loss of the whole batch, kept for the run, and one line at the end."""

import gc
import weakref

import pytest
import torch

from bel.data.batches import train_batches
from bel.data.loading import load, split
from bel.errors import UserError
from bel.model import Model
from bel.precision import plain_fp32
from bel.run_layout import LAST
from bel.training import checkpoint
from bel.training.build import Optimiser, build_model, optimiser_groups
from bel.training.loop import fit, learning_rate
from bel.training.step import Chunks
from tests.bel.training.test_loop import same, timeless


@pytest.fixture
def room(monkeypatch):
    """Say how many images a training pass takes, and where in it memory runs out: before the trunk, after it, or back."""

    def limit(images, where="forward", after=0):
        passes = []
        plain = Model.forward

        def forward(model, batch):
            passes.append(len(batch))
            full = model.training and len(batch) > images and len(passes) > after

            def refuse(*_):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has ...")

            if full and where == "forward":
                refuse()
            outputs = plain(model, batch)
            if full and where == "backward":
                outputs[0].register_hook(refuse)
            return outputs

        monkeypatch.setattr(Model, "forward", forward)
        return passes

    return limit


def by_hand(config, data, chunks):
    """Weights after a run whose batches are always computed in chunks, the plain way, and the mean losses of its epochs."""
    torch.manual_seed(config.seed)
    model = build_model(config).to(memory_format=config.layout)
    optimiser = Optimiser(optimiser_groups(model, config), config.lr)
    rows, device, losses = split(config, data).train, torch.device("cpu"), []
    steps = len(rows) // config.batch_size
    for number in range(1, config.epochs + 1):
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
        torch.manual_seed(config.seed * 1_000_003 + number)
        model.train()
        total = 0.0
        with plain_fp32():
            for step, (images, targets) in enumerate(train_batches(data, rows, config, generator, device)):
                optimiser.set_rate(learning_rate(config, number - 1 + step / steps))
                with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
                    given = [model(part) for part in images.tensor_split(chunks)]
                loss = model.head.loss([torch.cat(output) for output in zip(*given, strict=True)], targets)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                total += loss.item()
        losses.append(total / steps)
    return model.state_dict(), losses


@pytest.mark.parametrize(
    ("fields", "chunks"),
    [
        ({"code": "u", "flip": 0.5, "jitter": 0.2}, 2),
        ({"code": "hex16", "loss": "ce", "precision": "bf16"}, 4),
        ({"head": "rlel", "code": None, "batch_size": 6}, 2),  # its loss compares all pairs of a batch
        ({"head": "direct", "code": None, "backbone": "mobilenet_v2"}, 4),  # with dropout
        ({"head": "rotation6d", "code": None, "batch_size": 7}, 2),
    ],
)
def test_chunks_give_the_loss_of_the_whole_batch(make, room, fields, chunks):
    config = make(**({"precision": "fp32", "frame_stride": 2} | fields))
    data = load(config, "train")
    weights, losses = by_hand(config, data, chunks)
    room(-(-config.batch_size // chunks))
    epochs = [(epoch.metrics, epoch.state()) for epoch in fit(config, data)]
    assert [metrics["accumulation"] for metrics, _ in epochs] == [chunks, chunks]
    if config.backbone == "resnet10":  # what the failed first passes drew of dropout is not repeated
        torch.testing.assert_close([metrics["train/loss"] for metrics, _ in epochs], losses, rtol=1e-12, atol=0)
        assert same(epochs[-1][1]["weights"], dict(weights))


def test_a_pass_in_chunks_draws_the_dropout_of_its_second_forward_as_in_the_first(make):
    config = make(backbone="mobilenet_v2", head="direct", code=None)
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    found = []
    for again in (True, False):
        torch.manual_seed(0)
        model = build_model(config).train()
        if again:
            outputs = Chunks(config, 4).outputs(model, images)
        else:
            given = [model(part) for part in images.tensor_split(4)]
            outputs = [torch.cat(output) for output in zip(*given, strict=True)]
        outputs[0].square().sum().backward()
        found.append(
            [parameter.grad for name, parameter in model.named_parameters() if "yaw" in name or "trunk" in name]
        )
    assert same(*found)


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_failed_batch_is_repeated_and_no_later_one_fails(make, room, where):
    config = make(frame_stride=2)
    data = load(config, "train")
    passes = room(4, where, after=2)  # the third batch is the first that does not fit
    assert [epoch.metrics["accumulation"] for epoch in fit(config, data)] == [2, 2]
    steps = len(split(config, data).train) // config.batch_size
    assert passes[:3] == [8] * 3 and passes.count(8) == 3
    assert passes.count(4) == 4 * (2 * steps - 2)  # two chunks a step, each forward twice


def test_memory_that_suffices_is_not_mentioned(make):
    config = make(epochs=1, frame_stride=2)
    (epoch,) = fit(config, load(config, "train"))
    assert "accumulation" not in epoch.metrics and epoch.state()["chunks"] == 1


@pytest.mark.parametrize("cut", [1, 2])
def test_a_resumed_run_goes_on_in_chunks_and_equals_the_uninterrupted_one(make, room, tmp_path, cut):
    config = make(epochs=3, backbone="mobilenet_v2", flip=0.5, frame_stride=2)
    data = load(config, "train")
    room(4)
    whole = [(timeless(epoch.metrics), epoch.state()) for epoch in fit(config, data)]
    checkpoint.save(whole[cut - 1][1], tmp_path / LAST)
    state = checkpoint.load(tmp_path / LAST)
    assert state["chunks"] == 2
    rest = [(timeless(epoch.metrics), epoch.state()) for epoch in fit(config, data, resume=state)]
    assert same([list(pair) for pair in rest], [list(pair) for pair in whole[cut:]])


def test_a_checkpoint_from_before_there_were_chunks_goes_on(make):
    config = make(frame_stride=2)
    data = load(config, "train")
    first, second = (epoch.state() for epoch in fit(config, data))
    del first["chunks"]
    (again,) = fit(config, data, resume=first)
    assert same(again.state()["weights"], second["weights"])


@pytest.mark.parametrize(("batch_size", "images"), [(2, 2), (3, 3), (8, 2), (9, 3)])
def test_a_chunk_never_holds_a_single_image(make, room, batch_size, images):
    config = make(batch_size=batch_size)
    data = load(config, "train")
    room(1)
    with pytest.raises(UserError, match="memory runs out with") as error:
        next(fit(config, data))
    for said in (f"with {images} images", f"batch_size {batch_size},", "image_size 32,", "backbone resnet10", "lower"):
        assert said in str(error.value), said
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("bel.training.loop.build_model", r"in building .*: choose a smaller backbone"),
        ("bel.training.loop.placed", r"in building .*image_size 32, backbone resnet10"),
        ("bel.training.build.Optimiser.step", r"in training .*: lower image_size or batch_size"),
        ("bel.training.loop.evaluate", r"in validating \(batch_size 8, eval_batch_size 64.*: lower eval_batch_size"),
    ],
)
def test_memory_that_runs_out_elsewhere_is_one_line(make, monkeypatch, target, says):
    def refuse(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.\nGPU 0 has ...")

    config = make(frame_stride=2)
    data = load(config, "train")
    monkeypatch.setattr(target, refuse)
    with pytest.raises(UserError, match=says) as error:
        next(fit(config, data))
    assert "\n" not in str(error.value)


def test_what_a_failed_pass_held_is_let_go_before_the_next_try(make, room, monkeypatch):
    config = make(epochs=1, frame_stride=2)
    data = load(config, "train")
    room(4, "backward")
    held, alive = [], []
    convolve = torch.nn.Conv2d.forward

    def seen(module, x):
        outputs = convolve(module, x)
        held.append(weakref.ref(outputs))
        return outputs

    double = Chunks.double
    monkeypatch.setattr(torch.nn.Conv2d, "forward", seen)
    monkeypatch.setattr(
        Chunks, "double", lambda chunks: alive.append([r for r in held if r() is not None]) or double(chunks)
    )
    gc.disable()  # a cycle would keep a pass until the collector comes by
    try:
        next(fit(config, data))
    finally:
        gc.enable()
    assert held and alive == [[]]
