"""A run's model as one file for other programs: `bel-export --run-id ID --to onnx`; image in, degrees out."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mlflow.entities import Run
from torch import Tensor

from bel.angles import Axis
from bel.deploy.module import Deployed, write_onnx, write_pt2, write_torchscript
from bel.errors import UserError
from bel.files import refuse_file, replacing
from bel.precision import plain_fp32
from bel.text import listed
from bel.training import checkpoint
from results.analysis.leaderboard import find_runs
from results.retest.evaluate import FREE
from results.retest.subject import fetch_state
from results.store.faults import store_command

FOLDER = Path("runs/export")
ALLOWED = 1e-3  # degrees by which a file's predictions may differ from torch's
BATCHES = (1, 5)  # sizes that a file is tried with, neither of them the traced one

Predict = Callable[[Tensor], Tensor]


class Differs(Exception):  # noqa: N818 - it says why a file is not put in its place
    """A file predicts otherwise than torch."""


@dataclass(frozen=True)
class Export:
    """What is exported: a checkpoint's network with its decoder, its axes, and what travels with the file."""

    name: str
    deployed: Deployed
    axes: tuple[Axis, ...]
    side: int
    metadata: dict[str, Any]

    @property
    def allowed(self) -> str:
        """By how much a file's predictions may differ, in words."""
        degrees = all(axis.unit == "deg" for axis in self.axes)
        return f"{ALLOWED:.0e} {'deg' if degrees else 'deg, or as much of a range of 200'}"


@dataclass(frozen=True)
class Format:
    """How a file is written (module, images (B, 3, S, S), metadata, path), read back and used; the packages it takes."""

    suffix: str
    write: Callable[[Deployed, Tensor, dict[str, Any], Path], None]
    read: Callable[[Path], Predict]
    usage: str
    needs: tuple[str, ...] = ()


@store_command
def main(argv: Sequence[str] | None = None) -> int:
    """Write the model of a run or a checkpoint, the decoder included; 1 where the file does not predict as torch does."""
    parser = argparse.ArgumentParser(
        prog="bel-export", description="Write a trained model, image in and degrees out, for other programs."
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--run-id", help="MLflow id of a trial, or of a sweep (its best trial)")
    source.add_argument("--checkpoint", type=Path, help="checkpoint file, without MLflow")
    parser.add_argument("--to", required=True, choices=FORMATS, help="format of the file")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"file to write or replace; default: in {FOLDER}")
    arguments = parser.parse_args(argv)
    require(arguments.to)
    if arguments.run_id is None:
        subject = open_subject(checkpoint.load(arguments.checkpoint), arguments.checkpoint.stem)
    else:
        run = one_run(arguments.run_id)
        subject = open_subject(fetch_state(run), run.info.run_id, run)
    out = arguments.out or FOLDER / f"{subject.name}{FORMATS[arguments.to].suffix}"
    refuse_target(out, arguments.checkpoint)
    return export(subject, arguments.to, out)


def require(to: str) -> None:
    """Raise `UserError` unless the packages of a format are installed."""
    needs = FORMATS[to].needs
    if not all(importlib.util.find_spec(name) for name in needs):
        names = ", ".join(needs[:-1]) + f" and {needs[-1]}"
        raise UserError(f"export to {to} needs {names}: pip install 'bel-sweeps[export]'")


def one_run(run_id: str) -> Run:
    """The run of an id, or a sweep's best trial. Raises `UserError` where a sweep has several tables."""
    runs = find_runs(run_id)
    if len(runs) > 1:
        best = ", ".join(f"{run.info.run_id} ({run.data.params['protocol'][:40]})" for run in runs)
        raise UserError(f"sweep {run_id} has a best trial for each of its tables: give the id of one of them, {best}")
    return runs[0]


def refuse_target(out: Path, source: Path | None) -> None:
    """Raise `UserError` where a file cannot be put, or would replace the checkpoint that it is made of."""
    refuse_file("--out", out)
    if out.exists() and source is not None and out.samefile(source):
        raise UserError(f"--out {out} is the checkpoint itself: choose another file")


def open_subject(state: dict[str, Any], name: str, run: Run | None = None) -> Export:
    """Rebuild a checkpoint's network on the CPU, with its decoder."""
    config = checkpoint.config_of(state, {"weights": "none", "device": "cpu"})
    deployed = Deployed(checkpoint.restore(state, config))
    with torch.inference_mode():
        decoder = next(iter(deployed.decode(smooth_images(1, config.image_size))))
    metadata = {
        "axes": [axis.name for axis in config.axes],
        "units": [axis.unit for axis in config.axes],
        "image_size": config.image_size,
        "decoder": decoder,
        "run_id": run.info.run_id if run else "",
        "epoch": state["epoch"],
        "code_version": state["environment"]["code_version"],
        "config": {key: value for key, value in checkpoint.config_values(state).items() if key not in FREE},
    }
    return Export(name, deployed, config.axes, config.image_size, metadata)


def export(subject: Export, to: str, out: Path) -> int:
    """Write a file beside `out`, read it back, compare it with torch, and only then put it there; 1 where it differs."""
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(out, FORMATS[to].suffix) as work:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of tracing, and of TorchScript's age; what counts is compared
                difference = written(subject, to, work)
            if not difference <= ALLOWED:
                raise Differs
    except Differs:
        print(
            f"error: {to} predicts otherwise than torch, by up to {difference:.1e}, allowed {subject.allowed}: no file is "
            f"written; choose another format of {list(FORMATS)}",
            file=sys.stderr,
        )
        return 1
    describe(subject, to, out, difference)
    return 0


def written(subject: Export, to: str, path: Path) -> float:
    """Write a file and return by how much its predictions differ from torch's. Raises `UserError` where that fails."""
    kind, example = FORMATS[to], smooth_images(3, subject.side)
    try:
        kind.write(subject.deployed, example, subject.metadata, path)
        return greatest_difference(kind.read(path), subject)
    except Exception as error:  # torch and onnxruntime raise many kinds on what a format cannot say
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        config = subject.metadata["config"]
        raise UserError(
            f"backbone {config['backbone']} with head {config['head']} cannot be written to {to} ({reason}): choose another "
            f"format of {list(FORMATS)}"
        ) from error


def greatest_difference(predict: Predict, subject: Export) -> float:
    """Greatest difference of a prediction from torch's over both batch sizes, in degrees.

    For another unit it is the same part of the axis's range as of 200 degrees.
    """
    scale = torch.tensor([1 if axis.unit == "deg" else 200 / axis.span for axis in subject.axes])
    differences = []
    with torch.inference_mode(), plain_fp32():
        for batch in BATCHES:
            images = smooth_images(batch, subject.side)
            differences.append((predict(images) - subject.deployed(images)).abs() * scale)
    return torch.cat(differences).max().item()


def smooth_images(count: int, side: int) -> Tensor:
    """Seeded images of coarse random colours, uint8 (count, 3, side, side)."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return F.interpolate(255 * coarse, size=side, mode="bilinear").to(torch.uint8)


def describe(subject: Export, to: str, out: Path, difference: float) -> None:
    """Say what was written, what goes in and comes out, and how it is used."""
    facts, side = subject.metadata, subject.side
    config = facts["config"]
    title = f"run {facts['run_id']}" if facts["run_id"] else "checkpoint"
    print(f"{title}: {config['backbone']}, head {config['head']}, decoder {facts['decoder']}, epoch {facts['epoch']}")
    columns = listed(f"{axis.name} ({axis.unit or 'own unit'})" for axis in subject.axes)
    print(f"in:  images, uint8 (batch, 3, {side}, {side}), RGB 0..255, any batch size")
    print(f"out: predictions, float64 (batch, {len(subject.axes)}): {columns}")
    print(f"greatest difference from torch at batch sizes {BATCHES}: {difference:.1e}, allowed {subject.allowed}")
    print(f"wrote {out}, {out.stat().st_size / 1e6:.1f} MB, with axes, units, config and code version in it\n")
    print(FORMATS[to].usage.format(file=out.as_posix()))


def read_onnx(path: Path) -> Predict:
    """Predictions of an ONNX file by onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def read_torchscript(path: Path) -> Predict:
    """Predictions of a TorchScript file."""
    return torch.jit.load(path, map_location="cpu")


def read_pt2(path: Path) -> Predict:
    """Predictions of an exported program's file."""
    return torch.export.load(path).module()


FORMATS = {
    "onnx": Format(
        ".onnx",
        write_onnx,
        read_onnx,
        'import onnxruntime\nsession = onnxruntime.InferenceSession("{file}")\n'
        'predictions = session.run(None, {{"images": images}})[0]  # of a numpy array',
        needs=("onnx", "onnxscript", "onnxruntime"),
    ),
    "torchscript": Format(
        ".pt",
        write_torchscript,
        read_torchscript,
        'import torch\nmodel = torch.jit.load("{file}")\npredictions = model(images)  # of a torch tensor on the CPU',
    ),
    "pt2": Format(
        ".pt2",
        write_pt2,
        read_pt2,
        'import torch\nmodel = torch.export.load("{file}").module()\n'
        "predictions = model(images)  # of a torch tensor on the CPU",
    ),
}
