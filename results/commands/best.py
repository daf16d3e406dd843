"""`bel-results best SWEEP`: the best configuration, its errors, how to go on with it, and on request its registration."""

import argparse
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import mlflow
import yaml
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from bel.data.loading import load, split
from bel.errors import UserError, sentence
from bel.files import refuse_file
from bel.output import Answer, add_format
from bel.run_layout import CHECKPOINT, CONFIG
from results.analysis.leaderboard import boards
from results.retest.evaluate import FREE, NOT_REPEATED, add_settings, repeated_validation, settings
from results.retest.loaded_checkpoint import fetch_state, load_network
from results.store import registry
from results.store.runs import find_sweeps, trials
from results.tables.best import BestRun, as_values, described

CACHE_DIR = re.compile(r"(?m)^cache_dir:.*\n(?:[ \t]+.*\n)*")  # another run writes elsewhere


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of `bel-results best`."""
    parser.add_argument("sweep", help="name of a sweep, or MLflow id of its parent run")
    parser.add_argument("--filter", default="", help="an MLflow filter of trials, e.g. \"params.protocol = 'biwi'\"")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="write the best configuration's config there, for bel-train"
    )
    parser.add_argument(
        "--register", metavar="NAME", help=f"re-test it on validation, then make it {registry.CHAMPION} of this model"
    )
    add_settings(parser, "for the re-test, e.g. data_root=/data, device=cpu")
    add_format(parser)


def best(a: argparse.Namespace, answer: Answer) -> int:
    """Print the best configuration of a sweep, and register its run on request; 1 where its validation does not repeat."""
    changes = settings(a.set, FREE)
    if changes and a.register is None:
        raise UserError("--set is for the re-test before --register: add that, or leave --set out")
    if a.register is not None:
        registry.refuse_name(a.register)
    if a.config:
        refuse_file("--config", a.config)
    best_run = find_best(a.sweep, a.filter)
    text = config_text(best_run.run)
    steps = next_steps(best_run, a.sweep, a.config)
    answer.values = as_values(best_run) | {
        "config": yaml.safe_load(text),
        "config_file": a.config,
        "next_commands": [{"what": what, "command": line} for what, line in steps],
        "registered": None,
    }
    answer.say(described(best_run))
    answer.say(f"\n{CONFIG}:\n" + "".join(f"  {line}\n" for line in text.splitlines()))
    if a.config:
        a.config.parent.mkdir(parents=True, exist_ok=True)
        a.config.write_text(text, encoding="utf-8")
    answer.say("\n".join(f"{what}:\n  {line}" for what, line in steps))
    return 0 if a.register is None else register(best_run, a.register, changes, answer)


def find_best(name: str, condition: str = "") -> BestRun:
    """Find the best run of a sweep: that of its first leaderboard.

    Raises `UserError` where no trial has an error.
    """
    sweep = find_sweeps([name])[0]
    tables = boards(trials([sweep], condition))
    if not tables:
        raise UserError(f"sweep {name!r} has no trial that came to an error yet: run it again to go on")
    return BestRun(sweep, tables, *tables[0].best)


def config_text(run: Run) -> str:
    """Read the YAML of a run's config without its cache_dir. Raises `UserError` where it cannot be read."""
    try:
        text = CACHE_DIR.sub("", str(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{CONFIG}")))
        values = yaml.safe_load(text)
    except (MlflowException, OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"run {run.info.run_id} has no {CONFIG} that can be read: {sentence(error)}") from error
    if not isinstance(values, dict) or "cache_dir" in values:
        raise UserError(f"run {run.info.run_id} has no {CONFIG} that can be read: it is not as a sweep writes it")
    return text


def next_steps(best_run: BestRun, sweep: str, config: Path | None) -> list[tuple[str, str]]:
    """Return the commands that go on with the run, ready to paste, each after what it does."""
    run_id, name = best_run.run.info.run_id, best_run.sweep_name
    file = config or Path("runs") / f"{name}.yaml"
    train = f"{beside('bel-train')} {shlex.quote(str(file))} --out {shlex.quote(f'runs/{name}-again')}"
    if not config:
        train = f"{beside('bel-results')} best {shlex.quote(sweep)} --config {shlex.quote(str(file))} && {train}"
    steps = [("train it again", train)]
    if best_run.kept:
        steps = [
            ("re-test it, on the test split too", f"{beside('bel-eval')} --run-id {run_id}"),
            ("export it", f"{beside('bel-export')} --run-id {run_id} --to onnx"),
            *steps,
        ]
    return steps


def beside(command: str) -> str:
    """Return how to type one of our commands, where the environment may not be activated."""
    return command if shutil.which(command) else os.path.relpath(Path(sys.executable).with_name(command))


def register(best_run: BestRun, name: str, changes: dict[str, object], answer: Answer) -> int:
    """Register the run if its validation error repeats; return 1 where it does not, and register nothing.

    Raises `UserError` where there is no checkpoint to register.
    """
    if not best_run.kept:
        raise UserError(
            f"none of the runs of {best_run.leader.name} has its {CHECKPOINT}: train it again with a greater keep"
        )
    print()
    loaded = load_network(fetch_state(best_run.run), changes, best_run.run)
    train = load(loaded.config, "train")
    if repeated_validation(loaded, train, split(loaded.config, train)) is None:
        print(f"error: {NOT_REPEATED}; nothing is registered", file=sys.stderr)
        return 1
    version, new = registry.register(best_run.run, best_run.sweep_name, name)
    answer.values["registered"] = {
        "model": name, "version": int(version.version), "alias": registry.CHAMPION, "new": new
    }  # fmt: skip
    how = "registered as" if new else "was registered before as"
    champion = f"{name}@{registry.CHAMPION}"
    answer.say(
        f"run {best_run.run.info.run_id} {how} version {version.version} of {name}, now {champion}\n"
        f"re-test it by name:\n  {beside('bel-eval')} --model {shlex.quote(champion)}\n"
        f"serve it:\n  {beside('mlflow')} models serve -m {shlex.quote(f'models:/{champion}')} --env-manager local"
    )
    return 0
