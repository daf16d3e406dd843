"""Start runs: one by bel-train, or a sweep from YAML through Ray Tune, written to MLflow.

`from launch import Sweep` is a sweep for scripts and notebooks; without it, the package imports nothing.
"""

import logging
import os
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from launch.api import Sweep as Sweep

__all__ = ["Sweep"]

# What Ray, Tune and MLflow read when they are imported.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # to its makers, of each command
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # of every run that ends
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # MLflow holds the results
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # a trial that failed reports no metric
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # `launch.schedule.stopper` has one
os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", "1000000")  # begin at once what the searcher suggests at once
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "1000000000")  # trials' folders, not Tune's, hold what is to last
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a trial without a GPU share sees no GPU
warnings.filterwarnings("ignore", "IProgress not found")  # of tqdm, in a notebook without ipywidgets
logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)  # the same of Ray
logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it finds a folder of its own where HOME is none


def __getattr__(name: str) -> Any:
    """Import the class `Sweep` when it is asked for: a worker and `bel-train` do without what it imports."""
    if name != "Sweep":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from launch.api import Sweep

    return Sweep
