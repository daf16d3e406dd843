"""Evaluate and compare sweeps: read runs from MLflow, re-test them, rank and compare configurations.

`from results import Model, Results` are for scripts and notebooks; without them, the package imports nothing.
"""

import importlib
import logging
import os
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from results.predict.model import Model as Model
    from results.results import Comparison as Comparison
    from results.results import Results as Results

__all__ = ["Comparison", "Model", "Results"]

WHERE = {"Comparison": "results.results", "Model": "results.predict.model", "Results": "results.results"}

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # before mlflow is imported
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # to its makers, of each command
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # for minutes a dead server would be asked again
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
warnings.filterwarnings("ignore", "IProgress not found")  # of tqdm, in a notebook without ipywidgets
logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it finds a folder of its own where HOME is none


def __getattr__(name: str) -> Any:
    """Import a class when it is asked for: commands that do without it do without what it imports, as torch."""
    if name not in WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(WHERE[name]), name)
