"""The size of a trial's network, as metrics: the width of its output, and its learned parameters."""

import torch

from bel.config import TrainConfig
from bel.heads import HEADS

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def outputs(config: TrainConfig) -> float:
    """Return the width of the network's output: for head bel the bits of its codes."""
    with torch.random.fork_rng(devices=[]):
        head = HEADS[config.head].build(1, config).eval()
        return float(sum(output.shape[1] for output in head(torch.zeros(1, 1))))


def parameters(weights: dict[str, torch.Tensor]) -> float:
    """Return the number of learned parameters: all but the statistics of batch norm."""
    return float(sum(value.numel() for name, value in weights.items() if not name.endswith(STATISTICS)))
