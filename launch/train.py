"""One run without Ray: `bel-train [CONFIG.yaml] [--code u --lr 1e-4 ...] --out FOLDER`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bel.config import TrainConfig
from bel.config_fields import FIELDS
from bel.data.labels import clamped_shares
from bel.data.loading import load, split
from bel.data.prepare.prepared import Prepared
from bel.errors import UserError
from bel.files import refuse_folder, replacing, writing_in
from bel.output import add_format, answering, command, command_parser
from bel.plugins.registry import digests
from bel.plugins.registry import load as load_plug_ins
from bel.run_layout import CHECKPOINT, CONFIG, LAST, PREDICTIONS
from bel.text import beyond_range, harmless, selection
from bel.training import checkpoint
from bel.training.evaluate import unit
from bel.training.loop import Epoch
from launch.pace import Pace, paced
from launch.spec import yaml_text
from launch.spec.plain_keys import LOG_TARGETS
from launch.tracking.event_files import EventFile, refuse_missing
from launch.tracking.predictions import write_predictions

WITHOUT_EFFECT = ("cuda_graph", "cache_dir")  # fields that change no result
REFRESH, LINE = 0.2, 60.0  # seconds between two states of the bar, and between two lines where there is no terminal
BAR = "{desc} |{bar}| {elapsed}"


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Train one network and write its checkpoints into a folder; with --resume go on from the last one."""
    parser = command_parser("bel-train", "Train one network, without Ray and MLflow.")
    parser.add_argument("file", type=Path, nargs="?", help=f"YAML of config fields, e.g. the {CONFIG} of a trial")
    parser.add_argument("--out", type=Path, default=Path("runs/train"), help="folder of the checkpoints (%(default)s)")
    parser.add_argument(
        "--resume", action="store_true", help=f"go on after the epoch of OUT/{LAST}, to more --epochs too"
    )
    parser.add_argument(
        "--log-to", action="append", choices=LOG_TARGETS, help="tensorboard: event files of the curves in OUT, too"
    )
    load_plugins(argv)
    for f in (f for name, f in FIELDS.items() if name not in ("plugins", "plugin_options")):
        flag = f"--{f.name.replace('_', '-')}"
        parser.add_argument(flag, default=argparse.SUPPRESS, help=f"{f.metadata['help']} ({f.default})", metavar="")
    add_plugins(parser)
    add_format(parser)
    arguments = vars(parser.parse_args(argv))
    file, out, resume, log_to, form = (arguments.pop(name) for name in ("file", "out", "resume", "log_to", "format"))
    missing = f"no config file {file}: give one, or the fields as options"
    with answering(form) as answer:
        config = TrainConfig.make((yaml_text.load(file, missing) if file else {}) | arguments)
        answer.values = train(config, out, resume, log_to or ())
    return 0


def add_plugins(parser: argparse.ArgumentParser) -> None:
    """Add the option of plug-ins."""
    text = "module with heads, codes, backbones, readers or regularisers of one's own, or its file"
    parser.add_argument("--plugins", action="append", default=argparse.SUPPRESS, metavar="FILE", help=text)


def load_plugins(argv: Sequence[str] | None) -> None:
    """Load the plug-ins that a command line names, whose fields are options. Raises `UserError`."""
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_plugins(early)
    load_plug_ins(getattr(early.parse_known_args(argv)[0], "plugins", None))


def train(config: TrainConfig, out: Path, resume: bool, log_to: Sequence[str] = ()) -> dict[str, Any]:
    """Train with a progress bar and save after every epoch; return what is printed, in plain values.

    Raises `UserError` for a folder that holds a run already.
    """
    refuse_missing(log_to)
    refuse_folder("--out", out)
    last, best = out / LAST, out / CHECKPOINT
    if last.exists() and not resume:
        raise UserError(f"{out} holds a run already: add --resume to go on with it, or choose another --out")
    state = load_state(last) if resume else None
    if state:
        config = continued(last, state, config)
    data = load(config, "train", progress)
    found = describe(config, data) | {"folder": out, "checkpoint": best, "epochs": []}
    watched = sys.stderr.isatty()
    bar = tqdm(total=config.epochs, bar_format=BAR, dynamic_ncols=True, delay=0.1, miniters=0, disable=not watched)
    epochs = paced(config, data, state, partial(show, bar), REFRESH if watched else LINE)
    out.mkdir(parents=True, exist_ok=True)
    with writing_in(out, last.name, best.name, PREDICTIONS["val"]):
        pass  # removes what a killed run left, though this one may not write it again
    with bar, EventFile(out, config, begun=bool(state)) if log_to else nullcontext() as events:
        for epoch in epochs:
            state = epoch.state()
            if events:  # before the last one, after which the epoch is not trained again
                events.log(epoch.metrics, epoch.number, time.time())
            if epoch.is_best:  # before the last one, which refers to it
                checkpoint.save(state, best)
                with replacing(out / PREDICTIONS["val"]) as path:
                    write_predictions(epoch.validation, path)
            checkpoint.save(state, last)
            bar.update(epoch.number - bar.n)
            found["epochs"].append(values_of(epoch))
            bar.write(line(found["epochs"][-1], selection(config.selection).heading))
    print(f"re-test the best epoch with: bel-eval --checkpoint {harmless(best)}")
    return found


def values_of(epoch: Epoch) -> dict[str, float]:
    """Return what is said of an epoch in plain values."""
    values = epoch.metrics
    return {
        "epoch": epoch.number,
        "train_loss": values["train/loss"],
        "mae_groups": values["val/mae_groups"],
        "mae": values["val/mae"],
        "best_epoch": int(values["val/best_epoch"]),
        "images_per_s": values["images_per_s"],
    }


def line(values: dict[str, float], heading: str) -> str:
    """Return the line of an epoch."""
    return (
        f"epoch {values['epoch']}: train loss {values['train_loss']:.4g}, {heading} {values['mae_groups']:.3f} "
        f"({values['mae']:.3f} by image), best epoch {values['best_epoch']}, {values['images_per_s']:.0f} images/s"
    )


def show(bar: tqdm[Any], pace: Pace) -> None:
    """Show a pace in the bar; where there is no terminal print it as a line."""
    if bar.disable:
        print(pace, file=sys.stderr, flush=True)
    bar.set_description_str(str(pace), refresh=False)
    bar.update(pace.done / pace.steps - bar.n)


def load_state(last: Path) -> dict[str, Any] | None:
    """Load the state to go on from; None for a damaged file. Raises `UserError` for no file, or one of another kind."""
    try:
        return checkpoint.load(last)
    except checkpoint.Damaged as error:
        print(f"note: {harmless(error)}: training begins again", file=sys.stderr)
        return None


def progress(items: Iterable[Any], total: int) -> Iterable[Any]:
    """Iterate over items with a progress bar."""
    return tqdm(items, total=total, desc="preparing", unit=" images")


def continued(last: Path, state: dict[str, Any], config: TrainConfig) -> TrainConfig:
    """Return the config with which a run goes on, where it is to be longer with a cosine that begins anew, and say so.

    Raises `UserError` for other options than it started with.
    """
    before = checkpoint.config_of(state)  # fields that are newer than the checkpoint have their defaults
    if config.epochs < before.epochs:
        raise UserError(
            f"{last} is of a run of {before.epochs} epochs, got epochs {config.epochs}: give {before.epochs} to go on with it, "
            "or more to train it longer"
        )
    longer = before.longer(config.epochs) if config.epochs > before.epochs else before
    if config.restarts is None and config.epochs == longer.epochs and config.schedule == longer.schedule:
        config = replace(config, restarts=longer.restarts)
    refuse_other_options(last, state, longer, config)
    if longer is not before:
        how = f", the learning rate from {config.lr:g} again after epoch {before.epochs}" if longer.restarts else ""
        print(f"{last} goes on to {config.epochs} epochs, from {before.epochs}{how}")
    return config


def refuse_other_options(last: Path, state: dict[str, Any], wanted: TrainConfig, config: TrainConfig) -> None:
    """Raise `UserError` where a run would go on with other options than are `wanted`, or with other plug-ins."""
    own = wanted.as_dict()
    differing = [n for n, value in config.as_dict().items() if own[n] != value and n not in WITHOUT_EFFECT]
    made, here = state["environment"].get("plug-ins", ""), digests(config.as_dict())
    if made != here:
        raise UserError(
            f"{last} was trained with plug-ins {made or 'none'}, and here is {here or 'none'}: put them back, or choose "
            "another --out"
        )
    if differing:
        raise UserError(
            f"{last} was trained with another {', '.join(differing)}: repeat its options, or choose another --out"
        )


def describe(config: TrainConfig, data: Prepared) -> dict[str, Any]:
    """Print which images train, and the shares of labels beyond the range of their axis; return it in plain values."""
    print(f"{len(data)} images of {config.protocol_name}, {data.left_out} beyond the limit, {data.skipped} skipped")
    parts = split(config, data)
    targets = {"training": data.targets[parts.train], "selection": parts.held.targets[parts.val]}
    if beyond := beyond_range({part: clamped_shares(values, config.axes) for part, values in targets.items()}):
        print(f"note: {beyond}")
    return {
        "protocol": config.protocol_name,
        "images": len(data),
        "beyond_limit": data.left_out,
        "skipped": data.skipped,
        "split": parts.digest,
        "selection": selection(config.selection).chosen,
        "unit": unit(config.axes),
        "beyond": beyond,
    }
