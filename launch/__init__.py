"""Start runs: one by bel-train, or a sweep from YAML through Ray Tune, written to MLflow."""

import logging

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it finds a folder of its own where HOME is none
