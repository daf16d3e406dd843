"""Every sweep of `sweeps/`, with each kind of protocol: planned, run small, and reported."""

import json
import re
from functools import partial

import pytest
import yaml

from bel.errors import UserError
from launch import sweep
from launch.driver.estimate import announce
from launch.identity import data_key, facts_by_data, file_digests, identify, refuse_other_images
from launch.runs import SweepRuns
from launch.schedule.workload import Workload, on_seeds, repeats
from launch.spec.combinations import make_plan
from launch.spec.sweep_file import read_sweep
from launch.tracking.params import label
from launch.tracking.store import sweep_key
from results.commands import main as command
from results.retest import evaluate
from tests.conftest import PROJECT, children

YAMLS = sorted(path.stem for path in (PROJECT / "sweeps").glob("*.yaml"))
NATIVE = "its own"
POSE = {axis: {"low": -99, "high": 101, "levels": 50} for axis in ("yaw", "pitch", "roll")}
ONE = {"yaw": {"low": -99, "high": 101, "unit": "deg", "flip": -1, "levels": 50}}
MANY = {f"x{i}": {"low": -10, "high": 30, "flip": 1, "levels": 20} for i in range(12)}
TABLE = {"name": "csv", "train": "points.csv"}
PROTOCOLS = {
    "biwi": "biwi",
    "aflw2000": "aflw2000",
    "one axis": TABLE | {"targets": ONE},
    "grouped pose": TABLE | {"targets": POSE, "group": "person", "pose": True, "test_fraction": 0.3},
    "many axes": TABLE | {"targets": MANY, "group": "person", "test": "test.csv"},
    "published": "biwi",
}
SMALL = {"image_size": 32, "backbone": "resnet10", "weights": "none", "batch_size": 4, "device": "cpu", "crop": "frame",
         "epochs": 2, "frame_stride": 1, "resources.cpu": 1, "resources.gpu": 0}  # fmt: skip


@pytest.fixture(scope="session")
def everything(rendered):
    """A data_root with the data of every sweep and protocol, all of the same rendered images."""
    images = sorted((rendered / "BIWI" / "hpdb").glob("*/*_rgb.png"))
    people, names = ("person", "subject", "group", "block"), [*POSE, *MANY, "distance", "age", "angle"]
    tables = {"points.csv": images[:72], "test.csv": images[72:]}
    tables |= dict.fromkeys(("CSV/labels.csv", "UTKFACE/labels.csv", "DONKEY/labels.csv"), images)
    for file, chosen in tables.items():
        (rendered / file).parent.mkdir(exist_ok=True)
        numbers = [
            {n: i % 17 + 70 * (n == "distance") for n in names} | {"angle": i % 17 / 8 - 1} for i in range(len(chosen))
        ]
        rows = [
            [path, *[path.parent.name] * len(people), *(own[n] for n in names)]
            for path, own in zip(chosen, numbers, strict=True)
        ]
        lines = [["image", *people, *names], *rows]
        (rendered / file).write_text("".join(",".join(map(str, line)) + "\n" for line in lines))
    return rendered


@pytest.fixture
def arguments(everything, cache):
    """The command line of a small sweep of a YAML, with a kind of protocol."""

    def make(name, kind, *more):
        given = yaml.safe_load((PROJECT / "sweeps" / f"{name}.yaml").read_text())
        used, protocol = {**given["base"], **given.get("space", {})}, PROTOCOLS.get(kind)
        fields = SMALL | {"data_root": everything, "cache_dir": cache}
        if kind != NATIVE:
            fields["protocol"] = protocol if isinstance(protocol, str) else json.dumps(protocol)
        if kind == "published" or (kind in (NATIVE, "biwi", "aflw2000") and "recipe" in used):
            fields |= {"backbone": "resnet18", "recipe": "published"}
        elif "recipe" in used:  # own protocols have no published training
            fields["recipe"] = "clean"
        if kind in ("one axis", "many axes"):  # which are no poses
            fields |= {"rotate": 0} if "rotate" in used else {}
            fields |= {"head": "bel"} if "rotation6d" in str(used.get("head")) else {}
        settings = [part for key, value in fields.items() for part in ("--set", f"{key}={value}")]
        return [str(PROJECT / "sweeps" / f"{name}.yaml"), *settings, *more]

    return make


def planned(argv):
    """What `--plan` does but measure: the workload of a command line, with what it says."""
    given = sweep.options(argv)
    asked = read_sweep(given.file, given.set)
    plan = make_plan(asked)
    runs = [run for config in plan.configs for run in (*on_seeds(asked, config), *repeats(asked, config))]
    find = partial(facts_by_data, progress=lambda _: lambda items, total: items)
    facts = find(runs)
    refuse_other_images(asked, [facts[data_key(config)] for config in plan.configs])
    assert sweep_key(asked, facts, [file_digests(config) for config in plan.configs])
    workload = Workload(asked, plan, SweepRuns(facts, find, partial(label, sweep=asked), partial(identify, asked), {}))
    announce(workload)
    return workload


@pytest.mark.parametrize("kind", [NATIVE, *PROTOCOLS])
@pytest.mark.parametrize("name", YAMLS)
def test_every_sweep_is_planned_with_every_kind_of_protocol(arguments, capsys, name, kind):
    if kind == "published" and name.startswith("study"):
        with pytest.raises(UserError, match=r"search.tune chooses on held-out .* selects on test: set recipe to clean"):
            planned(arguments(name, kind))
        return
    workload = planned(arguments(name, kind))
    out = capsys.readouterr().out
    assert re.search(rf"^sweep {name}: [1-9]\d* trials to run", out, re.MULTILINE) and "data " in out
    names = [workload.sweep_runs.run(config).name for config in workload.all_runs[:50]]
    assert len(set(names)) == len(names) and max(map(len, names)) < 120


@pytest.mark.parametrize(
    "name", ["csv_example", *(pytest.param(n, marks=pytest.mark.slow) for n in ("both", "published_biwi"))]
)
def test_a_plan_measures_too(arguments, ray_here, store, capsys, name):
    assert sweep.main(arguments(name, NATIVE, "--plan")) == 0
    assert re.search(r"^resnet1[08], 32 px, batch 4: \d+ images/s", capsys.readouterr().out, re.MULTILINE)


def reported(name, capsys):
    """Run every command on a sweep that has ended."""
    parent, trials = children(name)
    assert {run.info.status for run in (parent, *trials)} == {"FINISHED"}
    for arguments in (["leaderboard", name], ["leaderboard", name, "--format", "markdown", "--all-axes"],
                      ["best", name], ["report", name], ["leaderboard", name, "--publish"]):  # fmt: skip
        assert command.main(arguments) == 0, arguments
    alike = [run.info.run_id for run in trials if run.data.params["split_hash"] == trials[0].data.params["split_hash"]]
    if len(alike) > 1:
        assert command.main(["compare", *alike[:2]]) == 0
    capsys.readouterr()
    assert evaluate.main(["--run-id", parent.info.run_id]) == 0
    out = capsys.readouterr().out
    assert "repeats the logged" in out and "test MAE" in out


FEW = ("--set", "budget.trials=2", "--set", "epochs=1", "--set", "search.scheduler=none")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("csv_yaw", NATIVE),
        *(pytest.param(name, NATIVE, marks=pytest.mark.slow) for name in YAMLS if name != "csv_yaw"),
        *(pytest.param("demo", kind, marks=pytest.mark.slow) for kind in PROTOCOLS),
    ],
)
def test_every_sweep_runs_and_is_reported(arguments, ray_here, store, capsys, name, kind):
    assert sweep.main(arguments(name, kind, *FEW)) == 0
    reported(name, capsys)
