"""A seeded run on the GPU repeats to the last bit, cut or not; a checkpoint goes on on another device."""

import math

import pytest

from bel.data.loading import load, split
from bel.regularisers import REGULARISERS
from bel.run_layout import LAST
from bel.training import checkpoint
from bel.training.build import Optimiser, optimiser_groups
from bel.training.loop import fit
from tests.bel.training.test_loop import AUGMENTED
from tests.gpu.conftest import LOSSES, losses, numbers, run, unlike


def twice(config):
    """What is not the same in two runs of a config, with the losses of both."""
    one, other = run(config), run(config)
    found = unlike(numbers(one), numbers(other))
    return found and f"losses {losses(one)} and {losses(other)}\n{found}"


TRUNKS = [("resnet10", "fp32"), ("resnet10", "bf16"), ("mobilenet_v2", "bf16"), ("resnet50", "bf16")]


@pytest.mark.parametrize(("backbone", "precision"), TRUNKS)
@pytest.mark.parametrize("graph", [False, True])
def test_an_augmented_run_repeats_on_every_trunk(make, backbone, precision, graph):
    config = make(backbone=backbone, image_size=64, precision=precision, cuda_graph=graph, loss="ce", **AUGMENTED)
    assert not (found := twice(config)), found


@pytest.mark.parametrize(("head", "loss"), LOSSES)
def test_a_run_repeats_with_every_head_and_loss(make, head, loss):
    assert not (found := twice(make(head=head, loss=loss, epochs=1, cuda_graph=False))), found


@pytest.mark.parametrize("regulariser", REGULARISERS)
def test_a_run_repeats_with_every_regulariser(make, regulariser):
    assert not (found := twice(make(regulariser=regulariser, epochs=1, **AUGMENTED))), found


@pytest.mark.parametrize("place", ["device", "host"])
def test_a_run_is_the_same_wherever_its_images_live_and_another_with_another_seed(make, place):
    fields = {"epochs": 1, "cuda_graph": False}
    plain, elsewhere, other = (run(make(**fields, **more)) for more in ({}, {"cache": place}, {"seed": 1}))
    assert not (found := unlike(plain[0][1]["weights"], elsewhere[0][1]["weights"])), found
    assert losses(other) != losses(plain), f"seeds 0 and 1 both have the losses {losses(plain)}"


DROPOUT = {"epochs": 3, "backbone": "mobilenet_v2", "loss": "ce"}
LATE = {"head": "rlel", "schedule": "drop", "drop_epoch": 2, "epochs": 3}
EARLY = {"head": "classification", "schedule": "drop", "drop_epoch": 1, "epochs": 3, "selection": "last"}
PUBLISHED = {"recipe": "published", "schedule": "drop", "drop_epoch": 1, "epochs": 3, "precision": "fp32"}


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("fields", [DROPOUT, LATE, EARLY, PUBLISHED], ids=["dropout", "late", "early", "published"])
def test_a_run_cut_after_every_epoch_is_the_uninterrupted_one(make, tmp_path, fields, graph):
    config = make(**(AUGMENTED | fields | {"cuda_graph": graph}))
    data, cut = load(config, "train"), None
    whole = numbers(run(config))
    for number, wanted in enumerate(whole, start=1):
        again = next(fit(config, data, resume=cut))
        found = unlike(wanted, numbers([(again.metrics, again.state())])[0])
        assert not found, f"epoch {number} of {config.epochs}:\n{found}"
        checkpoint.save(again.state(), tmp_path / LAST)
        cut = checkpoint.load(tmp_path / LAST)
    assert len(whole) == config.epochs


@pytest.mark.parametrize(("first", "then"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_checkpoint_goes_on_on_the_other_device(make, tmp_path, first, then):
    begun, config = make(device=first), make(device=then)
    data = load(config, "train")
    checkpoint.save(next(fit(begun, data)).state(), tmp_path / LAST)
    kept = checkpoint.load(tmp_path / LAST)
    ((metrics, state),) = run(config, kept)
    assert math.isfinite(metrics["train/loss"]) and math.isfinite(metrics["val/mae"]), metrics
    assert all(value.isfinite().all() for value in state["weights"].values())
    assert state["environment"]["device"].startswith(then), state["environment"]
    steps = {int(own["step"]) for adam in state["optimiser"] for own in adam["state"].values()}
    wanted = 2 * (len(split(config, data).train) // config.batch_size)
    assert steps == {wanted}, f"Adam has stepped {steps} times, not {wanted}: it did not go on"


@pytest.mark.parametrize(("first", "then"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_the_moments_of_adam_move_to_the_other_device(make, first, then):
    begun, config = make(device=first, epochs=1), make(device=then, epochs=1)
    state = run(begun)[0][1]
    model = checkpoint.restore(state, config).to(then)
    optimiser = Optimiser(optimiser_groups(model, config), config.lr)
    optimiser.load_state_dict(state["optimiser"])
    names = ("exp_avg", "exp_avg_sq")
    moved = [[own[name] for own in adam.state.values() for name in names] for adam in optimiser.adams]
    devices = {moment.device.type for moments in moved for moment in moments}
    assert devices == {then}, f"the moments are on {devices}"
    kept = [[own[name] for own in adam["state"].values() for name in names] for adam in state["optimiser"]]
    assert not (found := unlike(kept, [[moment.cpu() for moment in moments] for moments in moved])), found
