import io

import pytest
import torch
from PIL import Image
from tqdm import tqdm

from bel.run_layout import CHECKPOINT, LABELS_FIGURE, LAST, PREDICTIONS
from launch import train
from launch.pace import Pace
from results.retest import evaluate
from tests.conftest import without_gpu


@pytest.fixture
def flags(small):
    fields = small | {"code": "j", "loss": "ce"}
    return [part for name, value in fields.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def test_one_run_from_flags_writes_checkpoints_that_re_test(flags, tmp_path, capsys):
    assert train.main([*flags, "--out", str(tmp_path / "run")]) == 0
    out = capsys.readouterr()
    assert "bel-eval --checkpoint" in out.out and "epoch 2: train loss" in out.out
    state = torch.load(tmp_path / "run" / LAST, weights_only=True)
    assert {"config", "weights", "optimiser", "epoch", "best"} <= set(state) and state["epoch"] == 2
    assert evaluate.main(["--checkpoint", str(tmp_path / "run" / CHECKPOINT)]) == 0
    out = capsys.readouterr().out
    assert "repeats the logged" in out and "difference 0.0e+00" in out and "constant median" in out
    assert evaluate.main(["--checkpoint", str(tmp_path / "run" / LAST)]) == 0


def test_an_output_that_is_a_file_is_one_line(flags, tmp_path, capsys):
    (tmp_path / "run").write_text("")
    assert train.main([*flags, "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr()
    assert f"{tmp_path}/run is a file" in said.err and not said.out, "before any image is prepared"
    assert train.main([*flags, "--out", str(tmp_path / ("n" * 256))]) == 2
    assert "--out has a name of 256 bytes" in capsys.readouterr().err


def test_resume_goes_on_and_equals_one_run(flags, tmp_path):
    assert train.main([*flags, "--out", str(tmp_path / "whole")]) == 0
    from bel.config import TrainConfig
    from bel.data.loading import load
    from bel.training import checkpoint
    from bel.training.loop import fit

    config = TrainConfig.make(torch.load(tmp_path / "whole" / LAST, weights_only=True)["config"])
    (tmp_path / "cut").mkdir()
    checkpoint.save(next(fit(config, load(config, "train"))).state(), tmp_path / "cut" / LAST)
    assert train.main([*flags, "--out", str(tmp_path / "cut"), "--resume"]) == 0
    whole, cut = (torch.load(tmp_path / name / LAST, weights_only=True) for name in ("whole", "cut"))
    assert all(torch.equal(whole["weights"][key], cut["weights"][key]) for key in whole["weights"])


@pytest.mark.parametrize("schedule", ["constant", "drop", "cosine"])
def test_a_run_that_has_ended_goes_on_to_more_epochs_and_equals_one_run_of_them(flags, tmp_path, capsys, schedule):
    flags = [*flags, "--schedule", schedule, *(["--drop-epoch", "1"] if schedule == "drop" else [])]
    restarts = ["--restarts", "2"] if schedule == "cosine" else []
    assert train.main([*flags, "--epochs", "4", *restarts, "--out", str(tmp_path / "whole")]) == 0
    longer = [*flags, "--epochs", "4", "--out", str(tmp_path / "longer"), "--resume"]
    assert train.main([*flags, "--out", str(tmp_path / "longer")]) == 0
    assert train.main([*longer, "--lr", "0.5"]) == 2
    assert "trained with another lr" in capsys.readouterr().err
    assert train.main(longer) == 0
    anew = ", the learning rate from 0.001 again after epoch 2" if restarts else ""
    out = capsys.readouterr().out
    assert f"goes on to 4 epochs, from 2{anew}\n" in out and "epoch 3: " in out and "epoch 2: " not in out
    whole, ours = (torch.load(tmp_path / name / LAST, weights_only=True) for name in ("whole", "longer"))
    assert all(torch.equal(whole["weights"][key], ours["weights"][key]) for key in whole["weights"])
    for name in ("config", "best", "metrics"):
        assert ours[name] == whole[name]
    assert train.main(longer) == 0, "the same command again has nothing left to train"
    assert train.main([*flags, "--out", str(tmp_path / "longer"), "--resume"]) == 2
    said = capsys.readouterr()
    assert "epoch 4: " not in said.out and "is of a run of 4 epochs, got epochs 2: give 4 to go on with it" in said.err


def test_a_yaml_and_flags_together(flags, tmp_path, small):
    import yaml

    (tmp_path / "c.yaml").write_text(yaml.safe_dump(small | {"code": "j", "epochs": 1}))
    flags = ["--code", "had", "--theta", "none", "--out", str(tmp_path / "run")]
    assert train.main([str(tmp_path / "c.yaml"), *flags]) == 0
    state = torch.load(tmp_path / "run" / LAST, weights_only=True)
    assert [state["config"][name] for name in ("code", "theta", "epochs")] == ["had", "none", 1]
    assert not any("bottleneck" in name for name in state["weights"])
    assert evaluate.main(["--checkpoint", str(tmp_path / "run" / LAST)]) == 0


def test_what_a_user_gets_wrong(flags, tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text("lr: [")
    (tmp_path / "key.yaml").write_text("colour: red")
    cases = [
        (["--code", "z"], "code of head bel must be one of"),
        (["--data-root", str(tmp_path / "none")], "no BIWI images"),
        ([str(tmp_path / "none.yaml")], "no config file"),
        ([str(tmp_path / "bad.yaml")], "bad.yaml is not readable YAML"),
        ([str(tmp_path / "key.yaml")], "unknown config field 'colour'"),
        (["--resume"], "no checkpoint at"),
    ]
    for arguments, says in cases:
        assert train.main([*flags, "--out", str(tmp_path / "run"), *arguments]) == 2, arguments
        err = capsys.readouterr().err.strip().splitlines()
        assert len(err) == 1 and says in err[0], err
        assert not (tmp_path / "run").exists()


@without_gpu
def test_a_gpu_that_is_not_there_is_one_line(flags, tmp_path, capsys):
    assert train.main([*flags, "--out", str(tmp_path / "run"), "--device", "cuda"]) == 2
    err = capsys.readouterr().err.strip()
    assert "torch sees no GPU" in err and "epochs/s" not in err and not (tmp_path / "run").exists()


def test_a_folder_in_use_is_not_overwritten(flags, tmp_path, capsys):
    out = ["--out", str(tmp_path / "run")]
    assert train.main([*flags, *out]) == 0
    before = (tmp_path / "run" / LAST).read_bytes()
    assert train.main([*flags, *out]) == 2
    assert train.main([*flags, *out, "--lr", "0.5", "--resume"]) == 2
    assert "trained with another lr" in capsys.readouterr().err
    assert (tmp_path / "run" / LAST).read_bytes() == before


def test_what_a_killed_run_left_in_the_folder_is_removed(flags, tmp_path):
    names = (f".{LAST}.17", f".{CHECKPOINT}.17", f".{PREDICTIONS['val']}.17")
    out = tmp_path / "run"
    assert train.main([*flags, "--epochs", "1", "--out", str(out)]) == 0
    whole = sorted(path.name for path in out.iterdir())
    for name in names:
        (out / name).write_text("half")
    assert train.main([*flags, "--epochs", "1", "--out", str(out), "--resume"]) == 0  # which has nothing left to write
    assert sorted(path.name for path in out.iterdir()) == whole and not set(names) & set(whole)


def flip(path, part=b"bn1.running_mean"):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[content.find(part)] ^= 1
    path.write_bytes(content)


def test_a_damaged_last_state_is_said_and_trained_again(flags, tmp_path, capsys):
    out = tmp_path / "run"
    assert train.main([*flags, "--out", str(out)]) == 0
    weights = torch.load(out / LAST, weights_only=True)["weights"]
    flip(out / LAST)
    capsys.readouterr()
    assert train.main([*flags, "--out", str(out), "--resume"]) == 0
    printed = capsys.readouterr()
    assert f"note: {out / LAST} is not loaded: it is damaged" in printed.err
    assert "training begins again" in printed.err and "epoch 1: train loss" in printed.out
    again = torch.load(out / LAST, weights_only=True)["weights"]
    assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_a_damaged_best_state_is_one_line(flags, tmp_path, capsys):
    from results.predict import command
    from results.retest import export

    assert train.main([*flags, "--epochs", "1", "--out", str(tmp_path)]) == 0
    best = tmp_path / CHECKPOINT
    Image.new("RGB", (40, 40)).save(tmp_path / LABELS_FIGURE)
    flip(best)
    capsys.readouterr()
    for main, arguments in ((evaluate, []), (export, ["--to", "pt2"]), (command, [str(tmp_path / LABELS_FIGURE)])):
        assert main.main(["--checkpoint", str(best), *arguments]) == 2
        err = capsys.readouterr().err.splitlines()
        assert len(err) == 1 and "it is damaged, or torch.save did not write it (the checksum" in err[0]


def test_a_bar_moves_by_steps_and_where_there_is_none_a_line_says_how_far_it_is(capsys):
    file, pace = io.StringIO(), Pace(2, 4, 5, 10, 100.0, 8)
    with tqdm(total=4, bar_format=train.BAR, file=file, mininterval=0, miniters=0) as bar:
        train.show(bar, pace)
        assert bar.n == 1.5
    assert "epoch 2/4  50%  step 5/10  100 images/s  2 s left |" in file.getvalue() and capsys.readouterr().err == ""
    with tqdm(total=4, disable=True) as bar:
        train.show(bar, pace)
    assert capsys.readouterr().err == "epoch 2/4  50%  step 5/10  100 images/s  2 s left\n"
