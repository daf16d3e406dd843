"""`bel-results best SWEEP`: the best configuration, its errors, how to go on with it, and on request its registration."""

import argparse
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import mlflow
import yaml
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from bel.data.loading import load, split
from bel.errors import UserError, sentence
from bel.files import refuse_file
from bel.run_layout import CHECKPOINT, CONFIG, SELECTION_SPLIT
from bel.text import harmless, selection
from results.analysis.configurations import Configuration, error_of
from results.analysis.leaderboard import Board, boards, method
from results.retest.evaluate import FREE, NOT_REPEATED, add_settings, repeated_validation, settings
from results.retest.loaded_checkpoint import fetch_state, load_network
from results.store import registry
from results.store.runs import find_sweeps, trials

CACHE_DIR = re.compile(r"(?m)^cache_dir:.*\n(?:[ \t]+.*\n)*")  # another run writes elsewhere


@dataclass(frozen=True)
class BestRun:
    """A sweep's parent run, its leaderboards, and the best configuration's run to go on with."""

    sweep: Run
    tables: list[Board]
    run: Run
    kept: bool  # whether the run's checkpoint is in the store

    @property
    def leader(self) -> Configuration:
        """The best configuration of the first table."""
        return self.tables[0].leader

    @property
    def sweep_name(self) -> str:
        """The sweep's name, that of its experiment."""
        return str(MlflowClient().get_experiment(self.sweep.info.experiment_id).name)


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


def best(a: argparse.Namespace) -> int:
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
    print(described(best_run))
    print(f"\n{CONFIG}:\n" + "".join(f"  {line}\n" for line in text.splitlines()))
    if a.config:
        a.config.parent.mkdir(parents=True, exist_ok=True)
        a.config.write_text(text, encoding="utf-8")
    print(next_steps(best_run, a.sweep, a.config))
    return 0 if a.register is None else register(best_run, a.register, changes)


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


def described(best_run: BestRun) -> str:
    """Describe the best configuration: its errors, its ties, and the run to go on with."""
    table, leader, run = best_run.tables[0], best_run.leader, best_run.run
    facts, unit = table.facts, table.facts["unit"] or "own unit"
    word = selection(run.data.params[SELECTION_SPLIT]).heading
    mean = f"over {facts['groups']} groups of {facts['images']} images"
    if leader.mean == "images":
        mean = f"over {facts['images']} images, as an earlier version logged it"
    interval = "95 % interval {:.3f} to {:.3f}".format(*leader.interval) if leader.interval else "no interval"
    spread = leader.seed_spread
    repeats = "one seed" if spread is None else f"mean of {leader.seed_count} seeds (sd {spread:.3f})"
    lines = [
        f"best of sweep {best_run.sweep_name} (parent run {best_run.sweep.info.run_id}), of {len(table.standings)} "
        f"configurations: {leader.name}",
        f"{table.heading} {leader.mae:.3f} {unit}, {interval}, {mean}, {repeats}",
        f"{facts['protocol']}, crop {facts['crop']}, split {facts['split']}, {facts['selection']}, code {facts['code']}",
        *([f"note: {facts['beyond']}"] if facts["beyond"] else []),
        *ties(table),
        f"run {run.info.run_id}, {run.info.run_name}: {word} {error_of(run):.3f} {unit}{run_notes(best_run)}",
    ]
    if len(best_run.tables) > 1:
        lines.append(
            f"{len(best_run.tables) - 1} more tables are not comparable with it: bel-results leaderboard shows them"
        )
    return "\n".join(map(harmless, lines))


def ties(table: Board) -> list[str]:
    """Say which configurations are tied with the best, and how differences were computed."""
    tied = [one for one in table.standings if one.tied]
    unknown = [one.configuration.name for one in tied if one.difference and one.difference.interval is None]
    equal = [one.configuration.name for one in tied if one.difference and one.difference.interval is not None]
    lines = [
        f"{count(names)} {what}: {', '.join(names)}" for names, what in ((equal, TIED), (unknown, UNKNOWN)) if names
    ]
    ahead = [one.configuration.name for one in table.standings if one.difference and one.difference.mean < 0]
    if ahead:
        lines.append(f"{count(ahead)} with less error, but of fewer seeds, folds or epochs: {', '.join(ahead)}")
    if not lines and table.leader.seeds and len(table.standings) > 1:
        lines = ["no configuration is tied with it"]
    return [*lines, f"({method(table).split(';')[0]})"] if len(table.standings) > 1 else []


TIED, UNKNOWN = "tied with it", "not to be told from it, by too few groups"


def count(names: list[str]) -> str:
    """Begin a sentence about some configurations."""
    return "1 configuration is" if len(names) == 1 else f"{len(names)} configurations are"


def run_notes(best_run: BestRun) -> str:
    """Say which of the configuration's runs it is, and what it lacks."""
    params, several = best_run.run.data.params, len(best_run.leader.runs) > 1
    said = f", the least of its {len(best_run.leader.runs)} runs" if several else ""
    if "fold" in params:
        said += (
            f"; it is the run of one fold, {params['fold']} of {params['folds']}, trained without that fold's images"
        )
    if not best_run.kept:
        said += (
            f"; NO CHECKPOINT: none of its runs has its {CHECKPOINT} any more (keep of the sweep says how many stay)"
        )
    return said


def next_steps(best_run: BestRun, sweep: str, config: Path | None) -> str:
    """Return the commands that go on with the run, ready to paste."""
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
    return "\n".join(f"{what}:\n  {line}" for what, line in steps)


def beside(command: str) -> str:
    """Return how to type one of our commands, where the environment may not be activated."""
    return command if shutil.which(command) else os.path.relpath(Path(sys.executable).with_name(command))


def register(best_run: BestRun, name: str, changes: dict[str, object]) -> int:
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
    how = "registered as" if new else "was registered before as"
    print(f"run {best_run.run.info.run_id} {how} version {version.version} of {name}, now {name}@{registry.CHAMPION}")
    print(f"re-test it by name:\n  {beside('bel-eval')} --model {shlex.quote(f'{name}@{registry.CHAMPION}')}")
    return 0
