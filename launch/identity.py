"""What a trial trains and selects on, and what identifies it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict

from bel import run_layout
from bel.config import TrainConfig
from bel.data.balance import Balance
from bel.data.labels import clamped_shares
from bel.data.loading import load, refuse_leak, request, split
from bel.data.prepare.build import Progress
from bel.data.prepare.prepared import Prepared, usable
from bel.errors import UserError
from bel.model import weights_digest
from bel.plugins.registry import digests
from bel.regularisers import NONE
from bel.training.source import code_version
from launch.spec.combinations import SPLIT, compares
from launch.spec.sweep_file import Sweep

PIXELS = ("protocol", "data_root", "crop", "margin", "boxes", "on_missing", "exif", "prepared_size", "frame_stride")
# Not part of a trial's key: paths (the digests of their files are), and cuda_graph, which gives the same bits.
IGNORED_FIELDS = ("data_root", "cache_dir", "cache", "boxes", "weights", "plugins", "cuda_graph")

Facts = dict[str, dict[str, str]]  # `data_facts` by `data_key`


def check_files(config: TrainConfig) -> None:
    """Raise `UserError` where a training or test file of the protocol is missing, or an image or group is on both sides."""
    train, test = (usable(request(config, part)).entries for part in ("train", "test"))
    refuse_leak(train, test, config.data_root)


def data_facts(config: TrainConfig, data: Prepared) -> dict[str, str]:
    """What a trial trains and selects on: digest, split, counts, shares of labels beyond its levels.

    Raises `UserError` where `balance` would weight all training images alike.
    """
    parts, axes = split(config, data), config.axes
    facts = {
        "protocol": config.protocol_name,
        run_layout.DATA_DIGEST: data.digest,
        run_layout.SPLIT_HASH: parts.digest,
        run_layout.TRAIN_IMAGES: str(len(parts.train)),
        run_layout.VAL_IMAGES: str(len(parts.val)),
        run_layout.VAL_GROUPS: str(len(parts.val_groups)),
        "left_out": str(data.left_out),
        "skipped": str(data.skipped),
        run_layout.SELECTION_SPLIT: config.selection,
    }
    if parts.held is not data:
        facts[run_layout.HELD_DIGEST] = parts.held.digest
    targets = {"training": data.targets[parts.train], "selection": parts.held.targets[parts.val]}
    if config.balance != NONE:
        Balance(targets["training"], config.definition.axes)
    for part, start in run_layout.CLAMPED.items():
        facts |= {f"{start}{name}": f"{share:.4g}" for name, share in clamped_shares(targets[part], axes).items()}
    return facts


def facts_by_data(configs: list[TrainConfig], progress: Callable[[str], Progress]) -> Facts:
    """`data_facts` of each distinct data request among the configs, by `data_key`."""
    held: dict[str, Prepared] = {}
    facts: Facts = {}
    for (key, _), config in {(data_key(config), config.balance): config for config in configs}.items():
        pixels = pixels_key(config)
        if pixels not in held:
            held[pixels] = load(config, "train", progress(config.protocol_name))
        facts[key] = data_facts(config, held[pixels])
    return facts


def refuse_large_batches(configs: list[TrainConfig], facts: Facts) -> None:
    """Raise `UserError` where a batch has more images than there are to train on."""
    for config in (config for config in configs if data_key(config) in facts):
        images = int(facts[data_key(config)][run_layout.TRAIN_IMAGES])
        if config.batch_size > images:
            raise UserError(f"batch_size {config.batch_size} is more than the {images} training images: lower it")


def pixels_key(config: TrainConfig) -> str:
    """Return the values that decide which images a config sees, as text."""
    return " ".join(str(getattr(config, name)) for name in PIXELS)


def data_key(config: TrainConfig) -> str:
    """Return the values that decide which images, which split and which levels a config sees."""
    return " ".join([pixels_key(config), *(str(getattr(config, name)) for name in (*SPLIT, "axes"))])


def refuse_other_images(sweep: Sweep, facts: list[dict[str, str]]) -> None:
    """Raise `UserError` where a search or a scheduler would compare errors after different images were skipped.

    Protocols are never compared with each other.
    """
    splits = {(values["protocol"], values[run_layout.SPLIT_HASH]) for values in facts}
    if len(splits) > len({protocol for protocol, _ in splits}) and compares(sweep):
        raise UserError(
            "search compares trials by one number, and different images can be used at different crop or image_size: "
            "set on_missing to error, or use method grid or random and scheduler none"
        )


def file_digests(config: TrainConfig) -> dict[str, str]:
    """Return digests of the files that a config names: of the initial weights, of the code, and of the plug-ins it uses."""
    code = {} if config.code_digest is None else {"code_digest": config.code_digest}
    plugins = {"plugin_digest": found} if (found := digests(config.as_dict())) else {}
    return {"weights_digest": weights_digest(config.weights)} | code | plugins


def trial_key(config: TrainConfig, facts: dict[str, str]) -> str:
    """Return sixteen hex digits that identify what a trial computes: config, data, split, initial weights and code."""
    values = {name: value for name, value in config.as_dict().items() if name not in IGNORED_FIELDS}
    data = [facts.get(name) for name in (run_layout.DATA_DIGEST, run_layout.SPLIT_HASH, run_layout.HELD_DIGEST)]
    identity = [values, *data, file_digests(config), code_version()]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def identify(sweep: Sweep, config: TrainConfig, facts: dict[str, str]) -> str:
    """Return `trial_key`, with the search where the scheduler changes fields within a run: no other sweep has that trial."""
    key = trial_key(config, facts)
    if sweep.scheduler.changes:
        key = hashlib.sha256(json.dumps([key, asdict(sweep.search)]).encode()).hexdigest()[:16]
    return key
