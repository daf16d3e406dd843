"""The formats of exported models: how a file is written, read back and used."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bel.deploy.module import write_onnx, write_pt2, write_torchscript

Found = Tensor | Sequence[Tensor]  # predictions (B, axes), of a calibrated network with lower and upper ends
Predict = Callable[[Tensor], Found]


@dataclass(frozen=True)
class Format:
    """How to write a file (module, images (B, 3, S, S), metadata, path), read it back and use it; the packages it needs."""

    suffix: str
    write: Callable[[nn.Module, Tensor, dict[str, Any], Path], None]
    read: Callable[[Path], Predict]
    usage: str
    needs: tuple[str, ...] = ()


def read_onnx(path: Path) -> Predict:
    """Return the predictions of an ONNX file by onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: [torch.from_numpy(found) for found in session.run(None, {"images": images.numpy()})]


FORMATS = {
    "onnx": Format(
        ".onnx",
        write_onnx,
        read_onnx,
        'import onnxruntime\nsession = onnxruntime.InferenceSession("{file}")\n'
        '{outputs} = session.run(None, {{"images": images}}){first}  # of a numpy array',
        needs=("onnx", "onnxscript", "onnxruntime"),
    ),
    "torchscript": Format(
        ".pt",
        write_torchscript,
        lambda path: torch.jit.load(path, map_location="cpu"),
        'import torch\nmodel = torch.jit.load("{file}")\n{outputs} = model(images)  # of a torch tensor on the CPU',
    ),
    "pt2": Format(
        ".pt2",
        write_pt2,
        lambda path: torch.export.load(path).module(),
        'import torch\nmodel = torch.export.load("{file}").module()\n'
        "{outputs} = model(images)  # of a torch tensor on the CPU",
    ),
}
