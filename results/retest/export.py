"""A run's model as one file for other programs: `bel-export --run-id ID --to onnx`; image in, degrees out."""

import importlib.util
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mlflow.entities import Run
from torch import Tensor, nn

from bel.angles import Axis, differences
from bel.deploy.module import OUTPUTS, Deployed, WithIntervals
from bel.errors import UserError
from bel.files import refuse_file, replacing
from bel.output import Answer, add_format, answering, command_parser
from bel.precision import plain_fp32
from bel.text import listed
from bel.training import checkpoint
from results.retest.evaluate import FREE
from results.retest.formats import FORMATS, Found, Predict
from results.retest.loaded_checkpoint import add_source, read_state
from results.store.calibration import stored_calibration
from results.store.faults import store_command

FOLDER = Path("runs/export")
ALLOWED = 1e-3  # degrees by which a file's predictions may differ from torch's
BATCHES = (1, 5)  # sizes that a file is tried with, neither of them the traced one
KEPT = ("axes", "units", "image_size", "decoder", "epoch", "code_version", "interval")  # of the metadata, in the answer


class Differs(Exception):  # noqa: N818 - it ends the writing of a file, it is not shown
    """A file's predictions differ from torch's."""


@dataclass(frozen=True)
class ExportedModel:
    """A checkpoint's network with its decoder, its axes, and the metadata that the file has."""

    name: str
    deployed: Deployed
    axes: tuple[Axis, ...]
    side: int
    metadata: dict[str, Any]

    @property
    def module(self) -> nn.Module:
        """What is written: predictions, of a calibrated network with their intervals."""
        return self.deployed if self.deployed.calibration is None else WithIntervals(self.deployed)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of its outputs."""
        return OUTPUTS[:1] if self.deployed.calibration is None else OUTPUTS

    @property
    def allowed(self) -> str:
        """How much a file's predictions may differ, as text."""
        degrees = all(axis.unit == "deg" for axis in self.axes)
        return f"{ALLOWED:.0e} {'deg' if degrees else 'deg, or as much of a range of 200'}"


@store_command
def main(argv: Sequence[str] | None = None) -> int:
    """Write the model of a run or a checkpoint, the decoder included; 1 where the file does not predict as torch does."""
    parser = command_parser("bel-export", "Write a trained model, image in and degrees out, for other programs.")
    add_source(parser)
    parser.add_argument("--to", required=True, choices=FORMATS, help="format of the file")
    parser.add_argument("--out", type=Path, metavar="FILE", help=f"file to write or replace; default: in {FOLDER}")
    add_format(parser)
    arguments = parser.parse_args(argv)
    with answering(arguments.format) as answer:
        refuse_missing_packages(arguments.to)
        state, run = read_state(arguments)
        model = load_module(state, run.info.run_id if run else arguments.checkpoint.stem, run)
        out = arguments.out or FOLDER / f"{model.name}{FORMATS[arguments.to].suffix}"
        refuse_target(out, arguments.checkpoint)
        return write_checked(model, arguments.to, out, answer)


def refuse_missing_packages(to: str) -> None:
    """Raise `UserError` unless the packages of a format are installed."""
    needs = FORMATS[to].needs
    if not all(importlib.util.find_spec(name) for name in needs):
        names = ", ".join(needs[:-1]) + f" and {needs[-1]}"
        raise UserError(f"export to {to} needs {names}: pip install 'bel-sweeps[export]'")


def refuse_target(out: Path, source: Path | None) -> None:
    """Raise `UserError` where a file cannot be put, or would replace the checkpoint that it is made of."""
    refuse_file("--out", out)
    if out.exists() and source is not None and out.samefile(source):
        raise UserError(f"--out {out} is the checkpoint itself: choose another file")


def load_module(state: dict[str, Any], name: str, run: Run | None = None) -> ExportedModel:
    """Return a checkpoint's network on the CPU, with its decoder."""
    config = checkpoint.config_of(state, {"weights": "none", "device": "cpu"})
    calibration = None if run is None else stored_calibration(run, state["epoch"], config.axes)
    deployed = Deployed(checkpoint.restore(state, config), calibration)
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
    } | ({} if calibration is None else {"interval": calibration.level})
    return ExportedModel(name, deployed, config.axes, config.image_size, metadata)


def write_checked(model: ExportedModel, to: str, out: Path, answer: Answer) -> int:
    """Write a file, read it back and compare it with torch before it replaces `out`; 1 where it differs."""
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with replacing(out, FORMATS[to].suffix) as work:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of tracing, and of TorchScript's age; what counts is compared
                difference = write_and_compare(model, to, work)
            answer.values = values_of(model, to, difference)
            if not difference <= ALLOWED:
                raise Differs
    except Differs:
        print(
            f"error: {to} predicts otherwise than torch, by up to {difference:.1e}, allowed {model.allowed}: no file is "
            f"written; choose another format of {list(FORMATS)}",
            file=sys.stderr,
        )
        return 1
    usage = FORMATS[to].usage.format(
        file=out.as_posix(),
        outputs=", ".join(model.outputs),
        first="[0]" if len(model.outputs) == 1 else "",
    )
    answer.values |= {"file": out, "bytes": out.stat().st_size, "usage": usage}
    answer.say(described(model, answer.values))
    return 0


def write_and_compare(model: ExportedModel, to: str, path: Path) -> float:
    """Write a file and return by how much its predictions differ from torch's. Raises `UserError` where that fails."""
    kind, example = FORMATS[to], smooth_images(3, model.side)
    try:
        kind.write(model.module, example, model.metadata, path)
        return greatest_difference(kind.read(path), model)
    except Exception as error:  # torch and onnxruntime raise many kinds on what a format cannot say
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        config = model.metadata["config"]
        raise UserError(
            f"backbone {config['backbone']} with head {config['head']} cannot be written to {to} ({reason}): choose another "
            f"format of {list(FORMATS)}"
        ) from error


def greatest_difference(predict: Predict, model: ExportedModel) -> float:
    """Return the greatest difference of a prediction from torch's over both batch sizes, in degrees.

    For another unit it is the same part of the axis's range as of 200 degrees.
    """
    scale = torch.tensor([1 if axis.unit == "deg" else 200 / axis.span for axis in model.axes])
    greatest = []
    with torch.inference_mode(), plain_fp32():
        for batch in BATCHES:
            images = smooth_images(batch, model.side)
            for theirs, ours in zip(tensors(predict(images)), tensors(model.module(images)), strict=True):
                apart = differences(theirs, ours, [axis.period for axis in model.axes])
                greatest.append((apart.abs() * scale).max())
    return torch.stack(greatest).max().item()


def tensors(found: Found) -> Sequence[Tensor]:
    """Return the outputs of a network as a sequence, of one, too."""
    return [found] if isinstance(found, Tensor) else found


def smooth_images(count: int, side: int) -> Tensor:
    """Return seeded images of coarse random colours, uint8 (count, 3, side, side)."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return F.interpolate(255 * coarse, size=side, mode="bilinear").to(torch.uint8)


def values_of(model: ExportedModel, to: str, difference: float) -> dict[str, Any]:
    """Return what is in a file, and how far its predictions are from torch's, in plain values; `file` is None yet."""
    facts, config = model.metadata, model.metadata["config"]
    return {
        "file": None,
        "bytes": None,
        "usage": None,
        "format": to,
        "run_id": facts["run_id"] or None,
        "backbone": config["backbone"],
        "head": config["head"],
        "interval": None,
        **{name: facts[name] for name in KEPT if name in facts},
        "outputs": list(model.outputs),
        "greatest_difference": difference,
        "allowed": ALLOWED,
        "batch_sizes": list(BATCHES),
    }


def described(model: ExportedModel, found: dict[str, Any]) -> str:
    """Say what was written, its input and output, and how to use it."""
    side, level = found["image_size"], found["interval"]
    title = f"run {found['run_id']}" if found["run_id"] else "checkpoint"
    pairs = zip(found["axes"], found["units"], strict=True)
    columns = listed(f"{name} ({unit or 'own unit'})" for name, unit in pairs)
    each = "" if level is None else f" each, lower and upper the ends of intervals that hold {level:.0%} of the targets"
    lines = [
        f"{title}: {found['backbone']}, head {found['head']}, decoder {found['decoder']}, epoch {found['epoch']}",
        f"in:  images, uint8 (batch, 3, {side}, {side}), RGB 0..255, any batch size",
        f"out: {', '.join(found['outputs'])}, float64 (batch, {len(found['axes'])}){each}: {columns}",
        f"greatest difference from torch at batch sizes {BATCHES}: {found['greatest_difference']:.1e}, allowed {model.allowed}",
        f"wrote {found['file']}, {found['bytes'] / 1e6:.1f} MB, with axes, units, config and code version in it\n",
        found["usage"],
    ]
    return "\n".join(lines)
