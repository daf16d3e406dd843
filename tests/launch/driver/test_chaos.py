"""The short form of `python tests/chaos/run.py`: one fault of each kind that needs no minute."""

from random import Random

import pytest

from tests.chaos.campaign import Campaign, Fault, outcome
from tests.chaos.checks import verify
from tests.chaos.faults import STRIKES
from tests.chaos.sweeps import SMALL, write_sweep


@pytest.mark.slow
def test_a_sweep_outlives_a_worker_its_ray_its_driver_and_a_locked_store(tmp_path):
    path = write_sweep(tmp_path / "sweep", SMALL, tmp_path / "data", frames=24, epochs=3)
    faults = [
        Fault("worker SIGKILL", 1),
        Fault("raylet SIGKILL", 3),
        Fault("driver SIGKILL", 6),
        Fault("short lock", 8),
    ]
    campaign = Campaign(path, f"sqlite:///{path.parent / 'mlflow.db'}", faults, Random(0), epochs=12)
    campaign.run(STRIKES, print)
    checks = verify(campaign, trials=4, epochs=3)
    for line in [*map(outcome, faults), *checks]:
        print(line)
    assert not [check for check in checks if not check.holds]
