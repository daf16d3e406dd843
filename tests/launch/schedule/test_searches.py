"""Real small sweeps by every search method and scheduler."""

import json
import re
import time
from collections import Counter
from dataclasses import replace

import mlflow
import numpy as np
import pytest
import yaml

from bel.run_layout import OUTCOME, STOPPED_BY
from launch import sweep
from launch.driver import driver, stage
from launch.driver.callback import SweepCallback
from launch.driver.trainable import Trial
from launch.runs import pareto_front
from results.retest import evaluate
from tests.conftest import SWEEP, children, study_of
from tests.launch.schedule.test_searcher import Bench, entries

INTERVALS = {"lr": {"loguniform": [1e-4, 1e-2]}, "flip": {"uniform": [0, 0.5]}}


@pytest.fixture
def started(ray_here, rendered, cache, store):
    """Runs a sweep of a name on rendered heads, with sections of one's own; the exit code."""

    def run(name, space, *settings, base=None, **sections):
        shared = SWEEP["base"] | {"data_root": str(rendered), "cache_dir": str(cache), "head": "bel", "code": "u"}
        shared = {k: v for k, v in (shared | {"code_bits": 38} | (base or {})).items() if k not in space}
        content = {"name": name, "base": shared, "space": space, "resources": {"cpu": 1}} | sections
        (store / f"{name}.yaml").write_text(yaml.safe_dump(content))
        return sweep.main([str(store / f"{name}.yaml"), *settings])

    return run


def history(run, name="val/mae"):
    """Steps and values of a metric, in order of their steps."""
    found = sorted(mlflow.MlflowClient().get_metric_history(run.info.run_id, name), key=lambda metric: metric.step)
    return [metric.step for metric in found], [metric.value for metric in found]


@pytest.mark.slow
def test_trials_that_are_shorter_than_a_workers_start_use_all_workers(started, tmp_path, monkeypatch):
    first, pids = tmp_path / "first", []

    class Late(Trial):
        """Only the first worker starts fast."""

        def setup(self, config):
            if first.exists():
                time.sleep(8)
            first.touch()
            super().setup(config)

    class Watch(SweepCallback):
        """Notes who trains."""

        def on_trial_result(self, iteration, trials, trial, result, **info):
            pids.append(result["pid"])
            super().on_trial_result(iteration, trials, trial, result, **info)

    monkeypatch.setattr(stage, "Trial", Late)
    monkeypatch.setattr(driver, "SweepCallback", Watch)
    assert started("short", {"seed": {"grid": list(range(20))}}, base={"epochs": 1}) == 0
    assert len(pids) == 20 and len(set(pids)) == 2 and min(map(pids.count, pids)) > 2


@pytest.mark.slow
def test_a_population_changes_its_rates_and_its_best_is_re_tested(started, capsys):
    search = {"method": "random", "trials": 4, "scheduler": "pbt"}
    space = {"lr": {"loguniform": [1e-5, 1e-1]}}
    assert started("pbt", space, search=search, base={"epochs": 5, "schedule": "constant"}) == 0
    parent, trials = children("pbt")
    assert len(trials) == 4 and {t.info.status for t in (parent, *trials)} == {"FINISHED"}
    for trial in trials:
        for name in trial.data.metrics:
            assert history(trial, name)[0] == [1, 2, 3, 4, 5], name
    rates = [history(trial, "lr")[1] for trial in trials]
    assert any(len(set(rate)) > 1 for rate in rates), "nothing was taken over"
    assert all(1e-5 <= rate <= 1e-1 for rates_ in rates for rate in rates_)
    capsys.readouterr()
    assert evaluate.main(["--run-id", parent.info.run_id]) == 0
    assert "repeats the logged" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("method", ["gp", "cmaes"])
def test_gp_and_cmaes_search_a_box_beyond_their_first_draws(started, store, method):
    search = {"method": method, "trials": 7, "seed": 1}
    point = {"lr": 2e-3, "flip": 0.25}
    assert started(method, INTERVALS, base={"epochs": 1}, search=search, points=[point]) == 0
    parent, trials = children(method)
    assert len(trials) == 7 and {t.info.status for t in (parent, *trials)} == {"FINISHED"}
    tried = {
        (float(t.data.params["lr"]), float(t.data.params["flip"])): t.data.metrics["val/best_mae_groups"]
        for t in trials
    }
    assert len(tried) == 7 and (2e-3, 0.25) in tried
    assert all(1e-4 <= lr <= 1e-2 and 0 <= flip <= 0.5 for lr, flip in tried)
    study = study_of(parent)
    assert {(t.params["lr"], t.params["flip"]): t.value for t in study.trials} == pytest.approx(tried)
    assert study.best_value == min(tried.values())


@pytest.mark.slow
@pytest.mark.parametrize(("scheduler", "least"), [("hyperband", 1), ("median", 1)])
def test_other_schedulers_stop_the_worst_and_leave_the_best(started, scheduler, least):
    space = {"lr": {"grid": [1e-3, 5e-4, 2e-3, 1e-9, 1e-8, 1e-10]}}
    base = {"epochs": 4, "schedule": "constant"}
    assert started(scheduler, space, base=base, search={"scheduler": scheduler}) == 0
    parent, trials = children(scheduler)
    assert len(trials) == 6 and {t.info.status for t in (parent, *trials)} == {"FINISHED"}
    outcomes = Counter(t.data.tags[OUTCOME] for t in trials)
    lengths = {float(t.data.params["lr"]): len(history(t)[0]) for t in trials}
    assert outcomes["finished"] >= least and outcomes.keys() <= {"finished", "stopped"}
    assert max(lengths.values()) == 4
    if scheduler == "median":
        assert outcomes["stopped"] >= 1
    for trial in trials:
        assert (len(history(trial)[0]) == 4) == (trial.data.tags[OUTCOME] == "finished")


@pytest.mark.slow
def test_several_objectives_print_their_pareto_front(started, capsys):
    space = {"code": {"grid": ["u", "hex16", "had"]}, "batch_size": {"grid": [8, 10]}}
    search = {"objective": ["val/mae", "bits"]}
    assert started("front", space, base={"epochs": 1}, search=search) == 0
    _, trials = children("front")
    bits = {t.data.params["code"]: t.data.metrics["bits"] for t in trials}
    assert len(trials) == 6 and bits["hex16"] == 3 * 16 and bits["u"] > bits["hex16"]
    scored = {t.info.run_name: (t.data.metrics["val/best_mae"], t.data.metrics["bits"]) for t in trials}
    best = [
        name
        for name, (error, width) in sorted(scored.items(), key=lambda item: item[1])
        if not any(e <= error and w <= width and (e, w) != (error, width) for e, w in scored.values())
    ]
    out = capsys.readouterr().out
    printed = (
        out.split("Pareto front of val/mae, bits")[1]
        .split("\nwhich differences")[0]
        .split("checkpoints kept")[0]
        .splitlines()[2:]
    )
    rows = [re.split(r"\s+", line.strip(), maxsplit=2) for line in printed if line.strip()]
    assert [row[2] for row in rows] == best
    for row in rows:
        assert (float(row[0]), float(row[1])) == pytest.approx(scored[row[2]], rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grid", "tpe"])
def test_what_is_dominated_in_several_objectives_stops_and_the_front_is_of_the_others(started, method):
    codes, rates = ["hex16", "u"], [1e-3, 5e-4]
    kind = "grid" if method == "grid" else "choice"
    space = {"code": {kind: codes}, "lr": {kind: rates}}
    more = {} if method == "grid" else {"trials": 4, "seed": 1}
    points = {} if method == "grid" else {"points": [{"code": "hex16", "lr": rate} for rate in rates]}
    search = {"method": method, "scheduler": "pareto", "objective": ["val/mae", "bits"]} | more
    assert started("dominated", space, base={"epochs": 5}, search=search, **points) == 0
    _, trials = children("dominated")
    stopped = [t for t in trials if t.data.tags[OUTCOME] == "stopped"]
    assert len(trials) == 4 and [t for t in stopped if t.data.params["code"] == "u"], "a wider code with larger errors"
    for trial in stopped:
        why = json.loads(trial.data.tags[STOPPED_BY])
        assert why["by"] == "pareto" and why["against"] < 0.85 * why["value"] and why["epoch"] < 5
    assert started("dominated", space, base={"epochs": 5}, search=search, **points) == 0, "it is over"
    assert {t.info.run_id: t.data.tags[OUTCOME] for t in children("dominated")[1]} == {
        t.info.run_id: t.data.tags[OUTCOME] for t in trials
    }


def test_the_front_is_what_nothing_beats():
    search = {"objective": ["val/mae", "bits", "images_per_s"]}
    bench = Bench({"code": {"grid": ["u", "j", "hex16", "had", "gray"]}}, search)
    runs = bench.all()
    scores = {0: (3, 50, 9), 1: (4, 40, 9), 2: (4, 50, 9), 3: (4, 50, 10), 4: (3, 50, 9)}
    for number, (error, bits, speed) in scores.items():
        runs[number].history = [entries(error, bits=bits)[0] | {"images_per_s": speed}]
    kept = pareto_front([[run] for run in runs], bench.sweep.search.objectives)
    assert [runs.index(group[0]) for group in kept] == [0, 1, 3, 4], "2 is beaten by 0; of equals both stay"
    pair = [[runs[0], runs[1]], [runs[2], runs[2]]]
    assert pareto_front(pair, bench.sweep.search.objectives) == pair[:1], "means 3.5 and 45 beat 4 and 50"


def test_the_front_of_many_is_that_of_all_pairs():
    bench, draw = Bench({"code": {"grid": ["u"]}}, {"objective": ["val/mae", "bits"]}), np.random.default_rng(0)
    (run,), groups = bench.all(), []
    for error, bits in draw.integers(0, 12, (200, 2)).tolist():
        groups.append([replace(run, history=[entries(error, bits=bits)[0]])])
    scores = [(group[0].metrics["val/mae"], group[0].metrics["bits"]) for group in groups]
    beaten = [any(a != b and a[0] <= b[0] and a[1] <= b[1] for a in scores) for b in scores]
    assert pareto_front(groups, bench.sweep.search.objectives) == [
        g for g, lost in zip(groups, beaten, strict=True) if not lost
    ]


@pytest.mark.slow
def test_protocols_are_searched_and_judged_each_by_itself(started, capsys):
    space = {"protocol": {"grid": ["biwi", "aflw2000"]}, "lr": {"loguniform": [1e-4, 1e-2]}}
    search = {"method": "tpe", "trials": 3, "scheduler": "asha"}
    assert started("two", space, base={"epochs": 2}, search=search) == 0
    out = capsys.readouterr().out
    parent, trials = children("two")
    by_protocol = {name: [t for t in trials if t.data.params["protocol"] == name] for name in ("biwi", "aflw2000")}
    assert [len(found) for found in by_protocol.values()] == [3, 3] and "6 trials to run" in out
    assert out.count("re-test the best") == 2 and {t.info.status for t in (parent, *trials)} == {"FINISHED"}
    for found in by_protocol.values():
        best = min(found, key=lambda t: (t.data.tags[OUTCOME] == "stopped", t.data.metrics["val/best_mae_groups"]))
        assert f"bel-eval --run-id {best.info.run_id}" in out
        assert any(len(history(t)[0]) == 2 for t in found), "the first of a protocol is not judged by the other's"
    capsys.readouterr()
    assert started("two", space, base={"epochs": 2}, search=search) == 0
    assert "0 trials to run" in capsys.readouterr().out and len(children("two")[1]) == 6


@pytest.mark.slow
def test_whole_and_stepped_numbers_repeated_on_seeds_and_folds(started, capsys):
    space = {"batch_size": {"int": [5, 9]}, "jitter": {"quniform": [0.1, 0.3, 0.1]}}
    search = {"method": "random", "trials": 1, "seeds": 2, "folds": 3}
    assert started("means", space, base={"epochs": 1}, search=search, points=[{"batch_size": 7, "jitter": 0.3}]) == 0
    _, trials = children("means")
    assert {(t.data.params["seed"], t.data.params["fold"]) for t in trials} == {(s, f) for s in "01" for f in "012"}
    assert {(t.data.params["batch_size"], t.data.params["jitter"]) for t in trials} == {("7", "0.3")}
    assert len({t.data.params["split_hash"] for t in trials}) == 3 and len(trials) == 6
    out = capsys.readouterr().out
    assert "means over 2 seeds and 3 folds" in out and "6 trials to run" in out
    values = [t.data.metrics["val/best_mae_groups"] for t in trials]
    row = out.split("means over")[1].splitlines()[2].split()
    mean = np.average(values, weights=[int(t.data.params["val_groups"]) for t in trials])
    assert [float(v) for v in row[1:4]] == pytest.approx([mean, min(values), max(values)], abs=6e-4)
    assert row[4] == "6/6"


@pytest.mark.slow
def test_a_search_with_repeats_tells_its_means_and_draws_on_its_steps(started, store):
    space = {"batch_size": {"int": [5, 9]}, "jitter": {"quniform": [0.1, 0.3, 0.1]}}
    assert started("whole", space, base={"epochs": 1}, search={"method": "tpe", "trials": 2, "seeds": 2}) == 0
    parent, trials = children("whole")
    assert len(trials) == 4 and all(t.data.params["batch_size"] in "56789" for t in trials)
    assert all(t.data.params["jitter"] in ("0.1", "0.2", "0.3") for t in trials)
    for trial in study_of(parent).trials:
        group = [
            t.data.metrics["val/best_mae_groups"]
            for t in trials
            if t.data.params["batch_size"] == str(trial.params["batch_size"])
            and float(t.data.params["jitter"]) == pytest.approx(trial.params["jitter"])
        ]
        assert len(group) == 2 and trial.value == pytest.approx(sum(group) / 2)
