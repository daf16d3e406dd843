"""`bel-results calibrate RUN`: a temperature for each axis and intervals that hold, and how far they hold on other groups."""

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mlflow.entities import Metric, Run
from mlflow.tracking import MlflowClient

from bel.data.loading import load, request, split
from bel.data.prepare.prepared import Prepared, is_here
from bel.deploy.calibration import Calibration
from bel.errors import UserError, within
from bel.output import Answer, add_format
from bel.run_layout import CALIBRATED, CALIBRATION, CODE_VERSION, SELECTION_SPLIT, SPLIT_HASH, VAL_GROUPS
from bel.text import columns, harmless
from bel.training.evaluate import constant_median, evaluate
from results.analysis.folds import runs_of_all_folds
from results.analysis.leaderboard import find_runs
from results.retest.calibration import FIGURES, INTERVALS, Measured, likelihoods, on_left_out, on_others, refuse_few
from results.retest.calibration import calibrate as calibrated
from results.retest.evaluate import FREE, NOT_REPEATED, add_settings, log_test, repeated_validation, settings
from results.retest.loaded_checkpoint import LoadedCheckpoint, fetch_state, load_network, load_test, one_run
from results.retest.outputs import Outputs, Recorder, joined
from results.store.runs import RUN_ID, find_sweeps, on_fold

LEVEL = 0.9
LEFT_OUT, TEST = PLACES = ("left_out", "test")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("trial", metavar="RUN", help="MLflow id of a trial, or name or id of a sweep (its best trial)")
    parser.add_argument("--level", type=float, default=LEVEL, help="share of the targets to hold (%(default)s)")
    parser.add_argument(
        "--measure",
        nargs="+",
        choices=PLACES,
        help="measure coverage on each calibration group by the intervals of the others (left_out), or on the test split "
        "(test); default: on both, where the test images are here",
    )
    add_settings(parser, "for the re-test, e.g. data_root=/data, device=cpu")
    add_format(parser)


def calibrate(a: argparse.Namespace, answer: Answer) -> int:
    """Calibrate a trial, of a fold with all folds of its configuration; print and store what that gives."""
    within("--level", a.level, 0.5, 0.999)
    changes = settings(a.set, FREE)
    runs = runs_of_all_folds(find_trial(a.trial))
    refuse_run(runs, a.level)
    networks = [load_network(fetch_state(run), changes, run) for run in runs]
    with torch.inference_mode():
        outputs = joined([validation_outputs(network) for network in networks])
        losses = likelihoods(outputs) if outputs.has_posterior else None
        calibration = calibrated(outputs, a.level, losses)
        measured: dict[str, Measured] = {}
        if a.measure is None or LEFT_OUT in a.measure:
            measured |= left_out(outputs, a.level, losses)
        if TEST in a.measure if a.measure else test_is_here(networks[0]):
            measured[TEST] = on_others([test_outputs(network) for network in networks], calibration)
    answer.values = stored_facts(networks, outputs, calibration, measured)
    answer.say(f"\n{described(runs, outputs, calibration)}\n\n{table(calibration, measured)}")
    for network in networks:
        store(network, answer.values)
    answer.say(f"\n{CALIBRATION} and metrics are in run {', '.join(run.info.run_id for run in runs)}")
    return 0


def find_trial(name: str) -> Run:
    """Return the trial of an id, or the best one of a sweep, of a tuned sweep the best one on folds.

    Raises `UserError` where a sweep has several tables.
    """
    run_id = name if RUN_ID.fullmatch(name) else find_sweeps([name])[0].info.run_id
    on_folds = [run for run in find_runs(run_id) if on_fold(run)]
    return on_folds[0] if len(on_folds) == 1 else one_run(run_id)


def refuse_run(runs: Sequence[Run], level: float) -> None:
    """Raise `UserError` where validation groups are too few, or are those of the test split."""
    params = runs[0].data.params
    if params.get(SELECTION_SPLIT) == "test":
        raise UserError(
            f"run {runs[0].info.run_id} selected its epoch on the test split, which measures and never calibrates: take a run "
            "with selection val"
        )
    refuse_few(sum(int(run.data.params[VAL_GROUPS]) for run in runs), level)


def training_data(network: LoadedCheckpoint) -> Prepared:
    """Return the images of which a network's validation groups are."""
    return load(network.config, "train")


def validation_outputs(network: LoadedCheckpoint) -> Outputs:
    """Return a network's outputs for its validation images. Raises `UserError` where its error does not repeat."""
    assert network.run is not None
    train, recorder = training_data(network), Recorder(network.model, [])
    print(harmless(f"run {network.run.info.run_id}, {network.run.info.run_name}"))
    evaluation = repeated_validation(network, train, split(network.config, train), recorder)
    if evaluation is None:
        raise UserError(f"run {network.run.info.run_id} does not repeat its logged error: {NOT_REPEATED}")
    return recorder.outputs(network.model.head, evaluation)


def test_is_here(network: LoadedCheckpoint) -> bool:
    """Return whether the test images are on this machine, and say where they are not."""
    here = is_here(request(network.config, "test"))
    if not here:
        print(f"note: no test image of {network.config.protocol_name} is in {network.config.data_root}: not measured")
    return here


def test_outputs(network: LoadedCheckpoint) -> Outputs:
    """Return a network's outputs for the test split, and log its errors there as a re-test does."""
    assert network.run is not None
    test, train, recorder = load_test(network.config), training_data(network), Recorder(network.model, [])
    evaluation = evaluate(network.model, test, torch.arange(len(test)), network.config, recorder)
    targets = train.targets[split(network.config, train).train]
    log_test(network, network.run, test, evaluation, constant_median(targets, evaluation))
    return recorder.outputs(network.model.head, evaluation)


def left_out(outputs: Outputs, level: float, losses: Any) -> dict[str, Measured]:
    """Return what intervals come to on groups that are left out; nothing, and say so, where there is one group."""
    found = on_left_out(outputs, level, losses)
    if found is None:
        print("note: there is one calibration group, so none is left out")
    return {} if found is None else {LEFT_OUT: found}


def described(runs: Sequence[Run], outputs: Outputs, calibration: Calibration) -> str:
    """Say what the intervals are of."""
    part = "validation" if len(runs) == 1 else f"out-of-fold (of {len(runs)} folds)"
    return (
        f"intervals of {calibration.level:.4g} around {outputs.decoder}, calibrated on {len(outputs.groups)} {part} images "
        f"of {len(outputs.group_names)} groups; coverage is the mean over groups of the share of targets in the interval "
        "(raw: of the posterior, tempered: at its temperature), widths are in units, nll is in nats an image"
    )


def table(calibration: Calibration, measured: Mapping[str, Measured]) -> str:
    """Return coverage, width and loss before and after, by place and axis."""
    titles = [f"{figure} {interval}" for figure in FIGURES for interval in INTERVALS]
    lines = [["measured on", "axis", "temperature", *titles]]
    for place, one in measured.items():
        where = f"{place.replace('_', ' ')}, {one.groups} groups"
        for i, axis in enumerate(calibration.axes):
            temperature = "" if calibration.temperatures is None else f"{calibration.temperatures[i]:.2f}"
            lines.append([where, axis.name, temperature, *cells({key: v[i] for key, v in one.values.items()})])
        lines.append([where, "mean", "", *cells({key: v.mean() for key, v in one.values.items()})])
    kept = [i for i in range(len(lines[0])) if any(line[i] for line in lines[1:])]
    return "\n".join(columns([[line[i] for i in kept] for line in lines], left=(0, 1)))


def cells(values: Mapping[tuple[str, str], float]) -> list[str]:
    """Return the cells of a row: shares in per cent, other figures as they are; empty where there is none."""
    found = [(figure, values.get((figure, interval))) for figure in FIGURES for interval in INTERVALS]
    return ["" if x is None else f"{x:.1%}" if figure == "coverage" else f"{x:.2f}" for figure, x in found]


def stored_facts(
    networks: Sequence[LoadedCheckpoint], outputs: Outputs, calibration: Calibration, measured: Mapping[str, Measured]
) -> dict[str, Any]:
    """Return what the file of a calibration says, but for the epoch of its network."""
    data = [network.state["data"] for network in networks]
    names = [axis.name for axis in calibration.axes]
    return {
        "level": calibration.level,
        "decoder": outputs.decoder,
        "axes": names,
        "units": [axis.unit for axis in calibration.axes],
        "quantiles": calibration.quantiles,
        "temperatures": calibration.temperatures,
        "groups": len(outputs.group_names),
        "images": len(outputs.groups),
        SPLIT_HASH: [one[SPLIT_HASH] for one in data],
        "data_digest": [one["data_digest"] for one in data],
        "runs": [network.run.info.run_id for network in networks if network.run],
        CODE_VERSION: networks[0].here[CODE_VERSION],
        "measured": {place: as_plain(one, names) for place, one in measured.items()},
    }


def as_plain(measured: Measured, axes: Sequence[str]) -> dict[str, Any]:
    """Return what was measured as plain values: groups, images, and by figure and interval a number an axis."""
    found: dict[str, Any] = {"groups": measured.groups, "images": measured.images}
    for (figure, interval), values in measured.values.items():
        found.setdefault(figure, {})[interval] = dict(zip(axes, map(float, values), strict=True))
    return found


def store(network: LoadedCheckpoint, facts: Mapping[str, Any]) -> None:
    """Store a calibration with a run, in the place of an earlier one; metrics that are not measured now become NaN."""
    assert network.run is not None
    run, client, now = network.run, MlflowClient(), int(time.time() * 1000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / CALIBRATION
        path.write_text(json.dumps({"epoch": network.state["epoch"], **facts}, indent=1) + "\n", encoding="utf-8")
        client.log_artifact(run.info.run_id, str(path))
    values = metrics(facts["measured"])
    start = CALIBRATED.partition("{")[0]
    gone = {name: float("nan") for name in run.data.metrics if name.startswith(start) and name not in values}
    client.log_batch(run.info.run_id, [Metric(name, value, now, 0) for name, value in (gone | values).items()])


def metrics(measured: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of a run: each figure by interval and place, mean over axes and by axis."""
    found: dict[str, float] = {}
    for place, one in measured.items():
        for figure in (figure for figure in FIGURES if figure in one):
            for interval, by_axis in one[figure].items():
                name = CALIBRATED.format(figure, interval, place)
                found[name] = sum(by_axis.values()) / len(by_axis)
                found |= {f"{name}_{axis}": value for axis, value in by_axis.items()}
    return found
