"""The short form of `python tests/chaos/run.py` on a team's MLflow server, whose server and database fail, too."""

from random import Random

import pytest

from tests.chaos.campaign import Campaign, Fault, outcome
from tests.chaos.checks import verify
from tests.chaos.faults import STRIKES
from tests.chaos.sweeps import SMALL, write_sweep
from tests.services.mlflow_team import TeamServer, environment, why_no_team

KINDS = ("worker SIGKILL", "server restart", "driver SIGKILL", "database restart", "server, driver SIGKILL")


@pytest.mark.service
def test_a_sweep_outlives_its_worker_its_drivers_the_server_and_the_database(tmp_path):
    if why := why_no_team():
        pytest.skip(why)
    path = write_sweep(tmp_path / "sweep", SMALL, tmp_path / "data", frames=24, epochs=8)
    faults = [Fault(kind, share=0.3) for kind in KINDS]
    server = TeamServer(path.parent)
    try:
        server.start()
        server.add_user("alice")
        campaign = Campaign(path, server.uri, faults, Random(0), 32, server)
        with environment(**server.credentials("alice")):
            campaign.run(STRIKES, print)
            checks = verify(campaign, trials=4, epochs=8)
    finally:
        server.remove()
    for line in [*map(outcome, faults), *checks]:
        print(line)
    assert not [check for check in checks if not check.holds]
