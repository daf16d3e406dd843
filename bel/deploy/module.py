"""A trained network for deployment: bytes of images in, predictions in units out; and its export to three formats."""

import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import erfcx
from torch import Tensor, nn

from bel.data.batches import constants
from bel.deploy.calibration import Calibration
from bel.errors import UserError
from bel.model import Model

METADATA = "metadata.json"  # the extra file in both formats of torch
OUTPUTS = ("predictions", "lower", "upper")  # names of a file's outputs, the last two of a calibrated network


class Deployed(nn.Module):
    """Normalisation, network and headline decoder in one module, in evaluation mode, on the CPU until it is moved.

    `calibration` says how wide the intervals around its predictions are, where that is known.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, model: Model, calibration: Calibration | None = None) -> None:
        super().__init__()
        self.calibration = calibration
        scale, shift = constants(torch.device("cpu"))
        self.register_buffer("scale", scale[:, None, None].clone())
        self.register_buffer("shift", shift[:, None, None].clone())
        self.model = model
        self.eval()

    def outputs(self, images: Tensor) -> list[Tensor]:
        """Images, uint8 RGB (B, 3, S, S) -> outputs of the head (B, width) by axis."""
        normal = images * self.scale + self.shift
        outputs: list[Tensor] = self.model.head(self.model.trunk(normal))  # not Model.forward, with its autocast
        return outputs

    def decode(self, images: Tensor) -> dict[str, Tensor]:
        """Images, uint8 RGB (B, 3, S, S) -> predictions in units (B, axes), float64, by decoder, the headline first."""
        return self.model.head.decode(self.outputs(images))

    def forward(self, images: Tensor) -> Tensor:
        """Images, uint8 RGB (B, 3, S, S) -> predictions of the headline decoder in units (B, axes), float64."""
        return next(iter(self.decode(images).values()))

    def intervals(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images, uint8 RGB (B, 3, S, S) -> predictions, lower and upper ends of their intervals, in units (B, axes).

        Raises `UserError` without a calibration.
        """
        if self.calibration is None:
            raise UserError(
                "the network has no calibration, so no intervals: run `bel-results calibrate` on its run first"
            )
        outputs = self.outputs(images)
        predictions = next(iter(self.model.head.decode(outputs).values()))
        half = self.calibration.half_widths(self.model.head, outputs)
        return predictions, *self.calibration.bounds(predictions, half)


class WithIntervals(nn.Module):
    """A calibrated network whose outputs are those of `intervals`."""

    def __init__(self, deployed: Deployed) -> None:
        super().__init__()
        self.deployed = deployed
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images, uint8 RGB (B, 3, S, S) -> predictions, lower and upper ends of their intervals, in units (B, axes)."""
        return self.deployed.intervals(images)


def write_torchscript(deployed: nn.Module, images: Tensor, metadata: dict[str, Any], path: Path) -> None:
    """Write a trace, with the metadata in an extra file."""
    with torch.inference_mode():
        traced = torch.jit.trace(deployed, images, check_trace=False)  # the exported file is compared when it is read
    torch.jit.save(traced, path, _extra_files={METADATA: json.dumps(metadata)})


def write_pt2(deployed: nn.Module, images: Tensor, metadata: dict[str, Any], path: Path) -> None:
    """Write an exported program, with the metadata in an extra file, without paths of this machine."""
    program = exported(deployed, images)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    torch.export.save(program, path, extra_files={METADATA: json.dumps(metadata)})


def write_onnx(deployed: nn.Module, images: Tensor, metadata: dict[str, Any], path: Path) -> None:
    """Write ONNX of the default opset in one file, the metadata as properties (text or JSON), without paths."""
    program = exported(deployed, images).run_decompositions(FOR_ONNX)
    onnx = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        input_names=["images"],
        output_names=[*OUTPUTS] if isinstance(deployed, WithIntervals) else [OUTPUTS[0]],
        dynamic_shapes=({0: "batch"},),
    )
    assert onnx is not None
    for part in (onnx.model.graph, *onnx.model.graph):
        part.metadata_props.clear()
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in metadata.items()}
    onnx.model.metadata_props.update(texts)
    onnx.save(path, external_data=False)


def exported(deployed: nn.Module, images: Tensor) -> torch.export.ExportedProgram:
    """Export a module for any batch size."""
    return torch.export.export(deployed, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))


def hypot(x: Tensor, y: Tensor) -> Tensor:
    """Return the length of (x, y), for which ONNX has no operator."""
    return (x * x + y * y).sqrt()


def atan2(y: Tensor, x: Tensor) -> Tensor:
    """Return the angle of (x, y), by an arc tangent in fp32, the only one in onnxruntime: exact to 1e-5 degrees."""
    angle = torch.where(y == 0, y, y / x).float().atan().to(y.dtype)
    return angle + torch.where(x < 0, torch.where(y < 0, -math.pi, math.pi), 0.0)


def softplus(x: Tensor) -> Tensor:
    """Return log(1 + exp(x)), which onnxruntime has in fp32 alone."""
    return x.clamp(min=0) + (1 + (-x.abs()).exp()).log()


@cache
def scaled_tail() -> list[float]:
    """Return a polynomial, the highest power first, of t = 1 / (1 + z / 2) in 0..1: log(exp(z^2) erfc(z) / t), for z >= 0."""
    t = (np.polynomial.chebyshev.chebpts1(200) + 1) / 2
    values = np.log(erfcx(2 / t - 2) / t)
    fit = np.polynomial.Chebyshev.fit(t, values, 16, domain=[0, 1]).convert(kind=np.polynomial.Polynomial)
    return [float(x) for x in fit.coef[::-1]]


def log_ndtr(x: Tensor) -> Tensor:
    """Return the logarithm of the standard normal distribution below x, without erf, which onnxruntime has in fp32 alone."""
    z = x.abs() / math.sqrt(2)
    t = 1 / (1 + z / 2)
    tail = torch.zeros_like(t)
    for coefficient in scaled_tail():
        tail = tail * t + coefficient
    tail = tail + t.log() - z * z - math.log(2)
    return torch.where(x < 0, tail, (1 - tail.exp()).log())


FOR_ONNX: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.special_log_ndtr.default: log_ndtr,
    torch.ops.aten.softplus.default: softplus,
    torch.ops.aten.hypot.default: hypot,
    torch.ops.aten.atan2.default: atan2,
    torch.ops.aten.arctan2.default: atan2,
}
