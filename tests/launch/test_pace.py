"""How far a run is within its epochs: counted without a word to its numbers, told through Ray, shown in table and lines."""

import re
import time

import pytest
import ray

from bel.data.loading import load
from bel.text import duration
from bel.training.loop import fit
from launch.console import progress
from launch.console.progress import ProgressDisplay
from launch.driver.live_progress import latest_pace, publish_pace, remove_pace
from launch.pace import Pace, paced
from tests.launch.schedule.test_searcher import Bench
from tests.launch.schedule.test_searches import started  # noqa: F401 - a fixture

SAID = re.compile(r"epoch 2/20  37%  step 37/100  812 images/s  4 min left")


def test_steps_of_each_epoch_are_told_and_no_number_changes(make):
    config = make(code="j", loss="ce")
    data, told = load(config, "train"), []
    found = list(paced(config, data, None, told.append, every=0.0))
    plain = list(fit(config, data))
    numbers = [{k: v for k, v in epoch.metrics.items() if k != "images_per_s"} for epoch in found]
    assert numbers == [{k: v for k, v in epoch.metrics.items() if k != "images_per_s"} for epoch in plain]
    steps = told[0].steps
    assert [(one.epoch, one.step) for one in told] == [(e, s + 1) for e in (1, 2) for s in range(steps)]
    assert told[-1].done == 2 * steps and told[-1].left == "0 s" and told[0].part == 1 / steps
    resumed = []
    list(paced(config, data, found[0].state(), resumed.append, every=0.0))
    assert {one.epoch for one in resumed} == {2}
    rare = []
    list(paced(config, data, None, rare.append, every=3600.0))
    assert rare == []


def test_the_words_of_a_pace():
    assert SAID.fullmatch(str(Pace(2, 20, 37, 100, 812.0, 100 * 812 * 240 // (1863 * 100))))
    assert [duration(s) for s in (0, 89, 100, 5399, 5400)] == ["0 s", "89 s", "2 min", "90 min", "1.5 h"]


def test_a_worker_tells_the_driver_through_ray(ray_here):
    one, other = Pace(1, 2, 3, 4, 5.0, 6), Pace(2, 2, 3, 4, 5.0, 6)
    assert latest_pace("trial") is None
    publish = ray.remote(num_cpus=0)(publish_pace)
    ray.get([publish.remote("trial", one), publish.remote("another", other)])
    assert latest_pace("trial") == one and latest_pace("another") == other
    remove_pace("trial")
    assert latest_pace("trial") is None


def test_without_ray_nothing_is_heard_and_nothing_fails(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    publish_pace("nobody", Pace(1, 2, 3, 4, 5.0, 6))
    assert latest_pace("nobody") is None


def test_a_table_in_a_terminal_and_a_line_a_minute_elsewhere(capsys, monkeypatch):
    bench = Bench({"head_lr_factor": {"grid": [float(n) for n in range(1, 7)]}}, {})  # six runs of nine epochs
    runs = bench.all()
    for run in runs[:5]:
        run.outcome = "running"
    paces = {run.key: Pace(1, 9, 30, 100, 50.0, 10) for run in runs}
    shown = ProgressDisplay(bench.sweep_runs, 6, False, lambda run: paces[run.key])
    shown.refresh()
    assert capsys.readouterr().out == "", "nothing before a minute is over"
    monkeypatch.setattr(progress, "LINE", 0.0)
    shown.began = time.monotonic() - 150
    shown.refresh()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("0 of 6 trials, about 88 min left; ")  # 52.5 epochs at the pace of 1.5 in 150 s
    assert line.count("epoch 1/9  30%  step 30/100  50 images/s  3 min left") == 3 and line.endswith("; and 2 more")
    shown.console.width = 200
    shown.console.print(shown.table())
    out = capsys.readouterr().out
    assert re.search(r"epoch +of it +step +images/s +left", out) and len(re.findall(r"1/9 +30% +30/100 +50", out)) == 5
    bench.end(runs[0], 5.0)
    runs[0].outcome = "running"
    shown.refresh()
    assert runs[0].key not in shown.paces, "a pace of an epoch that has ended is none"
    quiet = ProgressDisplay(bench.sweep_runs, 6, True, lambda run: paces[run.key])
    capsys.readouterr()
    quiet.refresh()
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_sweep_says_how_far_its_trials_are_within_their_epochs(started, capsys, monkeypatch):  # noqa: F811
    monkeypatch.setattr(progress, "LINE", 1.0)
    large = {"epochs": 1, "image_size": 384, "batch_size": 2}  # an epoch of ten seconds and more
    assert started("pace", {"code": {"grid": ["u"]}}, base=large) == 0
    assert re.search(r"u-38 .*epoch 1/1  \d+%  step \d+/\d+  \d+ images/s  \d+ (s|min) left", capsys.readouterr().out)
