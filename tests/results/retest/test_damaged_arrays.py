"""Each command that trains or measures, on each kind of damage to prepared arrays: the sound number, or a refusal."""

import re

import pytest
import torch

from bel.errors import UserError
from bel.run_layout import CHECKPOINT, LAST
from launch import train
from results.report.pictures import validation_images
from results.retest import evaluate
from tests.bel.data.prepare.test_verified import DAMAGE, change, settled  # noqa: F401 - a fixture
from tests.conftest import children
from tests.launch.schedule.test_searches import started  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow
ALL = ("biwi_train", "biwi_test")


def damage(cache, kind, parts=ALL):
    """Damage the arrays of some parts in a cache."""
    name, how = DAMAGE[kind]
    for folder in (folder for part in parts for folder in cache.glob(f"{part}-*")):
        change(folder / name, how)


@pytest.fixture(scope="module")
def sound(rendered, tmp_path_factory):
    """A run and what it is: its flags, folder and weights, and what its re-test prints."""
    root = tmp_path_factory.mktemp("sound")
    fields = {"protocol": "biwi", "data_root": rendered, "cache_dir": root / "cache", "crop": "frame", "epochs": 1}
    fields |= {
        "image_size": 32,
        "backbone": "resnet10",
        "weights": "none",
        "batch_size": 32,
        "device": "cpu",
        "code": "u",
    }
    flags = [text for name, value in fields.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    assert train.main([*flags, "--out", str(root / "run")]) == 0
    return root, flags, torch.load(root / "run" / LAST, weights_only=True)


def re_test(root, capsys):
    """What `bel-eval` prints, but for a first note."""
    assert evaluate.main(["--checkpoint", str(root / "run" / CHECKPOINT), "--set", f"cache_dir={root / 'cache'}"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("kind", DAMAGE)
def test_bel_train_and_bel_eval_give_the_sound_numbers(kind, sound, settled, tmp_path, capsys, caplog):  # noqa: F811
    root, flags, state = sound
    before = re_test(root, capsys)
    damage(root / "cache", kind)
    caplog.clear()
    assert re_test(root, capsys) == before and "repeats the logged" in before
    assert caplog.text.count("is made again") == 2
    damage(root / "cache", kind)
    assert train.main([*flags, "--out", str(tmp_path / "run")]) == 0
    again = torch.load(tmp_path / "run" / LAST, weights_only=True)
    assert again["data"] == state["data"] and again["metrics"] == state["metrics"]
    assert all(torch.equal(again["weights"][key], value) for key, value in state["weights"].items())


@pytest.mark.parametrize("kind", ["pages of zeros", "targets + 20", "targets and their digest"])
def test_a_sweep_its_re_test_and_its_pictures_show_nothing_damaged(kind, started, settled, tmp_path, capsys):  # noqa: F811
    cache, code = tmp_path / "own", {"code": {"grid": ["u"]}}
    base = {"cache_dir": str(cache), "epochs": 1}
    assert started("sound", code, base=base) == 0
    ((_, (run,)), out) = children("sound"), capsys.readouterr().out
    assert evaluate.main(["--run-id", run.info.run_id, "--set", f"cache_dir={cache}"]) == 0
    tested = re.search(r"expected .*", capsys.readouterr().out)[0]
    damage(cache, kind)
    assert started("again", code, "--fresh", base=base) == 0
    _, (again,) = children("again")
    assert again.data.metrics["val/mae"] == run.data.metrics["val/mae"] and "re-test the best" in out
    damage(cache, kind)
    capsys.readouterr()
    assert evaluate.main(["--run-id", again.info.run_id, "--set", f"cache_dir={cache}"]) == 0
    assert re.search(r"expected .*", capsys.readouterr().out)[0] == tested
    damage(cache, kind)
    with pytest.raises(UserError, match=r"is damaged .*: run `bel-data prepare`"):
        validation_images(again, {"cache_dir": str(cache)})
