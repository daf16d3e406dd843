"""Checkpoints: what their dict of plain values and tensors holds, and the network that is built from one.

`bel.training.loop.snapshot` makes the dict; `bel/tensor_file.py` writes it (`write`, `save`: whole or not at all) for
`launch/train.py` and `launch/driver/trainable.py`, and reads it without running code.
"""

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
from bel.plugins.registry import digests
from bel.tensor_file import Damaged as Damaged
from bel.tensor_file import flat
from bel.tensor_file import read as read
from bel.tensor_file import save as save
from bel.tensor_file import write as write
from bel.text import harmless
from bel.training.build import build_model
from bel.training.source import code_version

Rule = tuple[str, Callable[[Any], bool]]  # what a value must be: in words, and as a function


def is_mapping_of(value: Any, *needed: str, kind: Any = object) -> bool:
    """Return whether a value is a mapping of names to values of a type, with all `needed` names."""
    names_fit = isinstance(value, dict) and all(isinstance(name, str) for name in value)
    return names_fit and all(isinstance(v, kind) for v in value.values()) and set(needed) <= value.keys()


def is_positive_int(value: Any) -> bool:
    """Return whether a value is a whole number from 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def has_texts(value: Any, *needed: str) -> bool:
    """Return whether a value is a mapping with text that is not blank under all `needed` names."""
    return is_mapping_of(value, *needed) and all(
        isinstance(value[name], str) and value[name].split() for name in needed
    )


def has_numbers(value: Any, *needed: str) -> bool:
    """Return whether a value is a mapping of names to numbers, with finite ones under all `needed` names."""
    plain = is_mapping_of(value, *needed, kind=int | float) and not any(
        isinstance(number, bool) for number in value.values()
    )
    return plain and all(math.isfinite(value[name]) for name in needed)


RULES: dict[str, Rule] = {
    "config": (
        "fields by name, with protocol, head and backbone",
        lambda value: is_mapping_of(value, "protocol", "head", "backbone"),
    ),
    "weights": ("tensors by name", lambda value: is_mapping_of(value, kind=Tensor)),
    "optimiser": ("a list of states", lambda value: isinstance(value, list) and all(map(is_mapping_of, value))),
    "epoch": ("a whole number from 1", is_positive_int),
    "best": ("numbers by name, with val/best_mae", lambda value: has_numbers(value, "val/best_mae")),
    "metrics": ("numbers by name, with val/mae", lambda value: has_numbers(value, "val/mae")),
    "data": (
        "facts by name, with data_digest and split_hash",
        lambda value: has_texts(value, "data_digest", "split_hash"),
    ),
    "environment": (
        "text by name, with device, torch and code_version",
        lambda value: has_texts(value, "device", "torch", "code_version"),
    ),
}
MORE_RULES: dict[str, Rule] = {  # of keys that only some checkpoints have
    "chunks": ("a whole number from 1", is_positive_int),
    "format": ("a whole number from 1", is_positive_int),
    "history": ("a list of numbers by name", lambda value: isinstance(value, list) and all(map(has_numbers, value))),
}
KEYS = tuple(RULES)
FORMAT = 2  # of a checkpoint; one without this number is of format 1
# Fields that configs of older formats lack, with the values of that time.
ADDED_FIELDS: dict[int, dict[str, Any]] = {1: {"exif": "ignore", "center_crop": "floor"}}


def checked(path: Path, state: Any) -> dict[str, Any]:
    """Return a state that was read, if it is a checkpoint of ours. Raises `UserError` with what is missing or wrong."""
    missing = [key for key in KEYS if not isinstance(state, dict) or key not in state]
    if missing:
        raise UserError(f"{path} is not one of our checkpoints: it lacks {missing}")
    for key, (what, holds) in (RULES | MORE_RULES).items():
        if key in state and not holds(state[key]):
            raise UserError(f"{path} is not a sound checkpoint: its {key} must be {what}")
    ours = {key: value for key, value in state.items() if key not in ("config", "data")}  # those have users' names
    odd = next((value for value in flat(ours) if isinstance(value, str) and harmless(value) != value), None)
    if odd is not None:
        raise UserError(
            f"{path} is not a sound checkpoint: it has text with characters that are not to be seen: {odd!r}"
        )
    return dict(state)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. Raises `UserError` where the file is missing or is none of ours."""
    return checked(path, read(path))


def config_values(state: dict[str, Any]) -> dict[str, Any]:
    """Return the config fields of a checkpoint, completed by its format. Raises `UserError` for a newer format."""
    number = state.get("format", 1)
    if number not in (*ADDED_FIELDS, FORMAT):
        raise UserError(f"the checkpoint is of format {number!r}, this version reads 1 to {FORMAT}: use a newer one")
    values = dict(state["config"])
    for older in range(number, FORMAT):
        values = ADDED_FIELDS[older] | values
    return values


def config_of(state: dict[str, Any], changes: Mapping[str, Any] = MappingProxyType({})) -> TrainConfig:
    """Return the config of a checkpoint, with some fields changed for this machine.

    A checkpoint never decides where to write: `cache_dir` is the default of this machine, unless `changes` has one.
    """
    return TrainConfig.make(config_values(state) | {"cache_dir": TrainConfig.cache_dir} | dict(changes))


def refuse_other_code(config: TrainConfig, state: dict[str, Any]) -> None:
    """Raise `UserError` where the file of a code has changed since a checkpoint was trained with it."""
    same = config.code is not None and state["config"].get("code") == config.code
    if same and state["data"].get("code_digest", config.code_digest) != config.code_digest:
        raise UserError(f"code {config.code} is not the one that the checkpoint was trained with: put its file back")


def restore(state: dict[str, Any], config: TrainConfig) -> Model:
    """Build the network of a config with a checkpoint's weights. Raises `UserError` where they are of another network."""
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
    """Return shape and type of a tensor, which must be the same in a network and in its checkpoint."""
    return tensor.shape, tensor.dtype


def environment(device: torch.device, values: Mapping[str, Any]) -> dict[str, str]:
    """Return device, library and code version, and the plug-ins of a config's values: a result depends on them too."""
    name = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    plugins = {"plug-ins": found} if (found := digests(values)) else {}
    return {
        "device": f"{device.type} {name}",
        "torch": str(torch.__version__),
        "code_version": code_version(),
    } | plugins
