"""Checkpoints: one dict of plain values and tensors, written atomically, read without unpickling code."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from bel.config import TrainConfig
from bel.errors import UserError
from bel.model import Model
from bel.source import code_version
from bel.tensor_file import Damaged as Damaged
from bel.tensor_file import flat
from bel.tensor_file import read as read
from bel.tensor_file import save as save
from bel.tensor_file import write as write
from bel.text import harmless
from bel.training.build import build_model

Rule = tuple[str, Callable[[Any], bool]]  # what a value must be, in words and as a test


def named(value: Any, *needed: str, kind: Any = object) -> bool:
    """Whether a value is a mapping of names to values of a kind that has some names."""
    names_fit = isinstance(value, dict) and all(isinstance(name, str) for name in value)
    return names_fit and all(isinstance(v, kind) for v in value.values()) and set(needed) <= value.keys()


def counts(value: Any) -> bool:
    """Whether a value is a whole number from 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def texts(value: Any, *needed: str) -> bool:
    """Whether a value is a mapping that has text of at least a word under some names."""
    return named(value, *needed) and all(isinstance(value[name], str) and value[name].split() for name in needed)


def numbers(value: Any, *needed: str) -> bool:
    """Whether a value is a mapping of names to numbers that has some, which are finite."""
    plain = named(value, *needed, kind=int | float) and not any(isinstance(number, bool) for number in value.values())
    return plain and all(math.isfinite(value[name]) for name in needed)


RULES: dict[str, Rule] = {
    "config": (
        "fields by name, with protocol, head and backbone",
        lambda value: named(value, "protocol", "head", "backbone"),
    ),
    "weights": ("tensors by name", lambda value: named(value, kind=Tensor)),
    "optimiser": ("a list of states", lambda value: isinstance(value, list) and all(map(named, value))),
    "epoch": ("a whole number from 1", counts),
    "best": ("numbers by name, with val/best_mae", lambda value: numbers(value, "val/best_mae")),
    "metrics": ("numbers by name, with val/mae", lambda value: numbers(value, "val/mae")),
    "data": ("facts by name, with data_digest and split_hash", lambda value: texts(value, "data_digest", "split_hash")),
    "environment": (
        "text by name, with device, torch and code_version",
        lambda value: texts(value, "device", "torch", "code_version"),
    ),
}
MORE_RULES: dict[str, Rule] = {  # of what some checkpoints have besides
    "chunks": ("a whole number from 1", counts),
    "format": ("a whole number from 1", counts),
    "history": ("a list of numbers by name", lambda value: isinstance(value, list) and all(map(numbers, value))),
}
KEYS = tuple(RULES)
FORMAT = 2  # of a checkpoint's state; one without a number is of format 1
# What the configs of older formats meant and do not say.
MEANT: dict[int, dict[str, Any]] = {1: {"exif": "ignore", "center_crop": "floor"}}


def whole(path: Path, state: Any) -> dict[str, Any]:
    """What was read, if it is a checkpoint of ours. Raises `UserError` naming what it lacks."""
    missing = [key for key in KEYS if not isinstance(state, dict) or key not in state]
    if missing:
        raise UserError(f"{path} is not one of our checkpoints: it lacks {missing}")
    for key, (what, holds) in (RULES | MORE_RULES).items():
        if key in state and not holds(state[key]):
            raise UserError(f"{path} is not a sound checkpoint: its {key} must be {what}")
    said = {key: value for key, value in state.items() if key not in ("config", "data")}  # these have users' own names
    odd = next((value for value in flat(said) if isinstance(value, str) and harmless(value) != value), None)
    if odd is not None:
        raise UserError(
            f"{path} is not a sound checkpoint: it has text with characters that are not to be seen: {odd!r}"
        )
    return dict(state)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. Raises `UserError` where the file is missing or is none of ours."""
    return whole(path, read(path))


def config_values(state: dict[str, Any]) -> dict[str, Any]:
    """Config fields of a checkpoint's state, with what its format meant. Raises `UserError` for a format to come."""
    number = state.get("format", 1)
    if number not in (*MEANT, FORMAT):
        raise UserError(f"the checkpoint is of format {number!r}, this version reads 1 to {FORMAT}: use a newer one")
    values = dict(state["config"])
    for older in range(number, FORMAT):
        values = MEANT[older] | values
    return values


def config_of(state: dict[str, Any], changes: Mapping[str, Any] = MappingProxyType({})) -> TrainConfig:
    """The config that a checkpoint's network was trained with, some fields changed for this machine.

    Where to write is never what a checkpoint says: its `cache_dir` is the usual one here, unless `changes` has one.
    """
    return TrainConfig.make(config_values(state) | {"cache_dir": TrainConfig.cache_dir} | dict(changes))


def refuse_other_code(config: TrainConfig, state: dict[str, Any]) -> None:
    """Raise `UserError` where the code of a config is another than a checkpoint was trained with: its file has changed."""
    same = config.code is not None and state["config"].get("code") == config.code
    if same and state["data"].get("code_digest", config.code_digest) != config.code_digest:
        raise UserError(f"code {config.code} is not the one that the checkpoint was trained with: put its file back")


def restore(state: dict[str, Any], config: TrainConfig) -> Model:
    """The network of a config with a checkpoint's weights. Raises `UserError` where they are of another network."""
    refuse_other_code(config, state)
    model = build_model(config, initial=False)
    own, stored = model.state_dict(), state["weights"]
    wrong = [key for key in own if key not in stored or kind_of(stored[key]) != kind_of(own[key])]
    wrong += [key for key in stored if key not in own]
    if wrong:
        made = ", ".join(f"{key} {state['config'].get(key)}" for key in ("head", "code", "code_bits", "backbone"))
        raise UserError(
            f"the checkpoint is of another network ({made}): {len(wrong)} keys differ, the first is {wrong[0]}"
        )
    if odd := next((key for key, value in stored.items() if not value.isfinite().all()), None):
        raise UserError(f"the checkpoint's weights {odd} are not finite, so that it predicts nothing: take another one")
    model.load_state_dict(stored)
    return model


def kind_of(tensor: Tensor) -> tuple[torch.Size, torch.dtype]:
    """What must be the same in a network and in its checkpoint."""
    return tensor.shape, tensor.dtype


def environment(device: torch.device) -> dict[str, str]:
    """What a number depends on besides the config: device, library and code version."""
    gpu = device.type == "cuda"
    name = (
        torch.cuda.get_device_name(device) if gpu else f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    )
    return {"device": f"{device.type} {name}", "torch": str(torch.__version__), "code_version": code_version()}
