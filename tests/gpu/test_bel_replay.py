"""A training step that is captured and replayed computes what it computes step by step, to the last bit."""

import pytest

from bel.regularisers import REGULARISERS
from bel.run_layout import LAST
from bel.training import checkpoint
from bel.training.step import Step
from tests.bel.training.test_loop import AUGMENTED
from tests.gpu.conftest import LOSSES, allowed, losses, numbers, run, unlike

capture = Step.capture


def beside(make, **fields):
    """What is not the same in a run that replays its steps and one that does not; the first must have replayed some."""
    replayed, plain = (run(make(cuda_graph=graph, **fields)) for graph in (True, False))
    said = [metrics.get("cuda_graph") for metrics, _ in (*replayed, *plain)]
    assert said == [1] * len(replayed) + [0] * len(plain), f"epochs that say that they replayed: {said}"
    found = unlike(numbers(as_one(plain)), numbers(replayed))
    return found and f"losses {losses(plain)} step by step, {losses(replayed)} replayed\n{found}"


def as_one(epochs):
    """Epochs whose states say of their config that steps were replayed."""
    return [(metrics, state | {"config": state["config"] | {"cuda_graph": True}}) for metrics, state in epochs]


@pytest.mark.parametrize(("head", "loss"), LOSSES)
def test_every_head_and_loss(make, head, loss):
    assert not (found := beside(make, head=head, loss=loss, epochs=1)), found


@pytest.mark.parametrize("regulariser", [name for name, kind in REGULARISERS.items() if kind.graph])
def test_every_regulariser_that_says_so(make, regulariser):
    assert not (found := beside(make, regulariser=regulariser, epochs=1)), found


TRUNKS = [("mobilenet_v2", 32, "bf16"), ("mobilenet_v2", 32, "fp32"), ("resnet50", 64, "bf16")]


@pytest.mark.parametrize(("backbone", "image_size", "precision"), TRUNKS)
def test_trunks_with_and_without_dropout(make, backbone, image_size, precision):
    assert not (found := beside(make, backbone=backbone, image_size=image_size, precision=precision)), found


def test_augmented_batches_and_images_on_the_host(make):
    assert not (found := beside(make, cache="host", **AUGMENTED)), found


def test_a_contiguous_network(make):
    assert not (found := beside(make, memory_format="contiguous", epochs=1)), found


def test_validation_in_several_batches_and_a_rest(make):
    assert not (found := beside(make, eval_batch_size=5, epochs=3)), found


def test_a_rate_that_drops_and_an_adam_that_begins_anew(make):
    assert not (found := beside(make, schedule="drop", drop_epoch=1)), found


@pytest.mark.parametrize("head", ["bel", "direct"])
def test_the_published_recipe(make, head):
    fields = {"recipe": "published", "selection": "test", "precision": "fp32"}
    assert not (found := beside(make, head=head, epochs=3, drop_epoch=1, **fields)), found


def test_a_resumed_run(make, tmp_path):
    config = make(epochs=3, backbone="mobilenet_v2")
    whole = numbers(as_one(run(make(epochs=3, backbone="mobilenet_v2", cuda_graph=False))))
    checkpoint.save(run(make(epochs=3, backbone="mobilenet_v2"))[0][1], tmp_path / LAST)
    rest = run(config, checkpoint.load(tmp_path / LAST))
    assert [metrics["cuda_graph"] for metrics, _ in rest] == [1, 1]
    assert not (found := unlike(whole[1:], numbers(rest))), found


def test_a_capture_that_finds_no_memory_leaves_the_run_as_it_is(make, monkeypatch):
    def starved(step, *batch):
        with allowed(0):
            capture(step, *batch)

    plain = numbers(as_one(run(make(backbone="mobilenet_v2", cuda_graph=False))))
    monkeypatch.setattr(Step, "capture", starved)
    epochs = run(make(backbone="mobilenet_v2"))
    assert [metrics["cuda_graph"] for metrics, _ in epochs] == [0, 0]
    assert not (found := unlike(plain, numbers(epochs))), found
    monkeypatch.undo()
    again = run(make(backbone="mobilenet_v2"))
    assert [metrics["cuda_graph"] for metrics, _ in again] == [1, 1], "after the one that failed, a run replays"
    assert not (found := unlike(plain, numbers(again))), found
