import re
import shutil

import pytest
import torch
from PIL import Image

from bel.config import TrainConfig
from bel.data.loading import load
from bel.model import BACKBONES
from bel.training.build import build_model
from results.retest import evaluate
from tests.results.conftest import state_of

WIDTHS = {"yaw": 150, "pitch": 150, "roll": 100}  # of code u on BIWI
WARNING = "as published: selected on the test split by its authors, number not comparable with clean ones"


def published_state(head="bel", theta=10, widths=WIDTHS):
    """A seeded resnet18 in the published layout."""
    torch.manual_seed(0)
    state = {name: value for name, value in BACKBONES["resnet18"]().state_dict().items() if not name.startswith("fc.")}
    dot = ".0" if head == "direct" else ""
    for axis, width in widths.items():
        first = {"bel": theta, "direct": 1, "classification": width}[head]
        second = (1, 512) if head == "direct" else (width, theta)
        state |= {f"fc_angles_{axis}{dot}.weight": torch.randn(first, 512) / 16}
        state |= {f"fc_angles_{axis}{dot}.bias": torch.zeros(first)}
        state |= {f"{axis}m{dot}.weight": torch.randn(second), f"{axis}m{dot}.bias": torch.zeros(second[0])}
    return state


@pytest.fixture
def arguments(rendered, cache, tmp_path):
    """The command line for a published file with a head, on rendered data at a small size."""

    def make(head="bel", root=rendered, state=None, crop="frame"):
        path = tmp_path / f"{head}.pth"
        torch.save(published_state(head) if state is None else state, path)
        changes = {"data_root": root, "cache_dir": cache, "device": "cpu", "crop": crop, "image_size": 32}
        sets = [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]
        return ["--checkpoint", str(path), "--protocol", "biwi", *sets]

    return make


@pytest.mark.parametrize(
    "head, decoders",
    [
        ("bel", ["expected", "argmax", "native"]),
        ("direct", ["direct"]),
        ("classification", ["argmax", "expected", "median"]),
    ],
)
def test_a_published_file_is_measured_on_the_test_split(arguments, capsys, head, decoders):
    code = ["--code", "u"] if head == "bel" else []
    assert evaluate.main([*arguments(head), *code]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    theta = ", code u, theta 10" if head == "bel" else ""
    assert lines[0] == (
        f"published state dict {head}.pth: protocol biwi, head {head}{theta}, 150/150/100 levels, trunk resnet18"
    )
    assert lines[1] == WARNING and lines[2].startswith("crop frame, test data ")
    table = lines[lines.index("") + 1 :]
    assert table[0].startswith("test MAE (deg) on ") and " groups, center crop; " in table[0]
    assert [line[:18].strip() for line in table[2:-3]] == [*decoders, "constant median"]
    assert table[-2].startswith(f"{decoders[0]} over constant median: ")
    assert table[-1].startswith(f"rotation of {decoders[0]}: geodesic ")
    assert "validation" not in out


def test_the_median_is_that_of_the_training_labels_whether_they_are_prepared_or_not(arguments, capsys, tmp_path, small):
    command = [*arguments(), "--code", "u", "--set", f"cache_dir={tmp_path / 'empty'}"]
    assert evaluate.main(command) == 0
    before = capsys.readouterr().out
    train = load(TrainConfig.make(small | {"head": "direct", "cache_dir": str(tmp_path / "empty")}), "train")
    assert evaluate.main(command) == 0
    assert capsys.readouterr().out == before
    test = load(TrainConfig.make(small | {"head": "direct"}), "test")
    by_axis = (test.targets - train.targets.quantile(0.5, dim=0)).abs().mean(0).tolist()
    row = next(line for line in before.splitlines() if line.startswith("constant median")).split()[2:]
    assert [float(value) for value in row[:3]] == pytest.approx(by_axis, abs=5e-4)


def test_no_training_data_is_needed(arguments, rendered, tmp_path, capsys):
    root = tmp_path / "root"
    shutil.copytree(rendered / "BIWI", root / "BIWI")
    for stem in (root / "BIWI" / "70_train.txt").read_text().split():
        for path in (root / "BIWI" / "hpdb").glob(f"{stem}_*"):
            path.unlink()
    assert evaluate.main([*arguments(root=root), "--code", "u"]) == 0
    out = capsys.readouterr().out
    assert f"note: the constant median is left out: no training image of biwi is in {root}\n" in out
    assert "\nconstant median" not in out and "over constant median" not in out
    assert out.splitlines()[-3].startswith("native ") and out.splitlines()[-1].startswith("rotation of expected: ")


def test_images_that_cannot_be_used_are_refused_or_counted(arguments, rendered, tmp_path, capsys):
    root = tmp_path / "root"
    shutil.copytree(rendered / "BIWI", root / "BIWI")
    stem = (root / "BIWI" / "30_test.txt").read_text().split()[0]
    (root / "BIWI" / "hpdb" / f"{stem}_pose.txt").unlink()
    command = [*arguments(root=root), "--code", "u"]
    assert evaluate.main(command) == 2
    assert "cannot be used" in capsys.readouterr().err
    assert evaluate.main([*command, "--set", "on_missing=skip"]) == 0
    assert "note: 1 test images could not be used" in capsys.readouterr().out


@pytest.mark.parametrize("size", [(640, 480), (320, 240)])
def test_frames_of_another_size_than_the_published_ones_are_told(arguments, rendered, tmp_path, capsys, size):
    shutil.copytree(rendered / "BIWI", tmp_path / "BIWI")
    paths = sorted((tmp_path / "BIWI" / "hpdb").rglob("*_rgb.png"))
    stems = (tmp_path / "BIWI" / "30_test.txt").read_text().split()
    for path in paths:
        Image.open(path).resize(size, Image.Resampling.NEAREST).save(path, compress_level=1)
    Image.new("RGB", (640, 480), (9, 9, 9)).save(next(path for path in paths if path.parent.name == stems[0][:2]))
    assert evaluate.main([*arguments(root=tmp_path, crop="published"), "--code", "u"]) == 0
    found = re.search(
        r"^note: (\d+) of (\d+) test images are not 640 x 480 .*320 x 240.*not comparable",
        capsys.readouterr().out,
        re.M,
    )
    assert found is None if size == (640, 480) else int(found[1]) == int(found[2]) - 1


def test_the_published_crop_is_the_default(arguments, capsys):
    command = arguments()
    at = next(i for i, part in enumerate(command) if part == "crop=frame")
    assert evaluate.main([*command[: at - 1], *command[at + 1 :], "--code", "u"]) == 0
    assert "\ncrop published, " in capsys.readouterr().out


def test_what_a_user_gets_wrong(arguments, small, tmp_path, capsys):
    bel, direct = arguments(), arguments("direct")
    config = TrainConfig.make(small | {"code": "u"})
    own = state_of(config, build_model(config))
    torch.save(own, tmp_path / "own.pt")
    torch.save({"a": 1}, tmp_path / "other.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    without = ["--checkpoint", bel[1]]
    cases = [
        (without, "does not say its protocol: add --protocol, one of ['aflw2000', 'biwi']"),
        (bel, "has head bel and does not say its code: add --code, one of ['u', 'j',"),
        ([*bel, "--code", "j"], "6 of another shape: yawm.weight (150, 10) instead of (75, 10)"),
        ([*bel, "--code", "u", "--code-bits", "76"], "6 of another shape: yawm.weight (150, 10) instead of (76, 10)"),
        ([*direct, "--code", "u"], "has head direct, which has no code: leave --code out"),
        ([*bel, "--code", "u", "--set", "lr=1"], "--set lr would change what the checkpoint is: only ['data_root', "),
        ([*bel, "--code", "u", "--set", "margin=1"], "margin belongs to crop"),
        ([*bel, "--code", "u", "--set", "data_root=nowhere"], "no BIWI images in"),
        (
            ["--checkpoint", str(tmp_path / "own.pt"), "--protocol", "biwi"],
            "one of our own checkpoints, which says its",
        ),
        (["--checkpoint", str(tmp_path / "own.pt"), "--set", "crop=frame"], "--set crop would change"),
        (["--checkpoint", str(tmp_path / "other.pt")], "is not one of our checkpoints"),
        (
            ["--checkpoint", str(tmp_path / "other.pt"), "--code", "u"],
            "not a state dict (names to tensors): 'a' is of type int",
        ),
        (["--checkpoint", str(tmp_path / "module.pt")], "it holds code or an object"),
        (["--checkpoint", str(tmp_path / "none.pt"), "--protocol", "biwi"], "no checkpoint at"),
        (["--run-id", "0123", "--protocol", "biwi"], "are of a published state dict in --checkpoint: leave them out"),
    ]
    for command, says in cases:
        assert evaluate.main(command) == 2, command
        captured = capsys.readouterr()
        err = captured.err.strip()
        assert says in err and "\n" not in err, (command, err)
        assert "test MAE" not in captured.out
