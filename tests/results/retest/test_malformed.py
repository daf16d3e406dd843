"""Checkpoints that hold what they must not, through every command that opens one: one line, exit code 2, nothing written."""

import math

import pytest
import torch
from PIL import Image

from bel.config import TrainConfig
from bel.data.loading import load
from bel.run_layout import LAST
from bel.training import checkpoint
from bel.training.loop import fit
from launch import train
from results.predict import command as predict
from results.retest import evaluate, export

SMALL = {"backbone": "shufflenet_v2_x0_5"}  # of a megabyte
VALUES = [None, {}, [], "", 0, -1, math.nan, {"a": [{"b": None}]}]


@pytest.fixture
def commands(small, tmp_path):
    """Every command that opens the checkpoint `run/last.pt`, as a function of nothing; what it would write is in `out`."""
    run, picture, out = tmp_path / "run", tmp_path / "x.png", tmp_path / "out"
    run.mkdir()
    Image.new("RGB", (40, 40)).save(picture)
    path = str(run / LAST)
    flags = [
        part
        for name, value in (small | SMALL | {"code": "u"}).items()
        for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    return path, {
        "bel-eval": lambda: evaluate.main(["--checkpoint", path]),
        "bel-export": lambda: export.main(["--checkpoint", path, "--to", "torchscript", "--out", str(out)]),
        "bel-predict": lambda: predict.main([str(picture), "--checkpoint", path, "--out", str(out)]),
        "bel-train": lambda: train.main([*flags, "--out", str(run), "--resume"]),
    }


@pytest.fixture
def sound(make):
    """The state of a small network after an epoch."""
    config = make(**SMALL)
    return next(fit(config, load(config, "train"))).state()


@pytest.mark.parametrize("name", ["bel-eval", "bel-export", "bel-predict", "bel-train"])
def test_every_key_with_a_wrong_value_is_one_line_of_every_command(sound, commands, tmp_path, capsys, name):
    _, mains = commands
    for key in checkpoint.KEYS:
        for value in VALUES:
            if (key, value) == ("optimiser", []) and name != "bel-train":
                continue  # of a trial's best epoch, from which nothing goes on
            light = {} if key == "optimiser" else {"weights": {}, "optimiser": []}  # refused before those are looked at
            checkpoint.save(sound | light | {key: value}, tmp_path / "run" / LAST)
            before = (tmp_path / "run" / LAST).read_bytes()
            assert mains[name]() == 2, (key, value)
            err = capsys.readouterr().err.splitlines()
            assert len(err) == 1 and err[0].startswith("error: "), (key, value, err)
            assert (tmp_path / "run" / LAST).read_bytes() == before and not (tmp_path / "out").exists()


def test_a_file_without_a_digest_is_read_and_said(sound, commands, tmp_path, capsys):
    path, mains = commands
    torch.save(sound, path)
    assert mains["bel-eval"]() == 0
    assert "note: the checkpoint has no digest of its own" in capsys.readouterr().out
    checkpoint.save(sound, tmp_path / "run" / LAST)
    assert mains["bel-eval"]() == 0
    assert "digest of its own" not in capsys.readouterr().out


def test_nothing_is_written_where_a_checkpoint_says(sound, commands, tmp_path, monkeypatch):
    theirs, (_, mains) = tmp_path / "theirs", commands
    sound["config"]["cache_dir"] = str(theirs)
    checkpoint.save(sound, tmp_path / "run" / LAST)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TrainConfig, "cache_dir", "runs/prepared")
    for name in ("bel-eval", "bel-predict"):
        assert mains[name]() == 0
    assert not theirs.exists() and list((tmp_path / "runs" / "prepared").iterdir())
