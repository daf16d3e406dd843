"""Several runs in one process, a step of each in turn: each is what it is alone, whatever becomes of the others."""

import pytest

from bel.data.batches import placed
from bel.data.loading import load
from bel.errors import Diverged
from bel.precision import pick_device
from bel.training.loop import fit, steps
from tests.bel.training.test_loop import same, timeless


def in_turns(runs):
    """The epochs of each run, a step of each in turn; of one that fails those before, and its error."""
    found, going = [[] for _ in runs], dict(enumerate(runs))
    while going:
        for number, run in list(going.items()):
            try:
                if (epoch := next(run)) is not None:
                    found[number].append([timeless(epoch.metrics), epoch.state()])
            except StopIteration:
                del going[number]
            except Diverged as error:
                found[number].append(str(error))
                del going[number]
    return found


@pytest.mark.parametrize("where", ["host", "device"])
def test_runs_in_turns_equal_each_run_alone(make, where):
    varied = [
        {"backbone": "mobilenet_v2"},  # with dropout, whose draws are not to be mixed up
        {"backbone": "mobilenet_v2", "seed": 1, "flip": 0.5, "jitter": 0.2},
        {"head": "direct", "code": None, "epochs": 1},
        {"code": "hex16", "loss": "ce", "batch_size": 6, "precision": "bf16"},
    ]
    configs = [make(cache=where, frame_stride=2, **fields) for fields in varied]
    data = placed(load(configs[0], "train"), configs[0], pick_device("cpu"))
    alone = [[[timeless(epoch.metrics), epoch.state()] for epoch in fit(config, data)] for config in configs]
    assert same(in_turns([steps(config, data) for config in configs]), alone)


def test_a_run_that_diverges_or_is_left_does_not_touch_the_others(make, broken_weights):
    config = make(frame_stride=2, backbone="mobilenet_v2")
    data = load(config, "train")
    wild = make(frame_stride=2, weights=str(broken_weights))
    left = steps(make(frame_stride=2, backbone="mobilenet_v2", seed=3), data)
    next(left)
    runs = [steps(config, data), steps(wild, data), steps(config, data, next(fit(config, data)).state())]
    next(left)
    left.close()
    found = in_turns(runs)
    alone = [[timeless(epoch.metrics), epoch.state()] for epoch in fit(config, data)]
    assert "became" in found[1][-1]
    assert same(found[0], alone) and same(found[2], alone[1:])
