"""A trainable by itself, without Ray around it."""

import socket

import pytest
import torch
from ray import tune

from bel.data.loading import load
from bel.run_layout import CHECKPOINT, LAST
from bel.training.source import code_version
from launch.driver.trainable import Trial as Trainable
from launch.identity import file_digests
from launch.tracking.trial_folder import Folder, changed_fields


class Trial(Trainable):
    """One that has a core of its own without being given it."""

    trial_resources = tune.PlacementGroupFactory([{"CPU": 1}])


@pytest.fixture
def ordered(make, tmp_path, monkeypatch):
    """Tune's config of a run with a learning rate, in a folder of its own."""
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(tmp_path))

    def order(name, lr):
        config = make(lr=lr, epochs=4, schedule="constant")
        facts = {"data_digest": load(config, "train").digest, "code_version": code_version()}
        facts |= {"plugins": {}, "file_digests": file_digests(config), "folder": str(tmp_path / name)}
        return facts | {"key": name, "values": config.as_dict()}

    return order


def changed(order, fields):
    """Tune's config with other fields."""
    return order | {"values": order["values"] | fields}


def test_a_run_that_took_over_goes_on_with_its_new_fields_after_its_worker_died(ordered, tmp_path):
    donor, first = Trial(ordered("donor", 1e-3)), ordered("run", 2e-3)
    taker, folder = Trial(first), Folder(str(tmp_path / "run"))
    assert changed_fields(folder, ("lr",)) == {}
    for trial in (donor, taker):
        assert trial.step()["lr"] == trial.train_config.lr
    (tmp_path / "handed").mkdir()
    donor.save_checkpoint(str(tmp_path / "handed"))
    taker.reset_config(changed(first, {"lr": 3e-3}))
    taker.load_checkpoint(str(tmp_path / "handed"))
    assert changed_fields(folder, ("lr",))["lr"] == 3e-3, "known before an epoch was trained with it"
    assert taker.step()["lr"] == 3e-3
    again = Trial(changed(first, changed_fields(folder, ("lr",)))).step()
    assert [entry["lr"] for entry in again["past"]] == [1e-3, 3e-3, 3e-3] and again["epoch"] == 3
    now = taker.step()
    assert (again["val/mae"], again["train/loss"]) == (now["val/mae"], now["train/loss"])


def test_a_gpu_that_failed_ends_the_worker_and_not_the_run(ordered, monkeypatch):
    def broken(*_):
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\n...")
        yield

    monkeypatch.setattr("launch.driver.trainable.paced", broken)
    with pytest.raises(torch.AcceleratorError):  # Tune drops the worker, and the run goes out again
        Trial(ordered("run", 1e-3)).step()
    monkeypatch.setattr("launch.driver.trainable.paced", lambda *_: iter(lambda: 1 / 0, None))
    told = Trial(ordered("other", 1e-3)).step()
    assert told["outcome"] == "failed" and "division by zero" in told["reason"]


@pytest.mark.parametrize(
    ("host", "says"),
    [
        (socket.gethostname(), "the source of bel has changed since the sweep began"),
        ("elsewhere", "is not the driver's: start Ray there in the same version"),
    ],
)
def test_a_worker_of_other_code_says_what_is_true_where_it_is(ordered, host, says):
    order = ordered("run", 1e-3) | {"code_version": "0" * 12, "driver_host": host}
    told = Trial(order).step()
    assert told["outcome"] == "failed" and says in told["reason"]
    assert ("run the command again" in told["reason"]) is (host == socket.gethostname())


@pytest.mark.parametrize("name", [LAST, CHECKPOINT])
def test_a_damaged_state_is_said_and_trained_again(ordered, tmp_path, name):
    order = ordered("run", 1e-3)
    first = Trial(order).step()
    path = tmp_path / "run" / name
    content = bytearray(path.read_bytes())
    content[content.find(b"bn1.running_mean")] ^= 1
    path.write_bytes(content)
    again = Trial(order).step()
    (note,) = again["notes"]
    assert note.startswith(f"{path} is not loaded: it is damaged") and note.endswith("trained from the start again")
    assert first["notes"] == [] and [again[key] for key in ("epoch", "val/mae")] == [1, first["val/mae"]]
