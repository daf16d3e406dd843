"""Memory of the GPU that really runs out: batches in chunks, one line at the end, and nothing held afterwards."""

import gc
import math

import pytest
import torch

from bel.data.loading import load
from bel.errors import UserError
from bel.training.loop import fit
from tests.gpu.conftest import allowed, held, losses, run

MB = 2**20
WIDE = {"image_size": 224, "batch_size": 30, "eval_batch_size": 12, "epochs": 3}  # activations take more than all else
SHARES = (0.8, 0.7, 0.6, 0.5, 0.4, 0.3)  # of what a run takes, until one is too little


def chunks(epochs):
    """In how many chunks the batches of each epoch were computed."""
    return [int(metrics.get("accumulation", 1)) for metrics, _ in epochs]


def short_of_memory(config, resume=None):
    """A run in less and less memory, until it computes in chunks; how many bytes that was, and what was tried."""
    before = held()
    torch.cuda.reset_peak_memory_stats()
    assert set(chunks(run(config, resume))) == {1}
    most, tried = torch.cuda.max_memory_allocated() - before, {}
    for share in SHARES:
        with allowed(before + share * most):
            epochs = run(config, resume)
        tried[share] = chunks(epochs)
        if tried[share][0] > 1:
            break
    said = f"{before / MB:.1f} MB held before, {most / MB:.1f} MB more at most; chunks by share of it: {tried}"
    assert tried[share][0] > 1, said
    return epochs, before + share * most, said


@pytest.mark.parametrize("graph", [False, True])
def test_batches_that_do_not_fit_are_computed_in_chunks_and_leave_nothing(make, graph):
    config, before = make(**WIDE, cuda_graph=graph), held()
    epochs, size, said = short_of_memory(config)
    assert all(map(math.isfinite, losses(epochs))), f"losses {losses(epochs)}; {said}"
    after = held()
    assert abs(after - before) < 4 * MB, f"{after / MB:.1f} MB held after; {said}"
    with allowed(size):
        fewer = run(make(**(WIDE | {"batch_size": 2}), cuda_graph=graph))
    assert set(chunks(fewer)) == {1}, f"2 images at once in {chunks(fewer)} chunks, beside nothing; {said}"
    again = run(config)
    assert set(chunks(again)) == {1}, f"{chunks(again)} chunks with all memory; {said}"


def test_what_is_computed_in_chunks_is_the_loss_of_the_whole_batch(make):
    config = make(
        **(WIDE | {"batch_size": 60, "epochs": 2, "precision": "fp32", "cuda_graph": False})
    )  # one step an epoch
    begun = run(config)[0][1]
    epochs, _, said = short_of_memory(config, begun)
    wanted = run(config, begun | {"chunks": chunks(epochs)[0]})
    assert chunks(wanted) == chunks(epochs)
    # with little memory cuDNN may choose another algorithm
    assert losses(epochs) == pytest.approx(losses(wanted), rel=1e-4), f"{losses(epochs)}, {losses(wanted)}; {said}"


def test_memory_for_not_even_two_images_is_one_line(make):
    config = make(image_size=448, batch_size=2, frame_stride=6, epochs=1, precision="fp32", cache="host")
    data = load(config, "train")
    run(make(epochs=1))  # what a process keeps for good is there
    before = held()
    begun = fit(config, data)
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved() + 64 * MB  # for the images, not for the first layer
    with (
        allowed(room),
        pytest.raises(UserError, match=r"^memory runs out (with 2 images at once|in training) \(") as error,
    ):
        next(begun)
    said = str(error.value)
    assert "\n" not in said and "batch_size 2" in said and "image_size 448" in said and "lower image_size" in said, said
    del begun, error
    after = held()
    assert abs(after - before) < 4 * MB, f"{before / MB:.1f} MB held before, {after / MB:.1f} MB after: {said}"
    assert chunks(run(make(epochs=1))) == [1]


def test_memory_for_not_even_the_network_is_one_line(make):
    config = make(epochs=1)
    data = load(config, "train")
    with allowed(0), pytest.raises(UserError, match=r"^memory runs out in building \(.* resnet10\): choose") as error:
        fit(config, data)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("graph", [False, True])
def test_runs_one_after_the_other_hold_no_more_than_one(make, graph):
    after = []
    for _ in range(5):
        run(make(epochs=1, cuda_graph=graph))
        gc.collect()
        torch.cuda.synchronize()
        after.append(torch.cuda.memory_allocated())
    said = f"MB held after each run: {[round(size / MB, 1) for size in after]} (does cuBLAS keep a workspace a stream?)"
    assert after[-1] - after[0] < MB, said
