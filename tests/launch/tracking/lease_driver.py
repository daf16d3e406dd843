"""A driver that only takes the lease of sweeps, one for each key on stdin; its clock is off by so many seconds."""

import sys
import time

from bel.errors import UserError
from launch.spec.search import Search
from launch.spec.sweep_file import Sweep
from launch.tracking import lease
from launch.tracking.parent_run import open_store

real = time.time
time.time = lambda: real() + float(sys.argv[1])
lease.HEARTBEAT_SECONDS, lease.STALE = 0.3, 4.0


def main() -> None:
    """Say `won` and hold the lease until the next line, or `refused`, for each key."""
    print("ready", flush=True)
    for line in sys.stdin:
        key = line.strip()
        try:
            with open_store(
                Sweep(name="light", search=Search()), key, fresh=False, say=lambda text: None
            ).lease as held:
                print("won", flush=True)
                sys.stdin.readline()
                print(held.why_lost or "held", flush=True)
        except UserError as error:
            print(f"refused: {error}", flush=True)
            sys.stdin.readline()
            print("", flush=True)


if __name__ == "__main__":
    main()
