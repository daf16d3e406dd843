"""Thirty random faults over two sweeps of 24 trials: `python tests/chaos/run.py [--faults 30] [--seed 0]`.

One sweep is a grid on SQLite, the other a search on an MLflow server. Takes a quarter of an hour; exit code 1 where a
check fails. With `--only sqlite --kinds "command; command, driver SIGKILL"` the faults are commands of users.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.chaos.campaign import Campaign, outcome
from tests.chaos.checks import Check, verify
from tests.chaos.faults import KINDS, STRIKES, draw
from tests.chaos.server import Server
from tests.chaos.sweeps import GRID, TPE, write_sweep

TRIALS, EPOCHS = 24, 6


def main() -> int:
    """Run both campaigns and print what struck, what came of it, and whether all is well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=30, help="of both sweeps together")
    parser.add_argument("--seed", type=int, default=0, help="of kinds, moments and victims")
    parser.add_argument("--only", choices=["sqlite", "server"], help="one sweep, with all of the faults")
    parser.add_argument("--kinds", help="separated by '; ', instead of all")
    parser.add_argument("--frames", type=int, default=48, help="pictures of each head: how long an epoch takes")
    parser.add_argument("--out", type=Path, help="an empty folder to work in, which is kept; default: a temporary one")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # so that what was started is ended
    began = time.time()
    out = (arguments.out or Path(tempfile.mkdtemp(prefix="chaos"))).absolute()
    print(f"working in {out}", flush=True)
    random, good = Random(arguments.seed), True
    for where in [arguments.only] if arguments.only else ["sqlite", "server"]:
        count = arguments.faults if arguments.only else (arguments.faults + (where == "sqlite")) // 2
        kinds = arguments.kinds.split("; ") if arguments.kinds else KINDS[where]
        sweep = GRID if where == "sqlite" else TPE
        path = write_sweep(out / where, sweep, out / "data", arguments.frames, EPOCHS)
        server = Server(path.parent) if where == "server" else None
        uri = server.uri if server else f"sqlite:///{path.parent / 'mlflow.db'}"
        campaign = Campaign(path, uri, draw(random, kinds, count), random, TRIALS * EPOCHS, server)
        try:
            if server:
                server.start()
            campaign.run(STRIKES, lambda text: print(text, flush=True))
            checks = verify(campaign, TRIALS, EPOCHS)
        finally:
            if server:
                server.stop()
        report(where, campaign, checks)
        good = good and all(check.holds for check in checks)
    print(f"{'all is well' if good else 'NOT all is well'}; {time.time() - began:.0f} s")
    return 0 if good else 1


def report(where: str, campaign: Campaign, checks: list[Check]) -> None:
    """Print the tables of a campaign."""
    print(f"\n{where}: {campaign.starts} starts of the driver, {campaign.took:.0f} s")
    for number, fault in enumerate(campaign.faults, 1):
        print(f"{number:3} {max(fault.struck - campaign.began, 0):6.0f} s  {fault.kind:<22} {outcome(fault)}")
        if fault.said:
            print(f"{'':37} said: {fault.said[:160]}")
    for check in checks:
        print(f"{'ok  ' if check.holds else 'FAIL'} {check.what:<60} {check.figures}")
    print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
