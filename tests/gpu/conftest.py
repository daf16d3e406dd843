"""What the tests on a GPU share: without one they skip; runs on it, and where and by how much two of them differ."""

import gc
from contextlib import contextmanager
from itertools import islice

import pytest
import torch

from bel.data.loading import load
from bel.heads import HEADS
from bel.precision import pick_device
from bel.training import checkpoint
from bel.training.evaluate import evaluate
from bel.training.loop import fit

LOSSES = [(head, loss) for head, kind in HEADS.items() for loss in kind.losses]
HOW = ("images_per_s", "cuda_graph")  # metrics that say how a run computed, not what


@pytest.fixture(scope="session", autouse=True)
def gpu():
    """The GPU; where there is none, the test skips before anything is rendered for it."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU: torch sees none here")
    return torch.device("cuda")


@pytest.fixture
def small(small):
    """Fields of a config that trains in a second, on the GPU."""
    return small | {"device": "cuda"}


@pytest.fixture
def make(make):
    """A small config with some fields of one's own; head bel has code u unless another is given."""
    return lambda **fields: make(**({"code": "u" if fields.get("head", "bel") == "bel" else None} | fields))


def run(config, resume=None):
    """The metrics and the state of each epoch of a run."""
    return [(epoch.metrics, epoch.state()) for epoch in fit(config, load(config, "train"), resume)]


def numbers(epochs):
    """What the epochs of a run gave, the weights first, without the metrics that say how it computed."""
    found = []
    for metrics, state in epochs:
        rest = {name: value for name, value in state.items() if name != "weights"}
        told = {name: value for name, value in metrics.items() if name not in HOW}
        found.append({"weights": state["weights"], "metrics": told, "state": rest})
    return found


def losses(epochs):
    """The mean training loss of each epoch."""
    return [metrics["train/loss"] for metrics, _ in epochs]


def re_tested(state, config):
    """A checkpoint evaluated on all training images, on the config's device."""
    model = checkpoint.restore(state, config)
    model.to(device=pick_device(config.device), memory_format=config.layout)
    data = load(config, "train")
    return evaluate(model, data, torch.arange(len(data)), config)


@contextmanager
def allowed(size):
    """Let this process have so many bytes of the GPU's memory, what it holds already included."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, size / torch.cuda.get_device_properties(0).total_memory))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def held():
    """Bytes of the GPU's memory in use, without what cuBLAS keeps for its own work."""
    gc.collect()
    torch.cuda.synchronize()
    torch._C._cuda_clearCublasWorkspaces()
    return torch.cuda.memory_allocated()


def differences(one, other, at=""):
    """A line for each value in which two nested values are not the same to the last bit."""
    if isinstance(one, torch.Tensor):
        if not torch.equal(one, other):
            off = (one.double() - other.double()).abs()
            counts = f"{int((off > 0).sum())} of {off.numel()} numbers"
            yield f"{at}: {counts} differ, by up to {off.max():.3e} where the largest is {one.abs().max():.3e}"
    elif isinstance(one, dict):
        if unlike := sorted(map(str, set(one) ^ set(other))):
            yield f"{at}: only one side has {unlike}"
        for key in (key for key in one if key in other):
            yield from differences(one[key], other[key], f"{at}/{key}")
    elif isinstance(one, list | tuple):
        if len(one) != len(other):
            yield f"{at}: {len(one)} and {len(other)} of them"
        for i, (left, right) in enumerate(zip(one, other, strict=False)):
            yield from differences(left, right, f"{at}/{i}")
    elif one != other:
        yield f"{at}: {one!r} and {other!r}"


def unlike(one, other, most=8):
    """What of two nested values is not the same to the last bit, first things first; nothing where all is."""
    found = differences(one, other)
    first = list(islice(found, most))
    more = sum(1 for _ in found)
    return "\n".join([*first, f"and {more} more"] if more else first)
