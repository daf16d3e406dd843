"""The device of a run, and its arithmetic: bf16 autocast, exact fp32, and float64 where the device has it."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor

from bel.errors import UserError

# Trunks with depthwise convolutions over few channels: on small images the casts of autocast cost more than bf16 saves.
# From tests/benchmarks/precision.py, of a training step at 64, 112 and 224 px, bf16 over fp32: AVX512-BF16 0.6, 0.8, 1.5 for
# MobileNetV2 and 0.5, 0.6, 0.7 for the others; AMX 0.7, 1.1, 1.4 for MobileNetV2. ResNets: 1.3, 1.5, 2.0.
DEPTHWISE = ("efficientnet", "mnasnet", "mobilenet", "shufflenet")
AMX, AVX512 = 96, {"mobilenet_v2": 192}  # image sizes from which bf16 is faster
WITHOUT_FLOAT64 = ("mps",)  # types of devices

AVAILABLE: dict[str, Callable[[], bool]] = {
    "cpu": lambda: True,
    "cuda": lambda: torch.cuda.is_available(),
    "mps": lambda: torch.backends.mps.is_available(),
}
MISSING = {  # what torch does not see, and where it would
    "cuda": "no GPU here; set device to cpu or auto, or install a CUDA build of torch",
    "mps": "no Metal device here, which a Mac with Apple silicon has; set device to cpu or auto",
}


class PrecisionConfig(Protocol):
    """What the arithmetic of a run depends on."""

    @property
    def precision(self) -> str: ...
    @property
    def image_size(self) -> int: ...
    @property
    def backbone(self) -> str: ...


def pick_device(name: str) -> torch.device:
    """Return the device of a config's name; auto is cuda or cpu, never mps. Raises `UserError` where it is not there."""
    if name == "auto":
        name = "cuda" if AVAILABLE["cuda"]() else "cpu"
    if not AVAILABLE[name]():
        raise UserError(f"device {name}: torch sees {MISSING[name]}")
    return torch.device(name)


def exact(values: Tensor) -> Tensor:
    """Return values in float64: on their device, or on the CPU where that has no float64."""
    return values.cpu().double() if values.device.type in WITHOUT_FLOAT64 else values.double()


def widest(device: torch.device) -> torch.dtype:
    """Return the floating-point type of a device with the most digits."""
    return torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64


def copy_to(values: Tensor, device: torch.device) -> Tensor:
    """Copy values to a device, to a GPU of CUDA without waiting for it; float64 becomes float32 where it has none."""
    if values.dtype == torch.float64 and device.type in WITHOUT_FLOAT64:
        values = values.float()
    return values.to(device, non_blocking=device.type == "cuda")


def autocasts(config: PrecisionConfig, device: torch.device) -> bool:
    """Return whether training uses bf16 autocast: on request, and with auto where measurements show that it is faster."""
    if config.precision != "auto":
        return config.precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "mps":
        return False  # not measured
    return config.image_size >= bf16_from(config.backbone)


def bf16_from(backbone: str) -> float:
    """Return the image size from which this CPU trains a trunk faster in bf16 than in fp32; infinity for never."""
    amx = torch.cpu._is_amx_tile_supported()
    if not (amx or torch.cpu._is_avx512_bf16_supported()):
        return math.inf
    if not backbone.startswith(DEPTHWISE):
        return 0
    return AMX if amx else AVX512.get(backbone, math.inf)


@contextmanager
def plain_fp32() -> Iterator[None]:
    """Compute exact fp32 products (no TF32) by deterministic algorithms; autocast is left to the caller."""
    products: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn]  # type: ignore[attr-defined]
    cudnn = torch.backends.cudnn
    before = [product.fp32_precision for product in products], cudnn.deterministic, cudnn.benchmark
    for product in products:
        product.fp32_precision = "ieee"
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        for product, precision in zip(products, before[0], strict=True):
            product.fp32_precision = precision
        _, cudnn.deterministic, cudnn.benchmark = before
