"""A trainable by itself, without Ray around it."""

import pytest
from ray import tune

from bel.checkpoint import code_version
from bel.data.prepared import load
from launch.identity import file_digests
from launch.trial import TAKES_OVER
from launch.trial import Trial as Trainable


class Trial(Trainable):
    """One that has a core of its own without being given it."""

    trial_resources = tune.PlacementGroupFactory([{"CPU": 1}])


@pytest.fixture
def ordered(make, tmp_path):
    """Tune's config of a run with a learning rate, in a folder of its own."""

    def order(name, lr):
        config = make(lr=lr, epochs=4, schedule="constant")
        facts = {"data_digest": load(config, "train").digest, "code_version": code_version()}
        facts |= {"file_digests": file_digests(config), "folder": str(tmp_path / name)}
        return facts | {"key": name, "values": config.as_dict()}

    return order


def test_a_run_that_took_over_goes_on_with_its_new_fields_after_its_worker_died(ordered, tmp_path):
    donor, first = Trial(ordered("donor", 1e-3)), ordered("run", 2e-3)
    taker = Trial(first)
    for trial in (donor, taker):
        assert trial.step()["lr"] == trial.train_config.lr
    (tmp_path / "handed").mkdir()
    donor.save_checkpoint(str(tmp_path / "handed"))
    taker.reset_config(first | {"values": first["values"] | {"lr": 3e-3}, TAKES_OVER: True})
    taker.load_checkpoint(str(tmp_path / "handed"))
    assert taker.step()["lr"] == 3e-3
    again = Trial(first).step()
    assert [entry["lr"] for entry in again["past"]] == [1e-3, 3e-3, 3e-3] and again["epoch"] == 3
    assert [again["val/mae"], again["train/loss"]] == [(now := taker.step())["val/mae"], now["train/loss"]]


def test_a_run_whose_worker_died_before_its_first_state_begins_with_its_own_fields(ordered, tmp_path):
    Trial(ordered("run", 1e-3)).step()
    (tmp_path / "run" / "best.pt").unlink()
    assert Trial(ordered("run", 2e-3)).step()["lr"] == 2e-3
