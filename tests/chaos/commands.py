"""Commands of users as faults: a random one in a process of its own, and what undoes it; a driver may die meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from bel.run_layout import PARENT
from launch.steering.client import ADD, PAUSE, PRIORITISE, RESUME, SET, STOP
from launch.steering.commands import Answer, Command, answers_in, commands_in
from tests.chaos.campaign import PROJECT, Campaign, Fault
from tests.chaos.processes import MARK
from tests.chaos.sweeps import GRID

Words = list[str]
SWEEP = GRID["name"]


def runs(campaign: Campaign, wanted: str) -> list[Run]:
    """Runs of the sweep in the store that a filter wants."""
    client = MlflowClient(campaign.uri)
    return client.search_runs([e.experiment_id for e in client.search_experiments()], wanted, max_results=1000)


def a_trial(campaign: Campaign) -> str:
    """The id of a run that has not ended, where there is one."""
    alive = runs(campaign, f"attributes.status != 'FINISHED' AND tags.`{PARENT}` LIKE '%'")
    return campaign.random.choice(alive).info.run_id if alive else "no trial"


def pause_trial(campaign: Campaign, name: str) -> list[Words]:
    """Pause a trial, and resume it."""
    trial = a_trial(campaign)
    return [[PAUSE, trial], [RESUME, trial]]


def stop_trial(campaign: Campaign, name: str) -> list[Words]:
    """Stop a trial."""
    return [[STOP, a_trial(campaign)]]


def add(campaign: Campaign, name: str) -> list[Words]:
    """Add a configuration that is not in the lists."""
    return [[ADD, name, "code=u", f"lr={campaign.random.uniform(1e-4, 1e-3):.6f}", "seed=0"]]


def prioritise(campaign: Campaign, name: str) -> list[Words]:
    """Let a trial of the grid be the next one, by its name: it may have no run yet."""
    code, lr, seed = (campaign.random.choice(values) for values in (["u", "j"], ["5e-4", "1e-3"], [0, 1, 2]))
    return [[PRIORITISE, f"{code}-38 bce lr={lr} s{seed}", "--sweep", SWEEP]]


DRAWN: list[Callable[[Campaign, str], list[Words]]] = [
    pause_trial,
    stop_trial,
    add,
    lambda campaign, name: [[PAUSE, name], [RESUME, name]],
    lambda campaign, name: [[SET, name, "at_once=1"], [SET, name, "at_once=none"]],
    prioritise,
]


def send(campaign: Campaign, words: Words) -> subprocess.Popen[str]:
    """Type a command of `bel-sweep` at another terminal."""
    environment = os.environ | {"MLFLOW_TRACKING_URI": campaign.uri, MARK: "a user"}
    command = [sys.executable, str(PROJECT / "launch" / "sweep.py"), *words]
    out = subprocess.PIPE
    return subprocess.Popen(command, cwd=campaign.folder, env=environment, stdout=out, stderr=out, text=True)


def command(campaign: Campaign, fault: Fault, kill: Callable[[Campaign, Fault], None] | None = None) -> None:
    """Give a random command and what undoes it, and `kill` the driver somewhere between its sending and its answer."""
    parent = next(run for run in runs(campaign, "") if PARENT not in run.data.tags)
    kind, said = campaign.random.choice(DRAWN), []
    before = len(given(campaign.uri, parent.info.run_id)[0])
    for number, words in enumerate(kind(campaign, parent.info.run_id)):
        typed = send(campaign, words)
        if kill and number == 0:
            is_sent = lambda: len(given(campaign.uri, parent.info.run_id)[0]) > before  # noqa: E731
            campaign.wait(lambda typed=typed, is_sent=is_sent: is_sent() or typed.poll() is not None, 60, fault)
            campaign.wait(lambda: False, campaign.random.uniform(0, 2), fault)
            kill(campaign, fault)
        out, error = typed.communicate(timeout=120)
        said.append(f"{' '.join(words)[:30]}: {typed.returncode}")
        print(f"{'':10}{(out or error).strip()[:160]}", flush=True)
    fault.hit = ", ".join(said)


def given(uri: str, parent_id: str) -> tuple[dict[str, Command], dict[str, Answer]]:
    """Commands in the store, and their answers."""
    tags = MlflowClient(uri).get_run(parent_id).data.tags
    return commands_in(tags), answers_in(tags)
