"""How much sooner a training step is on this CPU in bf16 than in fp32, by trunk and size: what `precision: auto` goes by.

`python tests/benchmarks/precision.py [--trunks mobilenet_v2 resnet18] [--sizes 64 112] [--batch 16] [--threads 1]`; processor
time of interleaved steps, the least of several of each.
"""

import argparse
import time

import torch

from bel.config import TrainConfig
from bel.training.build import Optimiser, build_model, optimiser_groups
from bel.training.step import Chunks, Step

ROUNDS = 7


def step_of(trunk: str, size: int, batch: int, precision: str) -> Step:
    """A training step in a precision."""
    fields = {
        "code": "u",
        "backbone": trunk,
        "image_size": size,
        "batch_size": batch,
        "weights": "none",
        "device": "cpu",
    }
    config = TrainConfig.make(fields | {"precision": precision})
    model = build_model(config).to(memory_format=torch.channels_last).train()
    return Step(model, Optimiser(optimiser_groups(model, config), config.lr), config, Chunks(config))


def main() -> None:
    """Print images a second of processor time in fp32, and the ratio of bf16."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trunks", nargs="+", default=["mobilenet_v2", "resnet10", "resnet18", "resnet50"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[32, 64, 88, 112, 224])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    print(f"{torch.backends.cpu.get_cpu_capability()}, AMX {torch.cpu._is_amx_tile_supported()}, batch {a.batch}")
    for trunk in a.trunks:
        for size in a.sizes:
            images = torch.randn(a.batch, 3, size, size).to(memory_format=torch.channels_last)
            targets = torch.zeros(a.batch, 3, dtype=torch.float64)
            steps = {precision: step_of(trunk, size, a.batch, precision) for precision in ("fp32", "bf16")}
            least = dict.fromkeys(steps, float("inf"))
            for number in range(ROUNDS):
                for precision, step in steps.items():
                    start = time.process_time()
                    step(images, targets)
                    if number:  # the first makes what the others find
                        least[precision] = min(least[precision], time.process_time() - start)
            speed, ratio = a.batch / least["fp32"], least["fp32"] / least["bf16"]
            print(f"{trunk:<14}{size:>4} px  fp32 {speed:7.1f} images/s, bf16 {ratio:.2f} times as fast", flush=True)


if __name__ == "__main__":
    main()
