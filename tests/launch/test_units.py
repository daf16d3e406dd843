"""Labels in another unit than is declared: every command that reads them refuses, and names the key that overrides it."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from bel.data import command as data
from bel.run_layout import CHECKPOINT, CONFIG
from launch import sweep, train
from results.retest import evaluate

PROTOCOL = {
    "name": "csv", "train": "labels.csv", "test_fraction": 0.5, "targets": {"yaw": {"low": -90, "high": 90, "unit": "deg"}}
}  # fmt: skip
COMMANDS = ("check", "prepare", "labels", "train", "plan", "test")


def write(folder, angles):
    """A table of a picture for each angle."""
    rows = [f"{number}.png,{angle}" for number, angle in enumerate(angles)]
    (folder / "labels.csv").write_text("\n".join(["image,yaw", *rows]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures, their angles in degrees, and a network that was trained on them."""
    root = tmp_path_factory.mktemp("units")
    for number in range(24):
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)).save(
            root / f"{number}.png"
        )
    write(root, np.linspace(-70, 60, 24))
    config = {
        "protocol": PROTOCOL, "data_root": str(root), "cache_dir": str(root / "cache"), "image_size": 32, "epochs": 1,
        "backbone": "resnet10", "weights": "none", "batch_size": 4, "head": "direct", "device": "cpu",
    }  # fmt: skip
    (root / CONFIG).write_text(yaml.safe_dump(config))
    (root / "sweep.yaml").write_text(yaml.safe_dump({"name": "units", "base": config}))
    assert train.main([str(root / CONFIG), "--out", str(root / "trained")]) == 0
    return root


def run(name, folder, out, protocol):
    """A command on the table in a folder."""
    (out / "p.json").write_text(json.dumps(protocol))
    chosen = ["--protocol", str(out / "p.json"), "--data-root", str(folder), "--cache-dir", str(out / "cache")]
    config = yaml.safe_load((folder / CONFIG).read_text()) | {"protocol": protocol}
    (out / "c.yaml").write_text(yaml.safe_dump(config))
    (out / "s.yaml").write_text(yaml.safe_dump({"name": "units", "base": config}))
    calls = {
        "check": lambda: data.main(
            ["check", str(folder), "--protocol", str(out / "p.json"), "--out", str(out / "check")]
        ),
        "prepare": lambda: data.main(["prepare", *chosen]),
        "labels": lambda: data.main(["labels", *chosen]),
        "train": lambda: train.main([str(out / "c.yaml"), "--out", str(out / "run")]),
        "plan": lambda: sweep.main([str(out / "s.yaml"), "--plan"]),
        "test": lambda: evaluate.main(["--checkpoint", str(folder / "trained" / CHECKPOINT)]),
    }
    return calls[name]()


@pytest.mark.parametrize("name", COMMANDS)
def test_radians_in_a_column_in_degrees_are_refused_by(name, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(folder, np.radians(np.linspace(-70, 60, 24)))
    assert run(name, folder, tmp_path, PROTOCOL) == (1 if name == "check" else 2)
    said = "".join(capsys.readouterr())
    assert "labels yaw of" in said and "radians?" in said and "targets.yaw.check_unit" in said
    assert not list(tmp_path.glob("run")) and not list(tmp_path.glob("mlflow.db"))


@pytest.mark.parametrize("name", ["check", "labels", "train"])
def test_an_axis_of_which_the_unit_is_right_is_read_by(name, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(folder, np.radians(np.linspace(-70, 60, 24)))
    protocol = PROTOCOL | {"targets": {"yaw": PROTOCOL["targets"]["yaw"] | {"check_unit": False}}}
    assert run(name, folder, tmp_path, protocol) == 0
    assert "radians" not in "".join(capsys.readouterr())
