"""The facts of a run: which share of its labels is beyond the range of their axis."""

import pytest

from bel.data.loading import load
from bel.run_layout import CHECKPOINT
from launch import train
from launch.identity import data_facts
from results.retest import evaluate

RANGES = {"a": {"low": 0, "high": 60, "levels": 60}, "b": {"low": 0, "high": 60, "levels": 60}}


@pytest.fixture
def beyond(make, rendered, tmp_path):
    """A config on a table of which a third of the labels of one axis is beyond its range."""
    images = sorted((rendered / "BIWI" / "hpdb").glob("*/*_rgb.png"))[:60]
    rows = "".join(f"{path},g{i // 6},{100 if i % 3 == 0 else i},{i}\n" for i, path in enumerate(images))
    (tmp_path / "labels.csv").write_text(f"image,group,a,b\n{rows}")
    protocol = {"name": "csv", "train": "labels.csv", "group": "group", "targets": RANGES}
    return make(protocol=protocol, data_root=str(tmp_path), cache_dir=str(tmp_path / "cache"), epochs=1)


def test_the_share_clamped_is_among_the_facts_by_axis_and_side(beyond):
    facts = data_facts(beyond, load(beyond, "train"))
    names = ("clamped_a", "val_clamped_a", "clamped_b", "val_clamped_b")
    assert [facts[name] for name in names] == ["0.3333", "0.3333", "0", "0"]


def test_a_training_and_a_test_on_clamped_labels_say_so_and_errors_are_of_the_labels(beyond, tmp_path, capsys):
    train.train(beyond, tmp_path / "run", resume=False)
    note = "note: labels beyond the range of their axis (% of "
    assert f"{note}training, selection images): a 33.3, 33.3; a head of levels " in capsys.readouterr().out
    assert evaluate.main(["--checkpoint", str(tmp_path / "run" / CHECKPOINT)]) == 0
    out = capsys.readouterr().out
    assert f"{note}test images): a 33.3; " in out
    error = float(next(line for line in out.splitlines() if line.startswith("argmax")).split()[1])
    assert error > 40 / 3, "100 is 41 away from the last level"
