"""What is re-tested: its run, what its numbers belong to, and what is unlike where it was trained."""

from pathlib import Path
from typing import Any

from bel.config import TrainConfig
from bel.tensor_file import DIGEST
from bel.text import harmless, selection
from results.retest.loaded_checkpoint import LoadedCheckpoint

Record = dict[str, Any]  # of a re-test, in plain values


def print_origin(loaded: LoadedCheckpoint) -> Record:
    """Print what is re-tested, what its numbers belong to, and what is unlike where it was trained; return the first two."""
    config, made = loaded.config, loaded.state["environment"]
    title = harmless(f"run {loaded.run.info.run_id}, {loaded.run.info.run_name}" if loaded.run else "checkpoint")
    print(f"{title}: {config.protocol_name}, crop {config.crop}, head {config.head}, epoch {loaded.state['epoch']}")
    print(
        f"{selection(config.selection).chosen}, seed {config.seed}, split seed {config.split_seed}, code {made['code_version']}"
    )
    if DIGEST not in loaded.state:
        print(
            "note: the checkpoint has no digest of its own, as older ones: that it is as it was written is not verified"
        )
    elsewhere = not Path(config.data_root).is_relative_to(Path.cwd())
    print(
        f"data in {config.data_root}{', not below this folder: --set data_root=PATH reads other' if elsewhere else ''}"
    )
    for name, value in loaded.here.items():
        if made.get(name) != value:
            print(f"note: {name} here: {value}, the checkpoint was made with {made.get(name, 'none')}")
    run = loaded.run.info if loaded.run else None
    return record(config, made["code_version"]) | {
        "run_id": run.run_id if run else None,
        "run_name": run.run_name if run else None,
        "epoch": loaded.state["epoch"],
        "seed": config.seed,
        "split_seed": config.split_seed,
    }


def record(config: TrainConfig, code_version: str) -> Record:
    """Return a re-test in plain values before anything is measured; None is not known, or not measured."""
    names = ("run_id", "run_name", "epoch", "seed", "split_seed", "validation", "test")
    return dict.fromkeys(names) | {
        "protocol": config.protocol_name,
        "crop": config.crop,
        "head": config.head,
        "selection": selection(config.selection).chosen,
        "code_version": code_version,
        "logged": False,
    }
