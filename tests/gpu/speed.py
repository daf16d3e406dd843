"""Images/s of one trial: the published way, ours, and the card's own limits. `python tests/gpu/speed.py [--quick]`.

(a) the published way: PIL decodes 640 x 480, crop, resize, crop, ToTensor in 4 workers, fp32 without TF32, plain Adam;
(b) ours, from the prepared array on the card; (c) the same step on one resident batch; (d) its FLOP/s over the card's bf16
rate. Beside them ours with images from the mapped file (host), ours with eager steps, how far losses of both are apart over
200 steps, and what torch.compile makes of it.
About two minutes on an H100, with --compile about a minute more for each mode.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import torch
from measured import CUDA, card, config_of, noise, seconds, sync, table
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from bel.config import TrainConfig
from bel.data.batches import MEAN, STD, placed, train_batches
from bel.data.prepare.crops import expanded_box
from bel.precision import pick_device, plain_fp32
from bel.training.build import Optimiser, build_model, optimiser_groups
from bel.training.run_context import RunContext
from bel.training.step import WARM_UP, Chunks, Step

CASES = [
    ("resnet50", 224, 16), ("resnet50", 224, 64), ("mobilenet_v2", 64, 16), ("mobilenet_v2", 64, 64),
    ("mobilenet_v2", 112, 16), ("mobilenet_v2", 112, 64),
]  # fmt: skip
FULL = Path(__file__).parents[2] / "datasets" / "BIWI-full" / "hpdb"
Batches = Iterator[tuple[Tensor, Tensor]]


class Frames(Dataset[tuple[Tensor, Tensor]]):
    """Full frames as the published code reads them, the few at hand again and again."""

    def __init__(self, paths: list[Path], size: int, length: int) -> None:
        self.paths, self.length = paths, length
        resized = [transforms.Resize(round(size * 240 / 224)), transforms.RandomCrop(size)]
        self.transform = transforms.Compose([*resized, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.paths[index % len(self.paths)]) as image:
            rgb = image.convert("RGB")
        return self.transform(rgb.crop(expanded_box(*rgb.size))), torch.zeros(3, dtype=torch.float64)


def frames(folder: Path) -> tuple[list[Path], str]:
    """Ten full frames and what they are: BIWI's own where they are at hand, else smooth noise as PNG."""
    if found := sorted(FULL.rglob("*_rgb.png")):
        return found, "real frames"
    for i in range(10):
        small = torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(i))
        Image.fromarray(small.numpy()).resize((640, 480), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return sorted(folder.glob("*.png")), "smooth noise"


def made(config: TrainConfig) -> tuple[Step, RunContext]:
    """A training step of a fresh network, and where it computes."""
    context = RunContext(pick_device(config.device))
    context.seed(0)
    torch.manual_seed(0)
    with context.active():
        model = build_model(config).to(device=context.device, memory_format=config.layout)
        step = Step(model.train(), Optimiser(optimiser_groups(model, config), config.lr), config, Chunks(config))
    return step, context


def train(step: Step, context: RunContext, batches: Batches, count: int) -> list[Tensor]:
    """Losses of so many steps."""
    losses = []
    with context.active(), plain_fp32():
        for images, targets in islice(batches, count):
            step.optimiser.set_rate(step.config.lr)
            losses.append(step(images, targets).clone())
    return losses


def rate(step: Step, context: RunContext, batches: Batches, target: float) -> float:
    """Images/s of a step over about `target` seconds."""
    train(step, context, batches, WARM_UP + 3)
    once = seconds(lambda: train(step, context, batches, 5)) / 5
    count = max(5, int(target / once))
    return count * step.config.batch_size / seconds(lambda: train(step, context, batches, count))


def ours(config: TrainConfig, rows: int, device: torch.device) -> Batches:
    """Endless batches from the prepared array, epoch by epoch."""
    data = placed(noise(config, rows), config, device)
    every = torch.arange(rows)
    return chain.from_iterable(
        train_batches(data, every, config, torch.Generator().manual_seed(number), device) for number in range(10**6)
    )


def published(case: tuple[str, int, int], paths: list[Path], target: float, workers: int) -> float:
    """Images/s of the published way."""
    config = config_of(*case, precision="fp32", memory_format="contiguous", cuda_graph=False)
    step, context = made(config)
    if CUDA:
        step.optimiser.adams = [torch.optim.Adam(g.parameters, lr=config.lr) for g in step.optimiser.groups]
    loader = DataLoader(Frames(paths, case[1], 10**6), case[2], num_workers=workers, pin_memory=CUDA, drop_last=True)
    batches = ((images.to(context.device), targets.to(context.device)) for images, targets in loader)
    context.stream = None if context.stream is None else torch.cuda.current_stream()
    return rate(step, context, batches, target)


def flops(config: TrainConfig) -> float:
    """Floating-point operations of a training step on an image: products and sums of forward and backward."""
    model = build_model(config)
    images = torch.zeros(2, 3, config.image_size, config.image_size)
    with FlopCounterMode(display=False) as counter:
        model.head.loss(model(images), torch.zeros(2, len(config.axes))).backward()
    return counter.get_total_flops() / 2


def peak() -> float:
    """FLOP/s of a bf16 product of large random matrices."""
    side = 8192 if CUDA else 1024
    a, b = (torch.randn(side, side, dtype=torch.bfloat16, device="cuda" if CUDA else "cpu") for _ in range(2))
    for _ in range(3):
        a @ b
    return 20 * 2 * side**3 / seconds(lambda: [a @ b for _ in range(20)])


def apart(config: TrainConfig, batches: Callable[[], Batches], count: int) -> float:
    """The largest relative difference of the losses of captured and eager steps."""
    found = [train(*made(replace(config, cuda_graph=graph)), batches(), count) for graph in (True, False)]
    one, other = (torch.stack(losses).double().cpu() for losses in found)
    return float(((one - other).abs() / other.abs()).max())


def compiled(config: TrainConfig, mode: str, batch: tuple[Tensor, Tensor], target: float) -> tuple[float, float]:
    """Images/s of a step whose network torch.compile made, and the seconds that this took; `+graph`: captured by us."""
    kind, _, graph = mode.partition("+")
    step, context = made(replace(config, cuda_graph=bool(graph)))
    network = torch.compile(step.model, mode=None if kind == "default" else kind)
    step.chunks.outputs = lambda model, images: network(images)  # type: ignore[method-assign]
    spent = seconds(lambda: train(step, context, repeat(batch), WARM_UP + 2))
    return rate(step, context, repeat(batch), target), spent


def measure(
    case: tuple[str, int, int], o: argparse.Namespace, paths: list[Path], top: float
) -> tuple[list[Any], list[Any]]:
    """The rows of a case."""
    config, device = config_of(*case), pick_device("auto")
    name = f"{case[0]} {case[1]} px, batch {case[2]}"
    a = published(case, paths, o.seconds, 4)
    b = rate(*made(config), ours(config, o.rows, device), o.seconds)
    batch = next(ours(config, o.rows, device))
    sync()
    mapped = replace(config, cache="host")
    host = rate(*made(mapped), ours(mapped, o.rows, device), o.seconds)
    c = rate(*made(config), repeat(batch), o.seconds)
    eager = rate(*made(replace(config, cuda_graph=False)), ours(config, o.rows, device), o.seconds)
    difference = apart(config, lambda: ours(config, o.rows, device), o.steps)
    share = c * flops(config) / top
    row = [name, f"{a:.0f}", f"{b:.0f}", f"{c:.0f}", f"{b / a:.1f}x", f"{b / c:.3f}", f"{share:.1%}"]
    row += [f"{host / c:.3f}", f"{eager:.0f}", f"{b / eager:.2f}x", f"{difference:.1e}"]
    print(*row, sep="  ", flush=True)
    others = []
    for mode in o.compile:
        try:
            found, spent = compiled(config, mode, batch, o.seconds)
            others.append([name, mode, f"{found:.0f}", f"{found / eager:.2f}x", f"{found / b:.2f}x", f"{spent:.0f}"])
        except Exception as error:  # what a mode cannot do is a figure, too
            others.append([name, mode, str(error).splitlines()[0][:60], "", "", ""])
        print(*others[-1], sep="  ", flush=True)
    return row, others


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, case by case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--quick", action="store_true", help="sizes for two CPU cores")
    add("--only", default="", help="cases whose name holds this")
    add("--seconds", type=float, default=2.0, help="of a measurement, about")
    add("--rows", type=int, default=4096)
    add("--steps", type=int, default=200, help="over which losses are compared")
    add(
        "--compile", nargs="*", default=[], metavar="MODE", help="default, reduce-overhead, max-autotune, default+graph"
    )
    o = parser.parse_args(argv)
    cases = CASES
    if o.quick:
        cases, o.rows, o.steps, o.seconds = [("mobilenet_v2", 32, 8), ("resnet10", 32, 8)], 64, 5, 0.5
    chosen = [case for case in cases if o.only in f"{case[0]} {case[1]} {case[2]}"]
    if not chosen:
        parser.error(f"--only: no case holds {o.only!r}: {cases}")
    began, top = time.perf_counter(), peak()
    with tempfile.TemporaryDirectory() as folder:
        paths, what = frames(Path(folder))
        found = [measure(case, o, paths, top) for case in chosen]
    names = [
        "case",
        "(a) published",
        "(b) ours",
        "(c) resident",
        "b/a",
        "b/c",
        "(d) of peak",
        "host/c",
        "eager",
        "b/eager",
    ]
    names.append("losses")
    table(names, [row for row, _ in found])
    if o.compile:
        table(
            ["case", "torch.compile", "images/s", "over eager", "over (b)", "compiled in s"],
            [r for _, rs in found for r in rs],
        )
    print(f"{card()}; bf16 product {top / 1e12:.0f} TFLOP/s; (a) decodes {what}; {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
