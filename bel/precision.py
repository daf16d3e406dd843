"""Where a run computes, and in what arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from bel.errors import UserError

if TYPE_CHECKING:
    from bel.config import TrainConfig

# Trunks of depthwise convolutions over few channels, which the casts of autocast cost more than bf16 spares on small images.
# From tests/benchmarks/precision.py, of a training step at 64, 112 and 224 px, bf16 over fp32: AVX512-BF16 0.6, 0.8, 1.5 for
# MobileNetV2 and 0.5, 0.6, 0.7 for the others; AMX 0.7, 1.1, 1.4 for MobileNetV2. ResNets gain at every size: 1.3, 1.5, 2.0.
DEPTHWISE = ("efficientnet", "mnasnet", "mobilenet", "shufflenet")
AMX, AVX512 = 96, {"mobilenet_v2": 192}  # image sizes from which they gain


def pick_device(name: str) -> torch.device:
    """The device that a config asks for. Raises `UserError` for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "device cuda: torch sees no GPU here; set device to cpu or auto, or install a CUDA build of torch"
        )
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def autocasts(config: TrainConfig, device: torch.device) -> bool:
    """Whether training runs under bf16 autocast: on request, and by itself where that is sooner by measurement."""
    if config.precision != "auto":
        return config.precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return config.image_size >= bf16_from(config.backbone)


def bf16_from(backbone: str) -> float:
    """The image size from which this CPU trains a trunk sooner in bf16 than in fp32; infinity where it never does."""
    amx = torch.cpu._is_amx_tile_supported()
    if not (amx or torch.cpu._is_avx512_bf16_supported()):
        return math.inf
    if not backbone.startswith(DEPTHWISE):
        return 0
    return AMX if amx else AVX512.get(backbone, math.inf)


@contextmanager
def plain_fp32() -> Iterator[None]:
    """Exact fp32 products (no TF32) by repeatable algorithms, whatever was set before; autocast is the caller's."""
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
