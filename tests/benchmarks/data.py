"""Images a second of the straightforward loader against ours, one core: `python tests/benchmarks/data.py`.

Both end in the same tensors, 224 pixels and normalised. Wants the real data in datasets/; 1 where a bar is missed.
"""

import os
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from itertools import chain, islice, repeat
from pathlib import Path

import torch
from PIL import Image
from torchvision import transforms

from bel.config import TrainConfig
from bel.data.batches import MEAN, STD, gather_from_map, train_batches
from bel.data.loading import load
from bel.data.prepare.crops import expanded_box
from bel.data.prepare.prepared import Prepared
from bel.data.readers.biwi import BIWI_TRAIN
from bel.training.build import Optimiser, build_model, optimiser_groups

DATASETS = Path(__file__).parents[2] / "datasets"
ROWS, BATCH, ROUNDS = 2000, 16, 7
BARS = {"full frames": 25.0, "small crops": 1.3}  # times the straightforward path, at least
STEP = 1.03  # times the step on a resident batch, at most
CPU = torch.device("cpu")

STRAIGHT = transforms.Compose(
    [transforms.Resize(240), transforms.RandomCrop(224), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
)


def straightforward(path: Path, published: bool) -> torch.Tensor:
    """Decode, crop, resize, crop at random, normalise: (3, 224, 224)."""
    with Image.open(path) as image:
        rgb = image.convert("RGB")
    return STRAIGHT(rgb.crop(expanded_box(*rgb.size)) if published else rgb)


def many_frames(folder: Path) -> Path:
    """A data_root with ROWS full frames: links to the ten at hand, each under many names."""
    frames = sorted((DATASETS / "BIWI-full" / "hpdb").rglob("*_rgb.png"))
    for number in range(ROWS):
        source = frames[number % len(frames)]
        stem = folder / "BIWI" / "hpdb" / f"{1 + number % 2 * 2:02}" / f"frame_{number:05}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        for ending in ("_rgb.png", "_pose.txt"):
            link = stem.with_name(stem.name + ending)
            link.symlink_to(source.with_name(source.name.replace("_rgb.png", ending)))
    return folder


def configured(root: Path, cache: Path, crop: str, stride: int = 1) -> TrainConfig:
    """A config of the trainer with its defaults: 224 pixels, batches of 16."""
    return TrainConfig(
        data_root=str(root), cache_dir=str(cache), crop=crop, frame_stride=stride, code="u", loss="ce", lr=1e-4,
        backbone="mobilenet_v2", weights="none", batch_size=BATCH, device="cpu",
    )  # fmt: skip


def seconds(work) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(name: str, config: TrainConfig, data: Prepared, paths: list[Path]) -> bool:
    """Print images/s of both paths, interleaved, and the ratio of their medians; whether it reaches its bar."""
    rows = torch.arange(len(data))
    corners = torch.zeros(len(rows), 2, dtype=torch.int64)
    some = paths[:: max(1, len(paths) // 64)][:64]
    rates: dict[str, list[float]] = {"straightforward": [], "ours": [], "uint8 gather alone": []}
    for number in range(ROUNDS):
        generator = torch.Generator().manual_seed(number)
        spent = seconds(lambda: [straightforward(path, config.crop == "published") for path in some])
        rates["straightforward"].append(len(some) / spent)
        spent = seconds(lambda g=generator: [None for _ in train_batches(data, rows, config, g, CPU)])
        rates["ours"].append(len(rows) // BATCH * BATCH / spent)
        spent = seconds(
            lambda: [
                gather_from_map(data.images, 224, CPU, None, r, c)
                for r, c in zip(rows.split(BATCH), corners.split(BATCH), strict=True)
            ]
        )
        rates["uint8 gather alone"].append(len(rows) / spent)
    medians = {path: statistics.median(values) for path, values in rates.items()}
    for path, rate in medians.items():
        print(f"{name:<12} {path:<19} {rate:8.0f} images/s  {rate / medians['straightforward']:7.1f}x")
    ratio = medians["ours"] / medians["straightforward"]
    print(f"{name:<12} bar: at least {BARS[name]:g}x, measured {ratio:.1f}x\n")
    return ratio >= BARS[name]


def compare_steps(config: TrainConfig, data: Prepared) -> bool:
    """Print how long a training step takes, fed by the loader and on a resident batch; whether the ratio is within its bar."""
    torch.manual_seed(0)
    model = build_model(config).to(memory_format=config.layout)
    optimiser = Optimiser(optimiser_groups(model, config), config.lr)
    rows = torch.arange(len(data))

    def step(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
        images, targets = batch
        with torch.autocast("cpu", torch.bfloat16):
            outputs = model(images)
        loss = model.head.loss(outputs, targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    def epochs():
        return chain.from_iterable(
            train_batches(data, rows, config, torch.Generator().manual_seed(seed), CPU) for seed in range(100)
        )

    def run(batches) -> None:
        for batch in batches:
            step(batch)

    loader = epochs()
    resident = next(loader)
    run(repeat(resident, 3))
    spent = {"loader": [], "resident": []}
    for number in range(12):  # in turn, so that what else the machine does falls on both
        sides = {"loader": islice(loader, 6), "resident": repeat(resident, 6)}
        for side in sides if number % 2 else reversed(sides):
            spent[side].append(seconds(lambda s=side, all_=sides: run(all_[s])) / 6)
    fed, kept = (statistics.median(spent[side]) for side in ("loader", "resident"))
    ratio = statistics.median(a / b for a, b in zip(spent["loader"], spent["resident"], strict=True))
    print(
        f"MobileNetV2 step, batch {BATCH}, 224 px: fed by the loader {1e3 * fed:.1f} ms, resident {1e3 * kept:.1f} ms"
    )
    print(f"{'':<12} bar: at most {STEP:g}x, measured {ratio:.3f}x")
    return ratio <= STEP


def main() -> int:
    """Run all three comparisons."""
    for name in ("BIWI", "BIWI-full"):
        if not (DATASETS / name).is_dir():
            print(f"skipped: no {DATASETS / name}, which is research data and not in git")
            return 0
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        frames = configured(many_frames(Path(folder) / "frames"), Path(folder) / "cache", "published")
        data = load(frames, "train")
        paths = [entry.image for entry in BIWI_TRAIN.listed(Path(frames.data_root)).entries]
        passed = [compare("full frames", frames, data, paths)]
        crops = configured(DATASETS, Path(folder) / "cache", "frame", stride=4)
        data = load(crops, "train")
        data = replace(data, images=data.images[:ROWS], targets=data.targets[:ROWS], names=data.names[:ROWS])
        paths = [entry.image for entry in BIWI_TRAIN.listed(DATASETS).entries[::4]][:ROWS]
        passed += [compare("small crops", crops, data, paths), compare_steps(crops, data)]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
