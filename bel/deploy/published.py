"""Published checkpoints: the state dict of the published head-pose code (BEL, section 4) becomes a config and a network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bel.codes.library import names
from bel.config import TrainConfig
from bel.data.protocols import published_names
from bel.errors import UserError, one_of
from bel.model import BACKBONES, Model
from bel.training.build import build_model
from bel.training.checkpoint import KEYS

TRUNKS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
FIRST = "fc_angles_"  # prefix of the first layer of an axis
PARALLEL = "module."  # prefix of every name of a saved DataParallel
SHOWN = 3  # names of each kind of mismatch that a message lists

# The two layers of an axis by published name, and its name in our head; None for layers that are stored but not used.
LAYERS: dict[str, dict[str, str | None]] = {
    "bel": {"fc_angles_{}": "bottleneck", "{}m": "bits"},
    "direct": {"fc_angles_{}.0": "linear", "{}m.0": None},
    "classification": {"fc_angles_{}": "linear", "{}m": None},
}


def is_published(state: object) -> bool:
    """Return whether names in a loaded file are of the published layout, complete or not."""
    return isinstance(state, Mapping) and any(str(key).removeprefix(PARALLEL).startswith(FIRST) for key in state)


def read(
    path: Path, loaded: object, options: Mapping[str, Any], changes: Mapping[str, Any]
) -> tuple[TrainConfig, Model]:
    """Return config and network, on the CPU, of a published file that was loaded.

    `options` are not in the file: `protocol`, `code` (head bel only), `code_bits` (default: one level a degree); `changes`
    are other config fields. Raises `UserError` where they, or names and shapes in the file, do not fit. A wrong protocol
    is only detected by widths, which a direct head and code hex16 have in common for both protocols.
    """
    state = tensors(path, loaded)
    found = head_of(state) | {"backbone": trunk_of(state)}
    refuse_options(path, found["head"], options)
    config = TrainConfig.make({"recipe": "published", "weights": "none", **found, **options} | dict(changes))
    model = build_model(config, initial=False)
    names = layout(model, config)
    refuse_mismatch(path, config, state, names, model.state_dict())
    model.load_state_dict({ours: state[name] for name, ours in names.items() if ours is not None})
    return config, model


def tensors(path: Path, state: object) -> dict[str, Tensor]:
    """Return the tensors of a published state dict, without the prefix of DataParallel. Raises `UserError`."""
    if not isinstance(state, Mapping):
        raise UserError(f"{path} holds a {type(state).__name__}, not a state dict: save model.state_dict()")
    if all(key in state for key in KEYS):
        raise UserError(
            f"{path} is one of our own checkpoints, which says its protocol, code and code_bits itself: leave --protocol, "
            "--code and --code-bits out"
        )
    other = next((key for key, value in state.items() if not isinstance(value, Tensor)), None)
    if other is not None:
        raise UserError(
            f"{path} is not a state dict (names to tensors): {other!r} is of type {type(state[other]).__name__}; save "
            "model.state_dict() alone"
        )
    if not is_published(state):
        raise UserError(
            f"{path} is not a published state dict: no name begins with {FIRST}, the first is {next(iter(state), None)!r}; "
            "give one of the published head-pose code"
        )
    parallel = all(str(key).startswith(PARALLEL) for key in state)
    return {str(key).removeprefix(PARALLEL if parallel else ""): value for key, value in state.items()}


def head_of(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the head, and theta of head bel, by names and shapes; one complete axis is enough.

    Only in head bel the second layer takes the output of the first: (theta, features), then (bits, theta).
    """
    axes = sorted({name.removeprefix(FIRST).split(".")[0] for name in state if name.startswith(FIRST)})
    if any(f"{FIRST}{axis}.0.weight" in state for axis in axes):
        return {"head": "direct"}
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    for axis in axes:
        rows, columns = shapes.get(f"{FIRST}{axis}.weight", ())[:1], shapes.get(f"{axis}m.weight", ())[1:]
        if rows and rows == columns:
            return {"head": "bel", "theta": rows[0]}
    return {"head": "classification"}


def trunk_of(state: Mapping[str, Tensor]) -> str:
    """Return the ResNet whose names and shapes differ least from those of a file."""
    theirs = {(name, tuple(value.shape)) for name, value in state.items()}

    def differing(name: str) -> int:
        with torch.device("meta"):
            own = BACKBONES[name]().state_dict()
        return len(theirs ^ {(key, tuple(value.shape)) for key, value in own.items() if not key.startswith("fc.")})

    return min(TRUNKS, key=differing)


def refuse_options(path: Path, head: str, options: Mapping[str, Any]) -> None:
    """Raise `UserError` where the protocol is missing, or a code is missing or not allowed."""
    if options.get("protocol") is None:
        raise UserError(
            f"{path} is a published state dict, which does not say its protocol: add --protocol, one of {published_names()}"
        )
    one_of("--protocol of a published state dict", options["protocol"], published_names())
    if head == "bel" and options.get("code") is None:
        raise UserError(f"{path} has head bel and does not say its code: add --code, one of {names()}")
    if head != "bel" and options.get("code") is not None:
        raise UserError(f"{path} has head {head}, which has no code: leave --code out")


def layout(model: Model, config: TrainConfig) -> dict[str, str | None]:
    """Return our name of each tensor by its published name; None for tensors that are stored but not used."""
    names: dict[str, str | None] = {
        name.removeprefix("trunk."): name for name in model.state_dict() if name.startswith("trunk.")
    }
    for axis in config.axes:
        for published, layer in LAYERS[config.head].items():
            ours = f"head.per_axis.{axis.name}.{layer}" if layer else None
            for kind in ("weight", "bias"):
                names[f"{published.format(axis.name)}.{kind}"] = f"{ours}.{kind}" if ours else None
    return names


def refuse_mismatch(
    path: Path,
    config: TrainConfig,
    state: Mapping[str, Tensor],
    names: Mapping[str, str | None],
    own: Mapping[str, Tensor],
) -> None:
    """Raise `UserError` naming what is missing, unexpected, or of another shape than the config's network has."""
    used = {name: own[ours] for name, ours in names.items() if ours is not None and name in state}
    wrong = {
        "missing": [name for name in names if name not in state],
        "unexpected": [name for name in state if name not in names],
        "of another shape": [
            f"{name} {tuple(state[name].shape)} instead of {tuple(value.shape)}"
            for name, value in used.items()
            if state[name].shape != value.shape
        ],
    }
    if any(wrong.values()):
        kinds = [
            f"{len(found)} {kind}: {', '.join(found[:SHOWN])}{', ...' if len(found) > SHOWN else ''}"
            for kind, found in wrong.items()
            if found
        ]
        raise UserError(
            f"{path} does not fit {summary(config)}: {'; '.join(kinds)}: give the protocol, code and code_bits that it "
            "was trained with"
        )


def summary(config: TrainConfig) -> str:
    """Describe how a published file was understood, in a line."""
    levels = "/".join(str(axis.levels) for axis in config.axes)
    code = f"code {config.code}, theta {config.theta}, " if config.head == "bel" else ""
    return f"protocol {config.protocol_name}, head {config.head}, {code}{levels} levels, trunk {config.backbone}"
