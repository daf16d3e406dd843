"""The device of a run, and its arithmetic: bf16 autocast or exact fp32."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from bel.config import TrainConfig
from bel.errors import UserError

# Trunks with depthwise convolutions over few channels: on small images the casts of autocast cost more than bf16 saves.
# From tests/benchmarks/precision.py, of a training step at 64, 112 and 224 px, bf16 over fp32: AVX512-BF16 0.6, 0.8, 1.5 for
# MobileNetV2 and 0.5, 0.6, 0.7 for the others; AMX 0.7, 1.1, 1.4 for MobileNetV2. ResNets: 1.3, 1.5, 2.0.
DEPTHWISE = ("efficientnet", "mnasnet", "mobilenet", "shufflenet")
AMX, AVX512 = 96, {"mobilenet_v2": 192}  # image sizes from which bf16 is faster


def pick_device(name: str) -> torch.device:
    """Return the device of a config's name. Raises `UserError` where there is no GPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "device cuda: torch sees no GPU here; set device to cpu or auto, or install a CUDA build of torch"
        )
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def autocasts(config: TrainConfig, device: torch.device) -> bool:
    """Return whether training uses bf16 autocast: on request, and with auto where measurements show that it is faster."""
    if config.precision != "auto":
        return config.precision == "bf16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
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
